package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=vds,categories=fleet,scope=Namespaced,path=vaultdynamicsecrets
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`,description="The Secret that was made"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Secret holds a valid credential"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why, in one word"
// +kubebuilder:printcolumn:name="Made",type=date,JSONPath=`.status.lastFetchedAt`,description="How old the credential is"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.staleAt`,description="Until when the credential is valid without a renewal"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is missing: name a mount and a path, for example spec: {mount: database, path: creds/readonly}"
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// VaultDynamicSecret makes a Secret from a credential that Vault makes, such as a login for a database. It renews the
// lease of the credential, and has a new one made before the old one ends.
type VaultDynamicSecret struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what to have made, and what Secret to make of it.
	// +optional
	Spec VaultDynamicSecretSpec `json:"spec,omitzero"`

	// status says what was made.
	// +optional
	Status VaultDynamicSecretStatus `json:"status,omitzero"`
}

// VaultDynamicSecretSpec says what Vault is to make, and what Secret to make of it.
type VaultDynamicSecretSpec struct {
	VaultAccess  `json:",inline"`
	TargetSecret `json:",inline"`

	// mount of the secrets engine, for example database.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Mount string `json:"mount"`

	// path below the mount, for example creds/readonly.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path"`

	// method of the request.
	// +optional
	// +kubebuilder:default=GET
	// +kubebuilder:validation:Enum=GET;POST;PUT
	Method string `json:"method,omitempty"`

	// params of the request: in the query with GET, in the body with POST and PUT. No secret belongs here: everybody who can read this object sees them.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Params map[string]string `json:"params,omitempty"`

	// renewalPercent is after which share of its life the lease is renewed. Up to 10 % more come by chance, but
	// no more than 90 % in all, so that not all come at once.
	// +optional
	// +kubebuilder:default=67
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=90
	RenewalPercent int32 `json:"renewalPercent,omitempty"`

	// revoke gives the credential back when this object is deleted. Otherwise it lives until its lease ends.
	// +optional
	// +kubebuilder:default=true
	Revoke *bool `json:"revoke,omitempty"`

	// staticCredentials says that the path gives a credential that Vault itself rotates, such as
	// database/static-creds/x. It is read again when Vault has rotated it.
	// +optional
	StaticCredentials bool `json:"staticCredentials,omitempty"`

	// reconcilePeriod is how often a path is read whose answer has no lease. At least 10s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s')",message="reconcilePeriod must be 10s or longer, for example 10m"
	ReconcilePeriod *metav1.Duration `json:"reconcilePeriod,omitempty"`

	// type of the Secret. When it is changed, the Secret is deleted and made anew.
	// +optional
	// +kubebuilder:default=Opaque
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!(self in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token', 'helm.sh/release.v1', 'fleethandshake.io/vault-token']) && !self.startsWith('fleet.cattle.io/')",message="type is one of those that Kubernetes, Helm, Fleet or the operator itself work with: write Opaque, kubernetes.io/tls, kubernetes.io/dockerconfigjson or a type of your own"
	Type string `json:"type,omitempty"`
}

// VaultDynamicSecretStatus says what was made.
type VaultDynamicSecretStatus struct {
	SourceStatus `json:",inline"`

	// lease of the credential that the Secret holds.
	// +optional
	Lease *Lease `json:"lease,omitempty"`
}

// Lease is how long a credential is valid.
type Lease struct {
	// duration that Vault gave it with the last renewal.
	// +optional
	Duration metav1.Duration `json:"duration,omitzero"`
	// expiresAt is when it ends without a renewal.
	// +optional
	ExpiresAt metav1.Time `json:"expiresAt,omitzero"`
	// renewable says whether it can be renewed.
	// +optional
	Renewable bool `json:"renewable,omitempty"`
}

// Target says what Secret it makes.
func (s *VaultDynamicSecret) Target() *TargetSecret { return &s.Spec.TargetSecret }

// Made is the part of the status that all sources have.
func (s *VaultDynamicSecret) Made() *SourceStatus { return &s.Status.SourceStatus }
