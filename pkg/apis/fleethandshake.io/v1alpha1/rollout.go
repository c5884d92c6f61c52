package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// RolloutStrategy has the fields of Fleet's own rollout strategy, and is handed through to the Bundle. What is said of
// them here is how Fleet 0.16.0 takes them.
// +kubebuilder:validation:XValidation:rule="!has(self.maxUnavailable) || type(self.maxUnavailable) == string || self.maxUnavailable >= 0 && self.maxUnavailable <= 1000000",message="maxUnavailable must be a number of clusters from 0 on, or a percentage such as 25%"
// +kubebuilder:validation:XValidation:rule="!has(self.maxUnavailablePartitions) || type(self.maxUnavailablePartitions) == string || self.maxUnavailablePartitions >= 0 && self.maxUnavailablePartitions <= 1000000",message="maxUnavailablePartitions must be a number of partitions from 0 on, or a percentage such as 25%"
// +kubebuilder:validation:XValidation:rule="!has(self.autoPartitionSize) || type(self.autoPartitionSize) == string || self.autoPartitionSize >= 0 && self.autoPartitionSize <= 1000000",message="autoPartitionSize must be a number of clusters from 0 on, or a percentage such as 25%"
type RolloutStrategy struct {
	// maxUnavailable is how many clusters may be without the current revision at a time: a number, or a percentage.
	// It defaults to 100%.
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// maxUnavailablePartitions is how many partitions may be unavailable while the next one is begun: a number, or a
	// percentage. It defaults to 0.
	// +optional
	MaxUnavailablePartitions *intstr.IntOrString `json:"maxUnavailablePartitions,omitempty"`

	// autoPartitionSize is how large the partitions are that Fleet makes by itself when there is no list of
	// partitions: a number, or a percentage. It defaults to 25%; 0 makes one partition of all.
	// +optional
	AutoPartitionSize *intstr.IntOrString `json:"autoPartitionSize,omitempty"`

	// autoPartitionThreshold is from how many clusters on Fleet makes partitions by itself. It defaults to 200; 0 turns
	// that off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	AutoPartitionThreshold *int32 `json:"autoPartitionThreshold,omitempty"`

	// maxNew is how many BundleDeployments Fleet makes at a time. It defaults to 50.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxNew *int32 `json:"maxNew,omitempty"`

	// partitions are worked off one after the other. Fleet begins the next one while no more than maxUnavailable
	// clusters of the one before are without the revision: so a partition of one cluster holds nothing back. A cluster
	// that no partition matches gets nothing.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Partitions []RolloutPartition `json:"partitions,omitempty"`
}

// RolloutPartition selects clusters in the words of a target. All words must match.
// +kubebuilder:validation:XValidation:rule="has(self.clusterName) || has(self.clusterSelector) || has(self.clusterGroup) || has(self.clusterGroupSelector)",message="this partition matches no cluster: add clusterName, clusterGroup, clusterSelector or clusterGroupSelector (clusterSelector: {} matches every cluster)"
// +kubebuilder:validation:XValidation:rule="!has(self.maxUnavailable) || type(self.maxUnavailable) == string || self.maxUnavailable >= 0 && self.maxUnavailable <= 1000000",message="maxUnavailable of a partition must be a number of clusters from 0 on, or a percentage such as 25%"
type RolloutPartition struct {
	// name is for people.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// maxUnavailable is how many clusters of the partition may be without the current revision at a time: a number, or
	// a percentage. It defaults to maxUnavailable of the strategy. With 0 the partition is never changed.
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// clusterName is the name of a Fleet Cluster, or the display name that Rancher gave to it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClusterName string `json:"clusterName,omitempty"`

	// clusterSelector matches the labels of Fleet Clusters. An empty selector matches every cluster.
	// +optional
	ClusterSelector *metav1.LabelSelector `json:"clusterSelector,omitempty"`

	// clusterGroup is the name of a Fleet ClusterGroup.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClusterGroup string `json:"clusterGroup,omitempty"`

	// clusterGroupSelector matches the labels of Fleet ClusterGroups.
	// +optional
	ClusterGroupSelector *metav1.LabelSelector `json:"clusterGroupSelector,omitempty"`
}
