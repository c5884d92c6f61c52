package vault

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestEveryMethodLogsIn logs in with each method on a real Vault, which asks a real API server about the tokens of service
// accounts.
func TestEveryMethodLogsIn(t *testing.T) {
	server, pool, _ := start(t, time.Hour)
	ctx := t.Context()
	cluster, err := lab.Start(ctx, lab.Options{Dir: filepath.Join(t.TempDir(), "lab"), Progress: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cluster.Stop()) })
	kube, err := kubernetes.NewForConfig(cluster.Hub.Config)
	require.NoError(t, err)

	const namespace, account, audience = "team", "reader", "vault"
	role := labvault.Role{Name: "reader", Policies: []string{labvault.ReadKV}, TTL: time.Hour, MaxTTL: time.Hour}
	token, err := labvault.ServiceAccountToken(ctx, cluster.Hub, namespace, account, audience) // makes the account
	require.NoError(t, err)
	_, err = labvault.ServiceAccountToken(ctx, cluster.Hub, namespace, "stranger")
	require.NoError(t, err)
	require.NoError(t, server.Kubernetes(ctx, "kubernetes/hub", cluster.Hub, labvault.KubernetesOptions{}))
	require.NoError(t, server.KubernetesRole(ctx, "kubernetes/hub", role, namespace, account, audience))
	require.NoError(t, server.JWT(ctx, "jwt", cluster.Hub))
	require.NoError(t, server.JWTRole(ctx, "jwt", role, namespace, account, audience))
	roleID, secretID, err := server.AppRole(ctx, role)
	require.NoError(t, err)
	pki, err := server.PKI(ctx, labvault.PKIOptions{})
	require.NoError(t, err)
	require.NoError(t, server.CertRole(ctx, role, pki.Intermediate, "reader."+labvault.Domain))
	certificate, err := labvault.Issue(ctx, server.Root(), labvault.ClientRole, "reader."+labvault.Domain, 0)
	require.NoError(t, err)

	_, err = kube.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "login"}, StringData: map[string]string{
			"jwt": token, "secret-id": secretID, "token": server.RootToken, "wrong": "guess",
			corev1.TLSCertKey: certificate.Certificate, corev1.TLSPrivateKeyKey: certificate.Key,
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	key := func(name string) vault.SecretKey {
		return vault.SecretKey{Client: kube.CoreV1(), Namespace: namespace, Name: "login", Key: name}
	}
	tokenOf := func(account string) vault.ServiceAccount {
		return vault.ServiceAccount{Client: kube.CoreV1(), Namespace: namespace, Name: account, Audiences: []string{audience}, Mount: "auth/kubernetes/hub/login", Role: "reader"}
	}
	overJWT := tokenOf(account)
	overJWT.Mount = vault.JWTMount

	ca, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		auth vault.Auth
		says string
	}{
		"kubernetes":                  {auth: tokenOf(account)},
		"kubernetes, another account": {tokenOf("stranger"), "answered 403"},
		"kubernetes, no such account": {tokenOf("nobody"), "service account team/nobody does not exist"},
		"jwt, a service account":      {auth: overJWT},
		"jwt, a Secret":               {auth: vault.JWT{Token: key("jwt"), Mount: vault.JWTMount, Role: "reader"}},
		"jwt, no such key":            {vault.JWT{Token: key("nothing"), Mount: vault.JWTMount, Role: "reader"}, "Secret team/login has no key nothing"},
		"appRole":                     {auth: vault.AppRole{RoleID: roleID, SecretID: key("secret-id"), Mount: vault.AppRoleMount}},
		"appRole, a wrong secret ID":  {vault.AppRole{RoleID: roleID, SecretID: key("wrong"), Mount: vault.AppRoleMount}, "answered 400"},
		"cert":                        {auth: vault.Cert{Certificate: key(""), Mount: vault.CertMount, Role: "reader"}},
		"token":                       {auth: vault.Token{Token: key("token")}},
		"token, a wrong one":          {vault.Token{Token: key("wrong")}, "answered 403"},
		"token, no such Secret":       {vault.Token{Token: vault.SecretKey{Client: kube.CoreV1(), Namespace: namespace, Name: "none", Key: "token"}}, "Secret team/none does not exist"},
		"a mount that does not exist": {vault.JWT{Token: key("jwt"), Mount: "nowhere", Role: "reader"}, "POST auth/nowhere/login"},
		"cert, a Secret with no pair": {vault.Cert{Certificate: vault.SecretKey{Client: kube.CoreV1(), Namespace: namespace, Name: "none"}, Mount: vault.CertMount}, "does not exist"},
		"appRole, an unknown role ID": {vault.AppRole{RoleID: "guess", SecretID: key("secret-id"), Mount: vault.AppRoleMount}, "answered 400"},
	} {
		t.Run(name, func(t *testing.T) {
			session, err := pool.Session(vault.Connection{Address: server.Address, CA: ca}, c.auth)
			require.NoError(t, err)
			kv, err := session.ReadKV(ctx, vaultkv.Read{Base: "v1/something/b/secret"}, 0, 0)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				for _, secret := range []string{token, secretID, server.RootToken, "guess"} {
					assert.NotContains(t, err.Error(), secret)
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []vaultkv.Leaf{{Path: "v1/something/b/secret", Data: map[string]any{"b": "2"}}}, kv.Leaves)
		})
	}
	require.NoError(t, pool.Close(ctx))
}
