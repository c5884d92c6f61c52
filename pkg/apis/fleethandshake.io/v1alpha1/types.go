// Package v1alpha1 holds the API types of group fleethandshake.io.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=fhs,categories=fleet,scope=Namespaced,path=fleethandshakes
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.spec.secretName`,description="The Secret that is sent"
// +kubebuilder:printcolumn:name="Clusters-Ready",type=string,JSONPath=`.status.display.readyClusters`,description="Clusters that have the current revision, of all that are matched"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.status`,description="Pending, Missing, Synced or Error"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Target-Namespace",type=string,priority=1,JSONPath=`.status.bundles[0].targetNamespace`,description="The namespace in the downstream clusters"
// +kubebuilder:printcolumn:name="Bundle",type=string,priority=1,JSONPath=`.status.bundles[0].name`,description="The Fleet Bundle that carries the Secret"
// +kubebuilder:printcolumn:name="Revision",type=string,priority=1,JSONPath=`.status.revision`,description="What is being sent; changes when the Secret changes"
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is missing: name a Secret and at least one target, for example spec: {secretName: registry-creds, targets: [{clusterGroup: production}]}"
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// FleetHandshake sends one Secret of the hub to the downstream clusters that its targets match, and says for each
// cluster whether it has it. It lives in a Fleet workspace: the namespace that holds the Fleet Clusters.
type FleetHandshake struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which Secret goes to which clusters.
	// +optional
	Spec FleetHandshakeSpec `json:"spec,omitzero"`

	// status says what the operator has done and what the clusters have.
	// +optional
	Status FleetHandshakeStatus `json:"status,omitzero"`
}

// FleetHandshakeSpec says which Secret goes to which clusters.
// +kubebuilder:validation:XValidation:rule="!(has(self.targetNamespace) ? self.targetNamespace in ['cattle-fleet-system', 'cattle-fleet-local-system', 'cattle-system'] : has(self.secretNamespace) && self.secretNamespace in ['cattle-fleet-system', 'cattle-fleet-local-system', 'cattle-system'])",message="targetNamespace is one of the namespaces of Rancher's and Fleet's own agents, which nothing is sent to: name another one, for example targetNamespace: apps"
// +kubebuilder:validation:XValidation:rule="has(self.targets) && size(self.targets) > 0",message="targets is empty: name at least one cluster, group or selector, for example targets: [{clusterGroup: production}]"
type FleetHandshakeSpec struct {
	// secretName is the name of the Secret to send. The copies downstream have the same name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretName is not the name of a Secret: use lower case letters, digits, '-' and '.', and begin and end with a letter or digit, for example registry-creds"
	SecretName string `json:"secretName"`

	// secretNamespace is the namespace of the Secret on the hub. It defaults to the namespace of the FleetHandshake.
	// In another namespace a SecretGrant has to allow it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="secretNamespace is not the name of a namespace: use lower case letters, digits and '-', for example platform, or leave it out"
	SecretNamespace string `json:"secretNamespace,omitempty"`

	// targetNamespace is the namespace in the downstream clusters. It is created when it does not exist.
	// It defaults to secretNamespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="targetNamespace is not the name of a namespace: use lower case letters, digits and '-', for example apps, or leave it out"
	TargetNamespace string `json:"targetNamespace,omitempty"`

	// targets says which clusters get the Secret, in Fleet's own words. For each cluster the first target that
	// matches decides.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Targets []ClusterTarget `json:"targets,omitempty"`

	// paused holds back every change from the clusters. They keep what they have.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// resyncInterval is how often the data downstream is written again, so that a copy that somebody edited is put
	// right. At least 5m; 0s turns it off.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && (duration(self) == duration('0s') || duration(self) >= duration('5m'))",message="resyncInterval must be 5m or longer, for example 30m or 1h; 0s turns it off"
	ResyncInterval *metav1.Duration `json:"resyncInterval,omitempty"`

	// correctDrift makes Fleet put back a copy whose object was deleted, or whose labels, annotations or type were
	// edited downstream, at once. Edited data is put back at the next resync.
	// +optional
	// +kubebuilder:default=true
	CorrectDrift *bool `json:"correctDrift,omitempty"`

	// conflictPolicy says what happens in a cluster where a Secret of that name is already there and is not ours.
	// Fail leaves it alone: the cluster is in state Conflict until somebody removes it. Adopt replaces it.
	// +optional
	// +kubebuilder:default=Fail
	ConflictPolicy ConflictPolicy `json:"conflictPolicy,omitempty"`

	// replacePolicy says what happens when the copies cannot be changed in place: the type of the Secret is another
	// one, or the copy is immutable. Never leaves the copies as they are and says so. Recreate deletes the copy in
	// each cluster and then makes it anew; in between, the cluster has none.
	// +optional
	// +kubebuilder:default=Never
	ReplacePolicy ReplacePolicy `json:"replacePolicy,omitempty"`

	// deletionPolicy says what happens to the copies when the FleetHandshake is deleted. Delete removes them, and
	// keeps the FleetHandshake until every cluster has confirmed that, at most for removalTimeout. Retain leaves them.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// missingSourcePolicy says what happens to the copies when the Secret is deleted on the hub. Keep leaves them.
	// Remove removes them, once the Secret has been missing for a while: --missing-grace of the operator, a minute.
	// +optional
	// +kubebuilder:default=Keep
	MissingSourcePolicy MissingSourcePolicy `json:"missingSourcePolicy,omitempty"`

	// removalTimeout is how long to wait until a cluster has confirmed that it has removed its copy. A cluster that
	// does not answer in that time removes it when it is back.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('0s')",message="removalTimeout must be a duration, for example 10m or 1h"
	RemovalTimeout *metav1.Duration `json:"removalTimeout,omitempty"`

	// rolloutStrategy stages a change over partitions of the clusters, as Fleet does it for Bundles.
	// +optional
	RolloutStrategy *RolloutStrategy `json:"rolloutStrategy,omitempty"`
}

// ConflictPolicy says what happens to a Secret that is in the way.
// +kubebuilder:validation:Enum=Fail;Adopt
type ConflictPolicy string

const (
	// ConflictFail leaves it alone and reports the conflict.
	ConflictFail ConflictPolicy = "Fail"
	// ConflictAdopt replaces it. From then on it is ours, and is deleted with the FleetHandshake.
	ConflictAdopt ConflictPolicy = "Adopt"
)

// ReplacePolicy says what happens to copies that cannot be changed in place.
// +kubebuilder:validation:Enum=Never;Recreate
type ReplacePolicy string

const (
	// ReplaceNever leaves them as they are and says so.
	ReplaceNever ReplacePolicy = "Never"
	// ReplaceRecreate deletes them and makes them anew.
	ReplaceRecreate ReplacePolicy = "Recreate"
)

// DeletionPolicy says what happens to the copies when the FleetHandshake is deleted.
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

const (
	// DeletionDelete removes them.
	DeletionDelete DeletionPolicy = "Delete"
	// DeletionRetain leaves them.
	DeletionRetain DeletionPolicy = "Retain"
)

// MissingSourcePolicy says what happens to the copies when the Secret is deleted on the hub.
// +kubebuilder:validation:Enum=Keep;Remove
type MissingSourcePolicy string

const (
	// MissingSourceKeep leaves them.
	MissingSourceKeep MissingSourcePolicy = "Keep"
	// MissingSourceRemove removes them.
	MissingSourceRemove MissingSourcePolicy = "Remove"
)

// ClusterTarget selects clusters in the words of a Fleet Bundle target. All words of one target must match.
// +kubebuilder:validation:XValidation:rule="has(self.clusterName) || has(self.clusterSelector) || has(self.clusterGroup) || has(self.clusterGroupSelector)",message="this target matches no cluster: add clusterName, clusterGroup, clusterSelector or clusterGroupSelector (clusterSelector: {} matches every cluster)"
type ClusterTarget struct {
	// name is a label for people. It has no effect on which clusters match.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="the name of a target must use lower case letters, digits and '-', for example production"
	Name string `json:"name,omitempty"`

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
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="clusterGroup is not the name of a ClusterGroup: use lower case letters, digits, '-' and '.', for example production"
	ClusterGroup string `json:"clusterGroup,omitempty"`

	// clusterGroupSelector matches the labels of Fleet ClusterGroups.
	// +optional
	ClusterGroupSelector *metav1.LabelSelector `json:"clusterGroupSelector,omitempty"`

	// doNotDeploy leaves out the clusters that this target matches.
	// +optional
	DoNotDeploy bool `json:"doNotDeploy,omitempty"`
}

// FleetHandshakeStatus says what the operator has done and what the clusters have.
type FleetHandshakeStatus struct {
	// conditions are Ready, SourceAvailable, Delivered, and, only while true, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// status is the one word that sums it up.
	// +optional
	Status HandshakeState `json:"status,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// revision names what is being sent. It is a keyed hash: nothing about the Secret can be worked out from it.
	// +optional
	Revision string `json:"revision,omitempty"`

	// bundles are the Fleet Bundles that carry the Secret.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Bundles []BundleReference `json:"bundles,omitempty"`

	// summary counts all clusters, also those without a row.
	// +optional
	Summary ClusterSummary `json:"summary,omitzero"`

	// display holds texts for the columns of kubectl and Rancher.
	// +optional
	Display Display `json:"display,omitzero"`

	// clusters has one row for each cluster that is to have the Secret, or is to remove it: those that are not Synced
	// first, then by namespace and name.
	// At most 100 rows.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Clusters []ClusterStatus `json:"clusters,omitempty"`

	// clustersOmitted is how many clusters have no row because of the limit.
	// +optional
	ClustersOmitted int32 `json:"clustersOmitted,omitempty"`

	// lastSyncedAt is when status last became Synced, or a new revision reached every cluster.
	// +optional
	LastSyncedAt *metav1.Time `json:"lastSyncedAt,omitempty"`
}

// HandshakeState is the one word that people read in the Status column.
// +kubebuilder:validation:Enum=Pending;Missing;Synced;Error
type HandshakeState string

const (
	// StatePending means that not every matched cluster has the current revision yet, or that no cluster matches.
	StatePending HandshakeState = "Pending"
	// StateMissing means that the Secret does not exist on the hub. What the clusters have is up to missingSourcePolicy.
	StateMissing HandshakeState = "Missing"
	// StateSynced means that every matched cluster has applied the current revision, and that there is at least one.
	StateSynced HandshakeState = "Synced"
	// StateError means that the Secret cannot be sent, or that a cluster could not apply it.
	StateError HandshakeState = "Error"
)

// BundleReference names a Fleet Bundle in the namespace of the FleetHandshake.
type BundleReference struct {
	// name of the Bundle, of its values Secret and of the Helm release downstream.
	// +required
	// +kubebuilder:validation:MaxLength=53
	Name string `json:"name"`
	// targetNamespace is the namespace in the downstream clusters.
	// +required
	// +kubebuilder:validation:MaxLength=63
	TargetNamespace string `json:"targetNamespace"`
}

// ClusterSummary counts the clusters. desired = synced + pending + failed + offline.
type ClusterSummary struct {
	// desired is the number of clusters that are to have the Secret: those that match, and those that no longer do and
	// keep it until somebody confirms.
	// +optional
	Desired int32 `json:"desired"`
	// synced is the number of clusters that have the current revision.
	// +optional
	Synced int32 `json:"synced"`
	// pending is the number of clusters that do not have it yet.
	// +optional
	Pending int32 `json:"pending"`
	// failed is the number of clusters that could not apply it.
	// +optional
	Failed int32 `json:"failed"`
	// offline is the number of clusters whose agent does not report.
	// +optional
	Offline int32 `json:"offline"`
	// withdrawing is the number of clusters that are no longer matched and have not confirmed yet that they have
	// removed their copy.
	// +optional
	Withdrawing int32 `json:"withdrawing,omitempty"`
}

// Display holds texts for columns.
type Display struct {
	// readyClusters is "synced/desired", for example 41/42.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	ReadyClusters string `json:"readyClusters,omitempty"`
}

// ClusterStatus says what one cluster has.
type ClusterStatus struct {
	// name of the Fleet Cluster.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace of the Fleet Cluster.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// displayName is the name that people gave to the cluster in Rancher, when it is another one.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	DisplayName string `json:"displayName,omitempty"`
	// state of the delivery to this cluster.
	// +required
	State ClusterState `json:"state"`
	// revision that the cluster has, as far as it is known: status.revision when it has the current one, and nothing
	// when it has none.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Revision string `json:"revision,omitempty"`
	// since is when the cluster came into this state, as far as the operator has seen it.
	// +optional
	Since metav1.Time `json:"since,omitzero"`
	// reason is why, in one word. It is absent when the state says it all.
	// +optional
	Reason ClusterReason `json:"reason,omitempty"`
	// message says what it means and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// ClusterState is the state of the delivery to one cluster. Pending, WaitApplied, ErrApplied, NotReady, OutOfSync and
// Modified are Fleet's own words.
// +kubebuilder:validation:Enum=Synced;Pending;WaitApplied;ErrApplied;NotReady;OutOfSync;Modified;Stuck;Offline;Conflict;Paused;Withdrawing
type ClusterState string

const (
	// ClusterSynced means that the cluster has applied the current revision, and Fleet's agent finds it as it should be.
	ClusterSynced ClusterState = "Synced"
	// ClusterPending means that Fleet has not made a BundleDeployment for the cluster yet.
	ClusterPending ClusterState = "Pending"
	// ClusterWaitApplied means that Fleet's agent in the cluster has not applied the current revision yet.
	ClusterWaitApplied ClusterState = "WaitApplied"
	// ClusterErrApplied means that Fleet's agent in the cluster could not apply it. The agent tries again.
	ClusterErrApplied ClusterState = "ErrApplied"
	// ClusterNotReady means that the cluster has refused to install it. The operator tries again, less and less often.
	ClusterNotReady ClusterState = "NotReady"
	// ClusterOutOfSync means that the rollout has not come to this cluster yet.
	ClusterOutOfSync ClusterState = "OutOfSync"
	// ClusterModified means that the copy in the cluster was deleted or edited.
	ClusterModified ClusterState = "Modified"
	// ClusterStuck means that the cluster should have applied the current revision long ago, and its agent reports.
	ClusterStuck ClusterState = "Stuck"
	// ClusterOffline means that the agent of the cluster does not report. Its revision is the last one known.
	ClusterOffline ClusterState = "Offline"
	// ClusterConflict means that a Secret of that name is there, which a person or another release has made. The
	// operator tries again, less and less often.
	ClusterConflict ClusterState = "Conflict"
	// ClusterPaused means that the current revision is held back by spec.paused, here or in the Fleet Cluster.
	ClusterPaused ClusterState = "Paused"
	// ClusterWithdrawing means that the cluster is no longer to have the Secret, and has not confirmed yet that it has
	// removed it.
	ClusterWithdrawing ClusterState = "Withdrawing"
)
