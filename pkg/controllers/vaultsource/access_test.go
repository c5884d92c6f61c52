package vaultsource

import (
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
)

var defaults = Defaults{Addr: "https://default:8200", AuthPath: "kubernetes", ServiceAccount: "vault-operator-sync", RequestsPerSecond: 20}

// accessOf knows one VaultConnection, vaults/main.
func accessOf(d Defaults, spec v1alpha1.VaultConnectionSpec) *access {
	core := fake.NewClientset(
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "vaults", Name: "ca"}, Data: map[string]string{"ca.crt": "of a ConfigMap", "other": "of another key"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "vaults", Name: "ca"}, Data: data("ca.crt", "of a Secret")},
	).CoreV1()
	return &access{core: core, defaults: d, ca: []byte("of the flag"), connections: func(namespace, name string) (*v1alpha1.VaultConnection, error) {
		if namespace != "vaults" || name != "main" {
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "vaultconnections"}, name)
		}
		return &v1alpha1.VaultConnection{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}, nil
	}}
}

var toMain = v1alpha1.VaultAccess{ConnectionRef: &v1alpha1.VaultConnectionRef{Namespace: "vaults", Name: "main"}}

func TestServersAreResolved(t *testing.T) {
	forAll := v1alpha1.VaultConnectionSpec{Address: "https://main:8200", AllowedNamespaces: []string{"*"}}
	with := func(change func(*v1alpha1.VaultConnectionSpec)) v1alpha1.VaultConnectionSpec {
		spec := forAll
		change(&spec)
		return spec
	}
	ca := func(secret, cm *v1alpha1.CertificateKey) v1alpha1.VaultConnectionSpec {
		return with(func(s *v1alpha1.VaultConnectionSpec) {
			s.CA = &v1alpha1.CertificateSource{SecretRef: secret, ConfigMapRef: cm}
		})
	}
	main := vault.Connection{Address: "https://main:8200", CA: []byte("of the flag"), RequestsPerSecond: 20}
	mainWith := func(change func(*vault.Connection)) vault.Connection {
		c := main
		change(&c)
		return c
	}
	withCA := func(text string) vault.Connection {
		return mainWith(func(c *vault.Connection) { c.CA = []byte(text) })
	}
	for name, c := range map[string]struct {
		namespace  string
		defaults   Defaults
		spec       v1alpha1.VaultAccess
		connection v1alpha1.VaultConnectionSpec
		want       vault.Connection
		reason     string
	}{
		"the defaults":                         {"team", defaults, v1alpha1.VaultAccess{}, forAll, vault.Connection{Address: "https://default:8200", CA: []byte("of the flag"), RequestsPerSecond: 20}, ""},
		"an address of its own":                {"team", defaults, v1alpha1.VaultAccess{Addr: "https://own:8200"}, forAll, vault.Connection{Address: "https://own:8200", CA: []byte("of the flag"), RequestsPerSecond: 20}, ""},
		"no address at all":                    {"team", Defaults{}, v1alpha1.VaultAccess{}, forAll, vault.Connection{}, v1alpha1.ReasonInvalidSpec},
		"a VaultConnection":                    {"team", defaults, toMain, forAll, main, ""},
		"a VaultConnection, without a default": {"team", Defaults{RequestsPerSecond: 20}, toMain, forAll, main, ""},
		"its own namespace needs no permission": {
			"vaults", defaults, v1alpha1.VaultAccess{ConnectionRef: &v1alpha1.VaultConnectionRef{Name: "main"}}, v1alpha1.VaultConnectionSpec{Address: "https://main:8200"}, main, "",
		},
		"a namespace that is named": {"team", defaults, toMain, with(func(s *v1alpha1.VaultConnectionSpec) { s.AllowedNamespaces = []string{"x", "team"} }), main, ""},
		"a namespace that is not":   {"team", defaults, toMain, with(func(s *v1alpha1.VaultConnectionSpec) { s.AllowedNamespaces = []string{"x"} }), vault.Connection{}, v1alpha1.ReasonConnectionNotShared},
		"nobody is named":           {"team", defaults, toMain, with(func(s *v1alpha1.VaultConnectionSpec) { s.AllowedNamespaces = nil }), vault.Connection{}, v1alpha1.ReasonConnectionNotShared},
		"one that does not exist":   {"team", defaults, v1alpha1.VaultAccess{ConnectionRef: &v1alpha1.VaultConnectionRef{Name: "main"}}, forAll, vault.Connection{}, v1alpha1.ReasonConnectionNotFound},
		"all that it can say": {
			"team", defaults, toMain, with(func(s *v1alpha1.VaultConnectionSpec) {
				s.VaultNamespace, s.ServerName, s.RequestsPerSecond, s.Timeout = "ns", "vault.internal", 7, &metav1.Duration{Duration: time.Second}
			}),
			mainWith(func(c *vault.Connection) {
				c.Namespace, c.ServerName, c.RequestsPerSecond, c.Timeout = "ns", "vault.internal", 7, time.Second
			}), "",
		},
		"certificates of a Secret":                {"team", defaults, toMain, ca(&v1alpha1.CertificateKey{Name: "ca"}, nil), withCA("of a Secret"), ""},
		"certificates of a ConfigMap":             {"team", defaults, toMain, ca(nil, &v1alpha1.CertificateKey{Name: "ca"}), withCA("of a ConfigMap"), ""},
		"certificates of another key":             {"team", defaults, toMain, ca(nil, &v1alpha1.CertificateKey{Name: "ca", Key: "other"}), withCA("of another key"), ""},
		"certificates of a key that is not there": {"team", defaults, toMain, ca(&v1alpha1.CertificateKey{Name: "ca", Key: "other"}, nil), vault.Connection{}, v1alpha1.ReasonCredentialsMissing},
		"certificates of no Secret":               {"team", defaults, toMain, ca(&v1alpha1.CertificateKey{Name: "none"}, nil), vault.Connection{}, v1alpha1.ReasonCredentialsMissing},
		"certificates of no ConfigMap":            {"team", defaults, toMain, ca(nil, &v1alpha1.CertificateKey{Name: "none"}), vault.Connection{}, v1alpha1.ReasonCredentialsMissing},
	} {
		t.Run(name, func(t *testing.T) {
			got, auth, err := accessOf(c.defaults, c.connection).resolve(t.Context(), c.namespace, c.spec)
			if c.reason != "" {
				var problem *source.Problem
				require.ErrorAs(t, err, &problem)
				assert.Equal(t, c.reason, problem.Reason)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			assert.NotNil(t, auth)
		})
	}
}

func TestLoginsAreResolved(t *testing.T) {
	main := accessOf(defaults, v1alpha1.VaultConnectionSpec{})
	account := func(namespace, name, mount, role string, change ...func(*vault.ServiceAccount)) vault.Auth {
		out := vault.ServiceAccount{Client: main.core, Namespace: namespace, Name: name, Mount: mount, Role: role}
		for _, c := range change {
			c(&out)
		}
		return out
	}
	key := func(name, k string) vault.SecretKey {
		return vault.SecretKey{Client: main.core, Namespace: "vaults", Name: name, Key: k}
	}
	lifetime := func(a *vault.ServiceAccount) {
		a.Audiences, a.Lifetime = []string{"vault"}, 20*time.Minute
	}
	token := v1alpha1.ServiceAccountToken{Audiences: []string{"vault"}, Lifetime: &metav1.Duration{Duration: 20 * time.Minute}}
	ref := func(r v1alpha1.VaultServiceAccountRef, to v1alpha1.VaultAccess) v1alpha1.VaultAccess {
		to.Auth.ServiceAccountRef = &r
		return to
	}
	for name, c := range map[string]struct {
		role string
		spec v1alpha1.VaultAccess
		auth v1alpha1.VaultAuth
		want vault.Auth
	}{
		"the defaults, in the namespace of the source": {"", v1alpha1.VaultAccess{}, v1alpha1.VaultAuth{}, account("team", "vault-operator-sync", "kubernetes", "team")},
		"a default role":           {"all", v1alpha1.VaultAccess{}, v1alpha1.VaultAuth{}, account("team", "vault-operator-sync", "kubernetes", "all")},
		"an account of the source": {"", ref(v1alpha1.VaultServiceAccountRef{Name: "mine", AuthPath: "k8s", Role: "r", Audiences: []string{"vault"}}, v1alpha1.VaultAccess{}), v1alpha1.VaultAuth{}, account("team", "mine", "k8s", "r", func(a *vault.ServiceAccount) { a.Audiences = []string{"vault"} })},
		"an account of the source goes before that of its VaultConnection": {"", ref(v1alpha1.VaultServiceAccountRef{Name: "mine"}, toMain), v1alpha1.VaultAuth{Token: &v1alpha1.VaultTokenAuth{}}, account("team", "mine", "kubernetes", "team")},
		"the defaults, in the namespace of the VaultConnection":            {"", toMain, v1alpha1.VaultAuth{}, account("vaults", "vault-operator-sync", "kubernetes", "vaults")},
		"kubernetes":                       {"", toMain, v1alpha1.VaultAuth{Kubernetes: &v1alpha1.VaultKubernetesAuth{ServiceAccountName: "sa", AuthPath: "k8s", Role: "r", ServiceAccountToken: token}}, account("vaults", "sa", "k8s", "r", lifetime)},
		"kubernetes with defaults":         {"", toMain, v1alpha1.VaultAuth{Kubernetes: &v1alpha1.VaultKubernetesAuth{}}, account("vaults", "vault-operator-sync", "kubernetes", "vaults")},
		"jwt with an account":              {"", toMain, v1alpha1.VaultAuth{JWT: &v1alpha1.VaultJWTAuth{ServiceAccountName: "sa", Role: "r", ServiceAccountToken: token}}, account("vaults", "sa", "jwt", "r", lifetime)},
		"jwt with a Secret":                {"", toMain, v1alpha1.VaultAuth{JWT: &v1alpha1.VaultJWTAuth{SecretRef: &v1alpha1.SecretKey{Name: "s", Key: "k"}, AuthPath: "oidc", Role: "r"}}, vault.JWT{Token: key("s", "k"), Mount: "oidc", Role: "r"}},
		"approle":                          {"", toMain, v1alpha1.VaultAuth{AppRole: &v1alpha1.VaultAppRoleAuth{RoleID: "id", SecretIDRef: v1alpha1.SecretKey{Name: "s", Key: "k"}}}, vault.AppRole{RoleID: "id", SecretID: key("s", "k"), Mount: "approle"}},
		"cert":                             {"", toMain, v1alpha1.VaultAuth{Cert: &v1alpha1.VaultCertAuth{SecretRef: v1alpha1.SecretName{Name: "s"}, Role: "r"}}, vault.Cert{Certificate: key("s", ""), Mount: "cert", Role: "r"}},
		"a token, which stays where it is": {"", toMain, v1alpha1.VaultAuth{Token: &v1alpha1.VaultTokenAuth{SecretRef: v1alpha1.SecretKey{Name: "s", Key: "k"}}}, vault.Token{Token: key("s", "k")}},
	} {
		t.Run(name, func(t *testing.T) {
			d := defaults
			d.Role = c.role
			a := accessOf(d, v1alpha1.VaultConnectionSpec{Address: "https://main:8200", AllowedNamespaces: []string{"team"}, Auth: c.auth})
			a.core = main.core
			_, got, err := a.resolve(t.Context(), "team", c.spec)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}
