package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=fleet,scope=Namespaced,path=vaultsecrets
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`,description="The Secret that was made"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Secret holds what Vault holds"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why, in one word"
// +kubebuilder:printcolumn:name="Fetched",type=date,JSONPath=`.status.lastFetchedAt`,description="How old what the Secret holds is"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is missing: name at least one path, for example spec: {paths: [{path: secret/team/app}]}"
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// VaultSecret makes a Secret from one or many paths of Vault's KV engines. Its spec takes that of the VaultSecret of
// k8s.kiwi.com/v1.
type VaultSecret struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what to read, and what Secret to make of it.
	// +optional
	Spec VaultSecretSpec `json:"spec,omitzero"`

	// status says what was made.
	// +optional
	Status SourceStatus `json:"status,omitzero"`
}

// VaultSecretSpec says what to read from Vault, and what Secret to make of it.
// +kubebuilder:validation:XValidation:rule="has(self.paths) && size(self.paths) > 0",message="paths is empty: name at least one path, for example paths: [{path: secret/team/app}]"
// +kubebuilder:validation:XValidation:rule="!has(self.maxAge) || !has(self.reconcilePeriod) || duration(self.maxAge) > duration(self.reconcilePeriod)",message="maxAge must be longer than reconcilePeriod, or the Secret is too old again and again"
type VaultSecretSpec struct {
	VaultAccess  `json:",inline"`
	TargetSecret `json:",inline"`

	// paths to read. They are merged in this order; two of them must not have the same key.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Paths []VaultPath `json:"paths,omitempty"`

	// separator between the names on the way to a value, with targetFormat env. Empty is "_" too.
	// +optional
	// +kubebuilder:default="_"
	// +kubebuilder:validation:MaxLength=16
	Separator string `json:"separator,omitempty"`

	// targetFormat is env, json or yaml. env makes a key for each value. json and yaml make one key, secrets.json or
	// secrets.yaml, with all of them.
	// +optional
	// +kubebuilder:default=env
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="self.lowerAscii() in ['env', 'json', 'yaml']",message="targetFormat must be env, json or yaml"
	TargetFormat string `json:"targetFormat,omitempty"`

	// compat: kiwi makes of the values what k8s-vault-operator makes: numbers go through a float, a key that cannot be
	// in a Secret is only noted, and what is missing in Vault goes from the Secret.
	// +optional
	Compat Compat `json:"compat,omitempty"`

	// reconcilePeriod is how often Vault is read: at 80 to 90 % of it, so that not all come at once. At least 10s.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s')",message="reconcilePeriod must be 10s or longer, for example 10m"
	ReconcilePeriod *metav1.Duration `json:"reconcilePeriod,omitempty"`

	// maxAge is from what age on the values count as stale, because Vault could not be read. It defaults to three times
	// reconcilePeriod.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",message="maxAge must be a duration, for example 1h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`

	// type of the Secret. When it is changed, the Secret is deleted and made anew.
	// +optional
	// +kubebuilder:default=Opaque
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!(self in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token', 'helm.sh/release.v1', 'fleethandshake.io/vault-token']) && !self.startsWith('fleet.cattle.io/')",message="type is one of those that Kubernetes, Helm, Fleet or the operator itself work with: write Opaque, kubernetes.io/tls, kubernetes.io/dockerconfigjson or a type of your own"
	Type string `json:"type,omitempty"`
}

// Compat names another operator whose literal behaviour is wanted.
// +kubebuilder:validation:Enum=kiwi
type Compat string

// CompatKiwi is k8s-vault-operator.
const CompatKiwi Compat = "kiwi"

// VaultPath is one path of a KV engine.
// +kubebuilder:validation:XValidation:rule="!(has(self.version) && self.path.endsWith('*'))",message="version needs a path of one secret: name that, or leave version out"
type VaultPath struct {
	// path of a secret, without data/ and metadata/, for example secret/team/app. With /* at its end, all secrets below
	// it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`

	// prefix of the keys. For a single secret it is put right before each key, unless it ends with "/": then the
	// separator is in between.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Prefix string `json:"prefix,omitempty"`

	// version of the secret in a KV engine of version 2. It defaults to the newest.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Version int64 `json:"version,omitempty"`

	// onMissing says what happens when there is nothing at the path, or not any more. Keep leaves the keys that came
	// from it before. Remove removes them. Fail leaves the whole Secret as it is. It defaults to Keep, and with
	// compat: kiwi to Remove.
	// +optional
	OnMissing OnMissing `json:"onMissing,omitempty"`
}

// OnMissing says what happens when there is nothing at a path.
// +kubebuilder:validation:Enum=Keep;Remove;Fail
type OnMissing string

const (
	// OnMissingKeep leaves the keys that came from the path before.
	OnMissingKeep OnMissing = "Keep"
	// OnMissingRemove removes them.
	OnMissingRemove OnMissing = "Remove"
	// OnMissingFail leaves the whole Secret as it is.
	OnMissingFail OnMissing = "Fail"
)

// Target says what Secret it makes.
func (s *VaultSecret) Target() *TargetSecret { return &s.Spec.TargetSecret }

// Made is the part of the status that all sources have.
func (s *VaultSecret) Made() *SourceStatus { return &s.Status }
