package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=fleet,scope=Namespaced,path=vsecmsecrets
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`,description="The Secret that was made"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Secret holds what Safe holds"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why, in one word"
// +kubebuilder:printcolumn:name="Fetched",type=date,JSONPath=`.status.lastFetchedAt`,description="How old what the Secret holds is"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is missing: name at least one value, for example spec: {data: [{key: username, ref: database.username}]}"
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// VSecMSecret makes a Secret from what Safe holds, the server of VMware Secrets Manager.
type VSecMSecret struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what to take out of Safe, and what Secret to make of it.
	// +optional
	Spec VSecMSecretSpec `json:"spec,omitzero"`

	// status says what was made.
	// +optional
	Status SourceStatus `json:"status,omitzero"`
}

// VSecMSecretSpec says what to take out of Safe, and what Secret to make of it.
//
// A ref is the name of a secret in Safe and the way to a value in its JSON, with dots between, for example
// databaseCredentials.cocaCola.data.username. A backslash before a dot makes it part of a name.
// +kubebuilder:validation:XValidation:rule="has(self.data) && size(self.data) > 0 || has(self.dataFrom) && size(self.dataFrom) > 0",message="data and dataFrom are empty: name at least one value, for example data: [{key: username, ref: database.username}]"
// +kubebuilder:validation:XValidation:rule="!has(self.maxAge) || !has(self.refreshInterval) || duration(self.maxAge) > duration(self.refreshInterval)",message="maxAge must be longer than refreshInterval, or the Secret is too old again and again"
// +kubebuilder:validation:XValidation:rule="!has(self.expectedName) || size(self.expectedName) == 0 || !has(self.secretType) || self.secretType != 'workload'",message="expectedName is the name of a raw secret, and secretType workload reads none: leave one of them out"
// +kubebuilder:validation:XValidation:rule="!has(self.labels) || self.labels.all(l, l.key != 'fleethandshake.io/handshake')",message="labels has fleethandshake.io/handshake, by which the operator knows its own Secrets: leave it out"
// +kubebuilder:validation:XValidation:rule="!has(self.annotations) || self.annotations.all(a, a.key != 'fleethandshake.io/sources')",message="annotations has fleethandshake.io/sources, which the operator itself writes: leave it out"
type VSecMSecretSpec struct {
	// vsecmSafeURL is that of Safe, for example https://vsecm-safe.vsecm-system.svc.cluster.local:8443/. It defaults to
	// that of the operator.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^https://[^/?#@ ]+/?$')",message="vsecmSafeURL must be https:// with host and port, for example https://vsecm-safe.vsecm-system.svc.cluster.local:8443/"
	VSecMSafeURL string `json:"vsecmSafeURL,omitempty"`

	// secretType says which secrets of Safe are meant, and what becomes of their values. k8s and raw take raw secrets,
	// those that are written with the prefix raw:, for which the operator has to be the workload vsecm-scout. With k8s,
	// a ref leads into the JSON of a value. With raw, a value is taken as it is, and a ref is a name alone. workload takes
	// the secret of a workload that the operator is, with a ref as with k8s.
	// +optional
	// +kubebuilder:default=k8s
	SecretType VSecMSecretType `json:"secretType,omitempty"`

	// refreshInterval is how often Safe is read: at 80 to 90 % of it. VSecMSecrets of the same Safe share what was read.
	// At least 10s.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s')",message="refreshInterval must be 10s or longer, for example 1h"
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// maxAge is from what age on the values count as stale, because Safe could not be read. It defaults to three times
	// refreshInterval.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",message="maxAge must be a duration, for example 3h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`

	// target is the Secret to make.
	// +optional
	// +kubebuilder:default={}
	Target VSecMTarget `json:"target,omitzero"`

	// data are single values, each with the key of the Secret that it gets.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=200
	Data []VSecMKey `json:"data,omitempty"`

	// dataFrom takes all values of objects. A key that data has too is that of data.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	DataFrom []VSecMObject `json:"dataFrom,omitempty"`

	// labels of the Secret, from values in Safe. Everybody who can see the Secret can see them, and so can who sees its
	// copies in the clusters.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=64
	Labels []VSecMMetadata `json:"labels,omitempty"`

	// annotations of the Secret, from values in Safe. They can be seen as labels can.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=64
	Annotations []VSecMMetadata `json:"annotations,omitempty"`

	// onMissing says what happens when there is nothing at a ref, or not any more. Keep leaves what came from it before.
	// Remove removes that. Fail leaves the whole Secret as it is.
	// +optional
	// +kubebuilder:default=Keep
	OnMissing OnMissing `json:"onMissing,omitempty"`

	// onExpiry says what happens when the expiresAfter of a secret is over. Remove withdraws what came from it, also while
	// Safe does not answer. Keep leaves it. Safe tells its dates only when it has two or more raw secrets.
	// +optional
	// +kubebuilder:default=Remove
	OnExpiry OnExpiry `json:"onExpiry,omitempty"`

	// expectedName is the name of the raw secret of a Safe that has only one: Safe does not tell it then, nor the dates.
	// Better is a second raw secret, for example raw:marker.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('raw:')",message="expectedName begins with raw:, which only Safe has before the name: leave it out, for example databaseCredentials"
	ExpectedName string `json:"expectedName,omitempty"`
}

// VSecMSecretType says which secrets of Safe are meant.
// +kubebuilder:validation:Enum=k8s;raw;workload
type VSecMSecretType string

const (
	// VSecMK8s takes values out of the JSON of raw secrets.
	VSecMK8s VSecMSecretType = "k8s"
	// VSecMRaw takes raw secrets as they are.
	VSecMRaw VSecMSecretType = "raw"
	// VSecMWorkload takes values out of the JSON of the secret of a workload that the operator is.
	VSecMWorkload VSecMSecretType = "workload"
)

// VSecMTarget is the Secret that a VSecMSecret makes.
type VSecMTarget struct {
	// name of the Secret. It defaults to the name of this object.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name is not the name of a Secret: use lower case letters, digits, '-' and '.', and begin and end with a letter or digit, for example database-credentials"
	Name string `json:"name,omitempty"`

	// type of the Secret. When it is changed, the Secret is deleted and made anew.
	// +optional
	// +kubebuilder:default=Opaque
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!(self in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token', 'helm.sh/release.v1', 'fleethandshake.io/vault-token']) && !self.startsWith('fleet.cattle.io/')",message="type is one of those that Kubernetes, Helm, Fleet or the operator itself work with: write Opaque, kubernetes.io/tls, kubernetes.io/dockerconfigjson or a type of your own"
	Type string `json:"type,omitempty"`

	// conflictPolicy says what happens when a Secret of that name is already there and is not ours. Fail leaves it
	// alone. Adopt replaces it: from then on it is ours, and is deleted with this object. Merge adds our keys to it and
	// leaves the others; a key that somebody else has made is not overwritten.
	// +optional
	// +kubebuilder:default=Fail
	ConflictPolicy SourceConflictPolicy `json:"conflictPolicy,omitempty"`
}

// VSecMKey is one key of the Secret.
type VSecMKey struct {
	// key of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="key is not a key of a Secret: use letters, digits, '-', '_' and '.', for example username"
	Key string `json:"key"`

	// ref is the name of a secret in Safe, and the way to the value.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('raw:')",message="ref begins with raw:, which only Safe has before the name: leave it out, for example databaseCredentials.username"
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([^.\\]|\\[.\\])+([.]([^.\\]|\\[.\\])+)*$')`,message="ref must be the name of a secret, and the names on the way to a value, with one dot between, for example databaseCredentials.cocaCola.data.username; a dot or backslash in a name has a backslash before it"
	Ref string `json:"ref"`
}

// VSecMObject takes all values of one object.
type VSecMObject struct {
	// ref is the name of a secret in Safe, and the way to an object in it; the name alone is the whole secret. What is no
	// JSON object gets the key VALUE, as in the Secrets that Safe itself makes.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('raw:')",message="ref begins with raw:, which only Safe has before the name: leave it out, for example databaseCredentials.username"
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([^.\\]|\\[.\\])+([.]([^.\\]|\\[.\\])+)*$')`,message="ref must be the name of a secret, and the names on the way to a value, with one dot between, for example databaseCredentials.cocaCola.data.username; a dot or backslash in a name has a backslash before it"
	Ref string `json:"ref"`

	// prefix of the keys.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]*$')",message="prefix has what a key of a Secret cannot have: use letters, digits, '-', '_' and '.', for example database_"
	Prefix string `json:"prefix,omitempty"`
}

// VSecMMetadata is one label or annotation of the Secret.
type VSecMMetadata struct {
	// key of the label or annotation.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$') && self.indexOf('/') <= 253",message="key is not the key of a label or annotation: write one such as app or example.com/app"
	Key string `json:"key"`

	// ref is the name of a secret in Safe, and the way to the value.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('raw:')",message="ref begins with raw:, which only Safe has before the name: leave it out, for example databaseCredentials.username"
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([^.\\]|\\[.\\])+([.]([^.\\]|\\[.\\])+)*$')`,message="ref must be the name of a secret, and the names on the way to a value, with one dot between, for example databaseCredentials.cocaCola.data.username; a dot or backslash in a name has a backslash before it"
	Ref string `json:"ref"`
}

// OnExpiry says what happens when a secret has expired.
// +kubebuilder:validation:Enum=Remove;Keep
type OnExpiry string

const (
	// OnExpiryRemove withdraws what came from the secret.
	OnExpiryRemove OnExpiry = "Remove"
	// OnExpiryKeep leaves it.
	OnExpiryKeep OnExpiry = "Keep"
)

// Target says what Secret it makes.
func (s *VSecMSecret) Target() *TargetSecret {
	return &TargetSecret{TargetSecretName: s.Spec.Target.Name, ConflictPolicy: s.Spec.Target.ConflictPolicy}
}

// Made is the part of the status that all sources have.
func (s *VSecMSecret) Made() *SourceStatus { return &s.Status }
