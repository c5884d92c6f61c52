package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Source is an object that makes a Secret in its own namespace on the hub, from what a secret manager holds.
// +k8s:deepcopy-gen=false
type Source interface {
	metav1.Object
	runtime.Object
	// Target says what Secret it makes.
	Target() *TargetSecret
	// Made is the part of the status that all sources have.
	Made() *SourceStatus
}

// TargetSecret says what Secret a source makes.
type TargetSecret struct {
	// targetSecretName is the name of the Secret to make. It defaults to the name of this object.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="targetSecretName is not the name of a Secret: use lower case letters, digits, '-' and '.', and begin and end with a letter or digit, for example registry-creds"
	TargetSecretName string `json:"targetSecretName,omitempty"`

	// labels of the Secret.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="!('fleethandshake.io/handshake' in self)",message="labels has fleethandshake.io/handshake, by which the operator knows its own Secrets: leave it out"
	Labels map[string]string `json:"labels,omitempty"`

	// annotations of the Secret.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="!('fleethandshake.io/sources' in self)",message="annotations has fleethandshake.io/sources, which the operator itself writes: leave it out"
	Annotations map[string]string `json:"annotations,omitempty"`

	// conflictPolicy says what happens when a Secret of that name is already there and is not ours. Fail leaves it
	// alone. Adopt replaces it: from then on it is ours, and is deleted with this object. Merge adds our keys to it and
	// leaves the others; a key that somebody else has made is not overwritten.
	// +optional
	// +kubebuilder:default=Fail
	ConflictPolicy SourceConflictPolicy `json:"conflictPolicy,omitempty"`
}

// SourceConflictPolicy says what happens to a Secret that is in the way.
// +kubebuilder:validation:Enum=Fail;Adopt;Merge
type SourceConflictPolicy string

const (
	// SourceConflictFail leaves it alone and reports the conflict.
	SourceConflictFail SourceConflictPolicy = "Fail"
	// SourceConflictAdopt replaces it. From then on it is ours.
	SourceConflictAdopt SourceConflictPolicy = "Adopt"
	// SourceConflictMerge adds our keys to it.
	SourceConflictMerge SourceConflictPolicy = "Merge"
)

// SourceStatus is the part of the status that all sources have.
type SourceStatus struct {
	// conditions are Ready and Fetched, and, only while true, Reconciling, Stalled, Stale and KeysLeftOut.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// secretName is the Secret that was made last.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`

	// secretVersion names the state of the Secret that was found right last: its UID and resourceVersion.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	SecretVersion string `json:"secretVersion,omitempty"`

	// lastFetchedAt is when what the Secret holds was read or made. When it came from several places, it is the oldest
	// of these times.
	// +optional
	LastFetchedAt *metav1.Time `json:"lastFetchedAt,omitempty"`

	// nextFetchAt is when it is read, renewed or made anew.
	// +optional
	NextFetchAt *metav1.Time `json:"nextFetchAt,omitempty"`

	// staleAt is from when on what the Secret holds is too old, or no longer valid.
	// +optional
	StaleAt *metav1.Time `json:"staleAt,omitempty"`

	// refreshedFor is the value of the annotation fleethandshake.io/refresh that was followed last.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	RefreshedFor string `json:"refreshedFor,omitempty"`

	// keys says where each key of the Secret came from, in the order of their names. At most 200 rows.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=200
	Keys []KeyOrigin `json:"keys,omitempty"`

	// keysOmitted is how many keys have no row because of the limit.
	// +optional
	KeysOmitted int32 `json:"keysOmitted,omitempty"`
}

// KeyOrigin says where one key of a Secret came from.
type KeyOrigin struct {
	// key of the Secret.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
	// path that it came from.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`
	// version of what was read there, when it has one.
	// +optional
	Version int64 `json:"version,omitempty"`
}
