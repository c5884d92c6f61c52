package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=fleet,scope=Namespaced,path=vaultconnections
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.address`,description="The URL of the server"
// +kubebuilder:printcolumn:name="Vault-Namespace",type=string,JSONPath=`.spec.vaultNamespace`,description="The namespace in Vault"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is missing: name the server, for example spec: {address: https://vault.example.com:8200}"
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// VaultConnection says how to reach a Vault server and how to log in there. Service accounts, Secrets and ConfigMaps that
// it names are in its own namespace.
type VaultConnection struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says how to reach the server and how to log in.
	// +optional
	Spec VaultConnectionSpec `json:"spec,omitzero"`
}

// VaultConnectionSpec says how to reach a Vault server and how to log in there.
type VaultConnectionSpec struct {
	// address is the URL of the server.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#@ ]+(/[^?#@ ]*)?$')",message="address must be a URL, for example https://vault.example.com:8200"
	Address string `json:"address"`

	// vaultNamespace is the namespace in Vault. It defaults to the root namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	VaultNamespace string `json:"vaultNamespace,omitempty"`

	// ca has the certificates that the server's certificate is checked with, as PEM. It defaults to those of
	// --vault-ca-file of the operator, and without it to those that browsers trust.
	// +optional
	CA *CertificateSource `json:"ca,omitempty"`

	// serverName is the name in the server's certificate. It defaults to the host of address.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServerName string `json:"serverName,omitempty"`

	// timeout of each request.
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('1m')",message="timeout must be a duration of at most 1m, for example 10s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// requestsPerSecond bounds what the operator sends to the server, through this connection and others with the same
	// number. It defaults to --vault-requests-per-second of the operator.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	RequestsPerSecond int32 `json:"requestsPerSecond,omitempty"`

	// allowedNamespaces are the other namespaces whose objects may use this connection, and so read what its login may
	// read. "*" is all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="allowedNamespaces has something that is not the name of a namespace: use lower case letters, digits and '-', or '*' for all"
	AllowedNamespaces []string `json:"allowedNamespaces,omitempty"`

	// auth is how to log in. It defaults to the method kubernetes with what the operator was started with.
	// +optional
	Auth VaultAuth `json:"auth,omitzero"`
}

// CertificateSource names certificates as PEM.
// +kubebuilder:validation:XValidation:rule="has(self.secretRef) != has(self.configMapRef)",message="ca must have one of secretRef and configMapRef, for example configMapRef: {name: vault-ca, key: ca.crt}"
type CertificateSource struct {
	// secretRef names a key of a Secret.
	// +optional
	SecretRef *CertificateKey `json:"secretRef,omitempty"`
	// configMapRef names a key of a ConfigMap.
	// +optional
	ConfigMapRef *CertificateKey `json:"configMapRef,omitempty"`
}

// CertificateKey names a key of a Secret or ConfigMap in the same namespace.
type CertificateKey struct {
	// name of the Secret or ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key that holds the certificates.
	// +optional
	// +kubebuilder:default="ca.crt"
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// VaultAuth is one way to log in.
// +kubebuilder:validation:XValidation:rule="[has(self.kubernetes), has(self.jwt), has(self.appRole), has(self.cert), has(self.token)].filter(x, x).size() <= 1",message="auth has more than one method: keep one of kubernetes, jwt, appRole, cert and token"
type VaultAuth struct {
	// kubernetes logs in with a token of a service account, which Vault shows to the API server.
	// +optional
	Kubernetes *VaultKubernetesAuth `json:"kubernetes,omitempty"`
	// jwt logs in with a token whose signature Vault checks.
	// +optional
	JWT *VaultJWTAuth `json:"jwt,omitempty"`
	// appRole logs in with a role ID and a secret ID.
	// +optional
	AppRole *VaultAppRoleAuth `json:"appRole,omitempty"`
	// cert logs in with a client certificate.
	// +optional
	Cert *VaultCertAuth `json:"cert,omitempty"`
	// token uses a token of Vault itself.
	// +optional
	Token *VaultTokenAuth `json:"token,omitempty"`
}

// ServiceAccountToken says which token the API server makes for a login.
type ServiceAccountToken struct {
	// audiences of the token. They default to those of the API server. Name the one that the role in Vault wants, and
	// the token is of no use elsewhere.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Audiences []string `json:"audiences,omitempty"`
	// lifetime of the token. It is used once, for the login. At least 10m.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10m')",message="lifetime must be 10m or longer, because the API server makes no shorter token"
	Lifetime *metav1.Duration `json:"lifetime,omitempty"`
}

// VaultKubernetesAuth logs in with Vault's method kubernetes.
type VaultKubernetesAuth struct {
	ServiceAccountToken `json:",inline"`
	// serviceAccountName is the account whose token is shown. It defaults to --vault-service-account of the operator.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// authPath is where the method is mounted, with or without auth/ before it and /login behind it. It defaults to
	// --vault-auth-path of the operator.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	AuthPath string `json:"authPath,omitempty"`
	// role in Vault. It defaults to --vault-role of the operator, and without it to the namespace of the service
	// account.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Role string `json:"role,omitempty"`
}

// VaultJWTAuth logs in with Vault's method jwt.
// +kubebuilder:validation:XValidation:rule="has(self.serviceAccountName) != has(self.secretRef)",message="auth.jwt must have one of serviceAccountName and secretRef, for example serviceAccountName: vault-operator-sync"
type VaultJWTAuth struct {
	ServiceAccountToken `json:",inline"`
	// serviceAccountName is the account whose token is shown.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// secretRef names a Secret with a token of any issuer.
	// +optional
	SecretRef *SecretKey `json:"secretRef,omitempty"`
	// authPath is where the method is mounted.
	// +optional
	// +kubebuilder:default=jwt
	// +kubebuilder:validation:MaxLength=512
	AuthPath string `json:"authPath,omitempty"`
	// role in Vault. Without it Vault takes the default role of the method.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Role string `json:"role,omitempty"`
}

// VaultAppRoleAuth logs in with Vault's method approle.
type VaultAppRoleAuth struct {
	// authPath is where the method is mounted.
	// +optional
	// +kubebuilder:default=approle
	// +kubebuilder:validation:MaxLength=512
	AuthPath string `json:"authPath,omitempty"`
	// roleID is the one that Vault has for the role. It is no secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	RoleID string `json:"roleID"`
	// secretIDRef names a Secret with the secret ID.
	// +required
	SecretIDRef SecretKey `json:"secretIDRef"`
}

// VaultCertAuth logs in with Vault's method cert.
type VaultCertAuth struct {
	// authPath is where the method is mounted.
	// +optional
	// +kubebuilder:default=cert
	// +kubebuilder:validation:MaxLength=512
	AuthPath string `json:"authPath,omitempty"`
	// role is the name of the certificate role in Vault. Without it Vault looks for one that fits.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Role string `json:"role,omitempty"`
	// secretRef names a Secret of type kubernetes.io/tls with the client certificate.
	// +required
	SecretRef SecretName `json:"secretRef"`
}

// VaultTokenAuth uses a token of Vault itself.
type VaultTokenAuth struct {
	// secretRef names a Secret with the token.
	// +required
	SecretRef SecretKey `json:"secretRef"`
}

// SecretKey names a key of a Secret in the same namespace.
type SecretKey struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// SecretName names a Secret in the same namespace.
type SecretName struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// VaultAccess says which Vault a source reads, and how it logs in there. Without any of it the operator's own defaults
// hold.
// +kubebuilder:validation:XValidation:rule="!(has(self.addr) && has(self.connectionRef))",message="spec has addr and connectionRef: keep one of them"
type VaultAccess struct {
	// addr is the URL of the server. It defaults to --vault-addr of the operator.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#@ ]+(/[^?#@ ]*)?$')",message="addr must be a URL, for example https://vault.example.com:8200"
	Addr string `json:"addr,omitempty"`

	// connectionRef names a VaultConnection, instead of addr.
	// +optional
	ConnectionRef *VaultConnectionRef `json:"connectionRef,omitempty"`

	// auth is how to log in: instead of what the VaultConnection says, and instead of the operator's defaults.
	// +optional
	Auth VaultSourceAuth `json:"auth,omitzero"`
}

// VaultConnectionRef names a VaultConnection.
type VaultConnectionRef struct {
	// name of the VaultConnection.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace of the VaultConnection, which then has to name ours in allowedNamespaces. It defaults to the namespace
	// of this object.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// VaultSourceAuth is how a source logs in.
// +kubebuilder:validation:XValidation:rule="!has(self.token)",message="spec.auth.token would show the token to everybody who can read this object: put it into a Secret, name that in spec.auth.token.secretRef of a VaultConnection, and name the VaultConnection in spec.connectionRef"
type VaultSourceAuth struct {
	// serviceAccountRef logs in with a token of a service account in the namespace of this object, by Vault's method
	// kubernetes.
	// +optional
	ServiceAccountRef *VaultServiceAccountRef `json:"serviceAccountRef,omitempty"`
	// token is refused: a token belongs into a Secret.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Token *string `json:"token,omitempty"`
}

// VaultServiceAccountRef names a service account in the namespace of the object.
type VaultServiceAccountRef struct {
	// name of the service account. It defaults to --vault-service-account of the operator.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// authPath is where the method kubernetes is mounted in Vault, with or without auth/ before it and /login behind it.
	// It defaults to --vault-auth-path of the operator.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	AuthPath string `json:"authPath,omitempty"`
	// role in Vault. It defaults to --vault-role of the operator, and without it to the namespace of this object.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Role string `json:"role,omitempty"`
	// audiences of the token that is shown. They default to those of the API server. Name the one that the role in Vault
	// wants, and the token is of no use elsewhere.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Audiences []string `json:"audiences,omitempty"`
}
