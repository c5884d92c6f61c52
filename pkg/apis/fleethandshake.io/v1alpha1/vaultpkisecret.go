package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=vpki,categories=fleet,scope=Namespaced,path=vaultpkisecrets
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`,description="The Secret that was made"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Secret holds a valid certificate"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why, in one word"
// +kubebuilder:printcolumn:name="Issued",type=date,JSONPath=`.status.lastFetchedAt`,description="How old the certificate is"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.staleAt`,description="Until when the certificate is valid"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is missing: name a role and a common name, for example spec: {role: web, commonName: www.example.com}"
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// VaultPKISecret makes a Secret of type kubernetes.io/tls from a certificate that Vault's PKI engine issues, and has a new
// one issued before it ends.
type VaultPKISecret struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what certificate to have issued.
	// +optional
	Spec VaultPKISecretSpec `json:"spec,omitzero"`

	// status says what was issued.
	// +optional
	Status VaultPKISecretStatus `json:"status,omitzero"`
}

// VaultPKISecretSpec says what certificate Vault is to issue.
// +kubebuilder:validation:XValidation:rule="!has(self.ttl) || !has(self.expiryOffset) || duration(self.expiryOffset) < duration(self.ttl)",message="expiryOffset must be shorter than ttl, for example ttl: 72h and expiryOffset: 24h"
type VaultPKISecretSpec struct {
	VaultAccess  `json:",inline"`
	TargetSecret `json:",inline"`

	// mount of the PKI engine.
	// +optional
	// +kubebuilder:default=pki
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Mount string `json:"mount,omitempty"`

	// role of the PKI engine.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Role string `json:"role"`

	// issuerRef is the name or ID of the issuer. It defaults to that of the role.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	IssuerRef string `json:"issuerRef,omitempty"`

	// commonName of the certificate.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	CommonName string `json:"commonName,omitempty"`

	// altNames are more DNS names and e-mail addresses.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=253
	AltNames []string `json:"altNames,omitempty"`

	// ipSans are IP addresses.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=64
	IPSans []string `json:"ipSans,omitempty"`

	// uriSans are URIs.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=512
	URISans []string `json:"uriSans,omitempty"`

	// ttl is how long the certificate is to be valid. It defaults to that of the role.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s')",message="ttl must be 10s or longer, for example 72h"
	TTL *metav1.Duration `json:"ttl,omitempty"`

	// expiryOffset is how long before its end the certificate is replaced. It defaults to a third of its life. Up to
	// 5 % of it come or go by chance, so that not all come at once.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",message="expiryOffset must be a duration, for example 24h"
	ExpiryOffset *metav1.Duration `json:"expiryOffset,omitempty"`

	// privateKey is how the key is made.
	// +optional
	PrivateKey PrivateKey `json:"privateKey,omitzero"`

	// revoke has the certificate revoked once it was replaced, and when this object is deleted.
	// +optional
	Revoke bool `json:"revoke,omitempty"`
}

// PrivateKey is how a private key is made.
// +kubebuilder:validation:XValidation:rule="!has(self.size) || (has(self.algorithm) && self.algorithm == 'RSA' ? self.size >= 2048 : !has(self.algorithm) || self.algorithm == 'ECDSA' ? self.size <= 521 : false)",message="privateKey.size does not fit privateKey.algorithm: write 2048, 3072 or 4096 for RSA, 256, 384 or 521 for ECDSA, and none for Ed25519"
// +kubebuilder:validation:XValidation:rule="self.source == 'Local' || !has(self.algorithm) && !has(self.size)",message="privateKey.algorithm and privateKey.size are those of a key that is made here: add source: Local, or leave them out, because the role in Vault decides"
type PrivateKey struct {
	// source is Vault or Local. Vault makes the key and the certificate at once. With Local the operator makes the key,
	// and Vault gets a signing request only.
	// +optional
	// +kubebuilder:default=Vault
	// +kubebuilder:validation:Enum=Vault;Local
	Source KeySource `json:"source,omitempty"`
	// algorithm of a key that is made here: RSA, ECDSA or Ed25519. It defaults to ECDSA.
	// +optional
	// +kubebuilder:validation:Enum=RSA;ECDSA;Ed25519
	Algorithm KeyAlgorithm `json:"algorithm,omitempty"`
	// size in bits of a key that is made here: 2048, 3072 or 4096 for RSA, 256, 384 or 521 for ECDSA. It defaults to 2048
	// and 256.
	// +optional
	// +kubebuilder:validation:Enum=256;384;521;2048;3072;4096
	Size int32 `json:"size,omitempty"`
}

// KeySource is who makes a private key.
type KeySource string

const (
	// KeyFromVault is made by Vault.
	KeyFromVault KeySource = "Vault"
	// KeyLocal is made by the operator.
	KeyLocal KeySource = "Local"
)

// KeyAlgorithm is the kind of a private key.
type KeyAlgorithm string

// The algorithms.
const (
	KeyRSA     KeyAlgorithm = "RSA"
	KeyECDSA   KeyAlgorithm = "ECDSA"
	KeyEd25519 KeyAlgorithm = "Ed25519"
)

// VaultPKISecretStatus says what was issued.
type VaultPKISecretStatus struct {
	SourceStatus `json:",inline"`

	// certificate that the Secret holds.
	// +optional
	Certificate *Certificate `json:"certificate,omitempty"`
}

// Certificate says what was issued.
type Certificate struct {
	// serialNumber of the certificate, as Vault writes it.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	SerialNumber string `json:"serialNumber,omitempty"`
	// notBefore is from when on it is valid.
	// +optional
	NotBefore metav1.Time `json:"notBefore,omitzero"`
	// notAfter is until when it is valid.
	// +optional
	NotAfter metav1.Time `json:"notAfter,omitzero"`
}

// Target says what Secret it makes.
func (s *VaultPKISecret) Target() *TargetSecret { return &s.Spec.TargetSecret }

// Made is the part of the status that all sources have.
func (s *VaultPKISecret) Made() *SourceStatus { return &s.Status.SourceStatus }
