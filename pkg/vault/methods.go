package vault

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// DefaultLifetime is how long a token of a service account is valid. It is used once, for the login. The API server gives
// none for less.
const DefaultLifetime = 10 * time.Minute

// Where Vault mounts a method that was given no other path.
const (
	JWTMount     = "jwt"
	AppRoleMount = "approle"
	CertMount    = "cert"
)

// ServiceAccount logs in with a token that the API server makes for a service account. The methods kubernetes and jwt
// differ in what Vault does with it, and not in what is sent.
type ServiceAccount struct {
	// Client makes the token.
	Client corev1client.ServiceAccountsGetter
	// Namespace and Name are those of the service account.
	Namespace, Name string
	// Audiences of the token; none are those of the API server.
	Audiences []string
	// Lifetime of the token; 0 is DefaultLifetime.
	Lifetime time.Duration
	// Mount is where the method is, with or without auth/ and /login; Role is one of Vault's.
	Mount, Role string
}

// ID is different for what Vault takes for another identity.
func (a ServiceAccount) ID() string {
	return id("serviceaccount", a.Namespace, a.Name, a.Audiences, a.Mount, a.Role)
}

// Credentials asks the API server for a token. The error names the service account and the right that is missing.
func (a ServiceAccount) Credentials(ctx context.Context) (Credentials, error) {
	lifetime := a.Lifetime
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	seconds := int64(lifetime.Seconds())
	token, err := a.Client.ServiceAccounts(a.Namespace).CreateToken(ctx, a.Name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: a.Audiences, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Credentials{}, fmt.Errorf("service account %s/%s does not exist: create it, or name another one", a.Namespace, a.Name)
	case apierrors.IsForbidden(err):
		return Credentials{}, fmt.Errorf("the operator may not make a token of service account %s/%s: give it the verb create on serviceaccounts/token there", a.Namespace, a.Name)
	case err != nil:
		return Credentials{}, fmt.Errorf("making a token of service account %s/%s: %w", a.Namespace, a.Name, err)
	}
	return Credentials{Path: LoginPath(a.Mount), Body: map[string]any{"role": a.Role, "jwt": token.Status.Token}}, nil
}

// SecretKey is one key of a Secret.
type SecretKey struct {
	Client               corev1client.SecretsGetter
	Namespace, Name, Key string
}

func (s SecretKey) String() string { return s.Namespace + "/" + s.Name + "/" + s.Key }

// read gives the value of the key, without the line break at the end that files have. The error names the Secret and the
// key.
func (s SecretKey) read(ctx context.Context) (string, error) {
	secret, err := s.get(ctx)
	if err != nil {
		return "", err
	}
	value := strings.TrimRight(string(secret.Data[s.Key]), "\r\n")
	if value == "" {
		return "", fmt.Errorf("Secret %s/%s has no key %s: add it, or name another one", s.Namespace, s.Name, s.Key) //nolint:staticcheck // Secret is a kind
	}
	return value, nil
}

func (s SecretKey) get(ctx context.Context) (*corev1.Secret, error) {
	secret, err := s.Client.Secrets(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("Secret %s/%s does not exist: create it, or name another one", s.Namespace, s.Name) //nolint:staticcheck // Secret is a kind
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	return secret, nil
}

// JWT logs in with a token of any issuer, which is in a Secret.
type JWT struct {
	Token       SecretKey
	Mount, Role string
}

// ID is different for what Vault takes for another identity.
func (a JWT) ID() string { return id("jwt", a.Token.String(), a.Mount, a.Role) }

// Credentials reads the token.
func (a JWT) Credentials(ctx context.Context) (Credentials, error) {
	token, err := a.Token.read(ctx)
	return Credentials{Path: LoginPath(a.Mount), Body: map[string]any{"role": a.Role, "jwt": token}}, err
}

// AppRole logs in with a role ID, and a secret ID that is in a Secret.
type AppRole struct {
	RoleID   string
	SecretID SecretKey
	Mount    string
}

// ID is different for what Vault takes for another identity.
func (a AppRole) ID() string { return id("approle", a.RoleID, a.SecretID.String(), a.Mount) }

// Credentials reads the secret ID.
func (a AppRole) Credentials(ctx context.Context) (Credentials, error) {
	secretID, err := a.SecretID.read(ctx)
	return Credentials{Path: LoginPath(a.Mount), Body: map[string]any{"role_id": a.RoleID, "secret_id": secretID}}, err
}

// Cert logs in with a client certificate, which is in a Secret of type kubernetes.io/tls.
type Cert struct {
	// Certificate names the Secret; its Key is not looked at.
	Certificate SecretKey
	// Role is the name of the certificate role; empty lets Vault find one.
	Mount, Role string
}

// ID is different for what Vault takes for another identity.
func (a Cert) ID() string { return id("cert", a.Certificate.String(), a.Mount, a.Role) }

// Credentials reads the certificate.
func (a Cert) Credentials(ctx context.Context) (Credentials, error) {
	secret, err := a.Certificate.get(ctx)
	if err != nil {
		return Credentials{}, err
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return Credentials{}, fmt.Errorf("Secret %s/%s has no certificate with its key as PEM in %s and %s: put both there", //nolint:staticcheck // Secret is a kind
			a.Certificate.Namespace, a.Certificate.Name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	body := map[string]any{}
	if a.Role != "" {
		body["name"] = a.Role
	}
	return Credentials{Path: LoginPath(a.Mount), Body: body, Certificate: &pair}, nil
}

// Token uses a token that is in a Secret, and is not renewed by a login.
type Token struct{ Token SecretKey }

// ID is different for what Vault takes for another identity.
func (a Token) ID() string { return id("token", a.Token.String()) }

// Credentials reads the token.
func (a Token) Credentials(ctx context.Context) (Credentials, error) {
	token, err := a.Token.read(ctx)
	return Credentials{Token: token}, err
}

// id is a hash of what tells an identity from others. Nothing in it is secret.
func id(parts ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return hex.EncodeToString(sum[:])
}
