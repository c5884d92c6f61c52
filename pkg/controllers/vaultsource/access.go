package vaultsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// The rights that are needed in each namespace with sources that read Vault, or with VaultConnections, beside those of all
// sources.
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get
// +kubebuilder:rbac:groups="",resources=serviceaccounts/token,verbs=create

// access finds out which Vault a source reads, and with which identity.
type access struct {
	connections func(namespace, name string) (*v1alpha1.VaultConnection, error)
	core        corev1client.CoreV1Interface
	pool        *vault.Pool
	defaults    Defaults
	// ca is the content of Defaults.CAFile.
	ca []byte
}

// reached is a Vault with the identity that reads there.
type reached struct {
	*vault.Session
	connection vault.Connection
}

// of gives the Vault of an object. The error is a *source.Problem where a person can do something about it.
func (a *access) of(ctx context.Context, namespace string, spec v1alpha1.VaultAccess) (reached, error) {
	connection, auth, err := a.resolve(ctx, namespace, spec)
	if err != nil {
		return reached{}, err
	}
	session, err := a.pool.Session(connection, auth)
	if err != nil {
		return reached{}, &source.Problem{Reason: v1alpha1.ReasonInvalidSpec, Message: err.Error()}
	}
	return reached{session, connection}, nil
}

func (a *access) resolve(ctx context.Context, namespace string, spec v1alpha1.VaultAccess) (vault.Connection, vault.Auth, error) {
	connection := vault.Connection{Address: cmp.Or(spec.Addr, a.defaults.Addr), CA: a.ca, RequestsPerSecond: float64(a.defaults.RequestsPerSecond)}
	auth := a.serviceAccount(namespace, v1alpha1.VaultKubernetesAuth{})
	if ref := spec.ConnectionRef; ref != nil {
		c, err := a.connection(namespace, *ref)
		if err != nil {
			return connection, nil, err
		}
		if connection, err = a.connect(ctx, c); err != nil {
			return connection, nil, err
		}
		auth = a.authOf(c)
	} else if connection.Address == "" {
		return connection, nil, &source.Problem{Reason: v1alpha1.ReasonInvalidSpec, Final: true, Message: "there is no Vault: name its URL in spec.addr, or a VaultConnection in spec.connectionRef, or start the operator with --vault-addr"}
	}
	if ref := spec.Auth.ServiceAccountRef; ref != nil {
		auth = a.serviceAccount(namespace, v1alpha1.VaultKubernetesAuth{
			ServiceAccountName: ref.Name, AuthPath: ref.AuthPath, Role: ref.Role, ServiceAccountToken: v1alpha1.ServiceAccountToken{Audiences: ref.Audiences},
		})
	}
	return connection, auth, nil
}

func (a *access) connection(namespace string, ref v1alpha1.VaultConnectionRef) (*v1alpha1.VaultConnection, error) {
	of := cmp.Or(ref.Namespace, namespace)
	c, err := a.connections(of, ref.Name)
	if apierrors.IsNotFound(err) {
		return nil, &source.Problem{Reason: v1alpha1.ReasonConnectionNotFound, Final: true, Message: fmt.Sprintf("VaultConnection %s/%s does not exist: create it, or name another one in spec.connectionRef", of, ref.Name)}
	}
	if err != nil {
		return nil, err
	}
	if of != namespace && !slices.Contains(c.Spec.AllowedNamespaces, namespace) && !slices.Contains(c.Spec.AllowedNamespaces, "*") {
		return nil, &source.Problem{Reason: v1alpha1.ReasonConnectionNotShared, Final: true, Message: fmt.Sprintf("VaultConnection %s/%s is not for namespace %s: its owner has to name that in spec.allowedNamespaces", of, ref.Name, namespace)}
	}
	return c, nil
}

func (a *access) connect(ctx context.Context, c *v1alpha1.VaultConnection) (vault.Connection, error) {
	out := vault.Connection{
		Address: c.Spec.Address, Namespace: c.Spec.VaultNamespace, ServerName: c.Spec.ServerName, CA: a.ca,
		RequestsPerSecond: float64(cmp.Or(int(c.Spec.RequestsPerSecond), a.defaults.RequestsPerSecond)),
	}
	if c.Spec.Timeout != nil {
		out.Timeout = c.Spec.Timeout.Duration
	}
	if c.Spec.CA == nil {
		return out, nil
	}
	content, err := a.certificates(ctx, c.Namespace, *c.Spec.CA)
	out.CA = content
	return out, err
}

// certificates reads the certificates that a VaultConnection names.
func (a *access) certificates(ctx context.Context, namespace string, from v1alpha1.CertificateSource) ([]byte, error) {
	var content []byte
	var err error
	kind, ref := "Secret", from.SecretRef
	if ref != nil {
		var secret *corev1.Secret
		if secret, err = a.core.Secrets(namespace).Get(ctx, ref.Name, metav1.GetOptions{}); err == nil {
			content = secret.Data[cmp.Or(ref.Key, "ca.crt")]
		}
	} else {
		kind, ref = "ConfigMap", from.ConfigMapRef
		var cm *corev1.ConfigMap
		if cm, err = a.core.ConfigMaps(namespace).Get(ctx, ref.Name, metav1.GetOptions{}); err == nil {
			content = []byte(cm.Data[cmp.Or(ref.Key, "ca.crt")])
		}
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, missing("%s %s/%s with the CA of Vault does not exist: create it, or name another one in spec.ca of the VaultConnection", kind, namespace, ref.Name)
	case apierrors.IsForbidden(err):
		return nil, missing("the operator may not read %s %s/%s with the CA of Vault: bind it to the ClusterRoles fleet-handshake-sources and fleet-handshake-vault there", kind, namespace, ref.Name)
	case err != nil:
		return nil, fmt.Errorf("reading the CA of Vault: %w", err)
	case len(content) == 0:
		return nil, missing("%s %s/%s has no key %s with the CA of Vault: add it, or name another one", kind, namespace, ref.Name, cmp.Or(ref.Key, "ca.crt"))
	}
	return content, nil
}

func missing(format string, args ...any) *source.Problem {
	return &source.Problem{Reason: v1alpha1.ReasonCredentialsMissing, Message: fmt.Sprintf(format, args...), Retry: time.Minute}
}

// serviceAccount logs in with the method kubernetes.
func (a *access) serviceAccount(namespace string, k v1alpha1.VaultKubernetesAuth) vault.Auth {
	return a.accountToken(namespace, cmp.Or(k.ServiceAccountName, a.defaults.ServiceAccount), k.ServiceAccountToken,
		cmp.Or(k.AuthPath, a.defaults.AuthPath), cmp.Or(k.Role, a.defaults.Role, namespace))
}

func (a *access) accountToken(namespace, name string, token v1alpha1.ServiceAccountToken, mount, role string) vault.Auth {
	out := vault.ServiceAccount{Client: a.core, Namespace: namespace, Name: name, Audiences: token.Audiences, Mount: mount, Role: role}
	if token.Lifetime != nil {
		out.Lifetime = token.Lifetime.Duration
	}
	return out
}

// authOf is how a VaultConnection logs in.
func (a *access) authOf(c *v1alpha1.VaultConnection) vault.Auth {
	key := func(ref v1alpha1.SecretKey) vault.SecretKey {
		return vault.SecretKey{Client: a.core, Namespace: c.Namespace, Name: ref.Name, Key: ref.Key}
	}
	switch auth := c.Spec.Auth; {
	case auth.Kubernetes != nil:
		return a.serviceAccount(c.Namespace, *auth.Kubernetes)
	case auth.JWT != nil && auth.JWT.SecretRef != nil:
		return vault.JWT{Token: key(*auth.JWT.SecretRef), Mount: cmp.Or(auth.JWT.AuthPath, vault.JWTMount), Role: auth.JWT.Role}
	case auth.JWT != nil:
		return a.accountToken(c.Namespace, auth.JWT.ServiceAccountName, auth.JWT.ServiceAccountToken, cmp.Or(auth.JWT.AuthPath, vault.JWTMount), auth.JWT.Role)
	case auth.AppRole != nil:
		return vault.AppRole{RoleID: auth.AppRole.RoleID, SecretID: key(auth.AppRole.SecretIDRef), Mount: cmp.Or(auth.AppRole.AuthPath, vault.AppRoleMount)}
	case auth.Cert != nil:
		return vault.Cert{Certificate: key(v1alpha1.SecretKey{Name: auth.Cert.SecretRef.Name}), Mount: cmp.Or(auth.Cert.AuthPath, vault.CertMount), Role: auth.Cert.Role}
	case auth.Token != nil:
		return vault.Token{Token: key(auth.Token.SecretRef)}
	}
	return a.serviceAccount(c.Namespace, v1alpha1.VaultKubernetesAuth{})
}

// problemOf says of an error from Vault, or from a login, what can be done about it. What heals only elsewhere is tried
// again after retry.
func problemOf(err error, retry time.Duration) error {
	var known *source.Problem
	var api apierrors.APIStatus
	switch {
	case err == nil, errors.As(err, &known), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &api):
		return err // the API server's; its words stay out of the status
	}
	if p := source.ProblemOf(err, retry); p != nil {
		return p
	}
	return &source.Problem{Reason: v1alpha1.ReasonCredentialsMissing, Message: err.Error(), Retry: min(retry, time.Minute)}
}
