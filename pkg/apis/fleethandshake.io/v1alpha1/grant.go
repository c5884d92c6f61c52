package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=sgrant,categories=fleet,scope=Namespaced,path=secretgrants
// +kubebuilder:printcolumn:name="From",type=string,JSONPath=`.spec.from[*].namespace`,description="The namespaces of the FleetHandshakes that may send"
// +kubebuilder:printcolumn:name="To",type=string,JSONPath=`.spec.to[*].names`,description="The Secrets that they may send; empty means all"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expiresAt`,description="When the grant ends"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is missing: say who may send what, for example spec: {from: [{namespace: fleet-default}], to: [{kind: Secret, names: [db-creds]}]}"
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SecretGrant lets FleetHandshakes of other namespaces send Secrets of the namespace that it is in. Within one namespace
// no grant is needed. Its shape follows the ReferenceGrant of the Gateway API.
type SecretGrant struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says who may send what, and where to.
	// +optional
	Spec SecretGrantSpec `json:"spec,omitzero"`
}

// SecretGrantSpec says who may send what, and where to. Several grants add up.
// +kubebuilder:validation:XValidation:rule="has(self.from) && size(self.from) > 0",message="from is empty: name at least one namespace, for example from: [{namespace: fleet-default}]"
// +kubebuilder:validation:XValidation:rule="has(self.to) && size(self.to) > 0",message="to is empty: name what may be sent, for example to: [{kind: Secret, names: [db-creds]}]"
type SecretGrantSpec struct {
	// from says which FleetHandshakes may send.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	From []GrantFrom `json:"from,omitempty"`

	// to says what they may send.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	To []GrantTo `json:"to,omitempty"`

	// clusters limits the grant to the clusters that these targets match, in the namespace of the FleetHandshake. For
	// each cluster the first target that matches decides. It defaults to all clusters.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Clusters []ClusterTarget `json:"clusters,omitempty"`

	// keys limits the grant to these keys: no others travel. It defaults to all keys. All clusters of a FleetHandshake
	// get the same keys: those that may travel to each of the clusters that a grant covers.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Keys []string `json:"keys,omitempty"`

	// expiresAt is when the grant ends. It defaults to never.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
}

// GrantFrom names FleetHandshakes.
type GrantFrom struct {
	// namespace of the FleetHandshakes: a Fleet workspace.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="namespace is not the name of a namespace: use lower case letters, digits and '-', for example fleet-default; there are no wildcards"
	Namespace string `json:"namespace"`

	// handshakes are the names of the FleetHandshakes. It defaults to all of the namespace.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Handshakes []string `json:"handshakes,omitempty"`
}

// GrantTo names what may be sent.
type GrantTo struct {
	// kind is Secret or ConfigMap.
	// +required
	Kind SourceKind `json:"kind"`

	// names of the objects. It defaults to all of the kind in the namespace.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(n, n.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",message="names has what is not the name of an object: use lower case letters, digits, '-' and '.', for example db-creds; there are no wildcards, leave names out for all"
	Names []string `json:"names,omitempty"`
}

// SourceKind is a kind of object that can be sent.
// +kubebuilder:validation:Enum=Secret;ConfigMap
type SourceKind string

const (
	// SourceSecret is a Secret.
	SourceSecret SourceKind = "Secret"
	// SourceConfigMap is a ConfigMap.
	SourceConfigMap SourceKind = "ConfigMap"
)
