package vault_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
)

// canRead fails the test unless the client has the token of the role: it reads
// a secret, and nothing else, for as long as the role says.
func canRead(ctx context.Context, t *testing.T, client *api.Client, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	if secret, err := client.Logical().ReadWithContext(ctx, "v1/something/a/secret"); err != nil || secret.Data["a"] != "1" {
		t.Errorf("the secret is %v: %v", secret, err)
	}
	_, err = client.Logical().ReadWithContext(ctx, "sys/mounts")
	refused(t, "reading the mounts", err)
	self, err := client.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	if ttl, err := self.TokenTTL(); err != nil || ttl > role.TTL || ttl < role.TTL-time.Minute {
		t.Errorf("the token is valid for %s, want %s: %v", ttl, role.TTL, err)
	}
}

// role is that of all methods.
var role = vault.Role{Name: "operator", Policies: []string{vault.ReadKV}, TTL: 20 * time.Minute, MaxTTL: time.Hour}

func TestAppRoleAndCertificateLogins(t *testing.T) {
	ctx := enabled(t)
	s := start(ctx, t, vault.Options{TLS: true})
	if err := s.Golden(ctx); err != nil {
		t.Fatal(err)
	}

	roleID, secretID, err := s.AppRole(ctx, role)
	if err != nil {
		t.Fatal(err)
	}
	client, err := s.Login(ctx, vault.AppRoleMount, map[string]any{"role_id": roleID, "secret_id": secretID})
	canRead(ctx, t, client, err)
	if _, err = s.Login(ctx, vault.AppRoleMount, map[string]any{"role_id": roleID, "secret_id": "guess"}); vault.StatusCode(err) != 400 {
		t.Errorf("a login with a wrong secret ID gave %v, want bad request", err)
	}

	authorities, err := s.PKI(ctx, vault.PKIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CertRole(ctx, role, authorities.Intermediate, "operator."+vault.Domain); err != nil {
		t.Fatal(err)
	}
	issue := func(certificateRole, name string) vault.Certificate {
		t.Helper()
		certificate, err := vault.Issue(ctx, s.Root(), certificateRole, name+"."+vault.Domain, 0)
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	client, err = s.LoginCertificate(ctx, issue(vault.ClientRole, "operator"), role.Name)
	canRead(ctx, t, client, err)
	for _, c := range []struct{ certificateRole, name, want string }{
		{vault.ClientRole, "stranger", "no chain matching all constraints"},
		{vault.ServerRole, "operator", "incompatible key usage"},
	} {
		if _, err := s.LoginCertificate(ctx, issue(c.certificateRole, c.name), role.Name); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a login with the certificate of the %s %s gave %v, want: %s", c.certificateRole, c.name, err, c.want)
		}
	}
	if _, err := s.Login(ctx, vault.CertMount, map[string]any{"name": role.Name}); vault.StatusCode(err) != 400 {
		t.Errorf("a login without a certificate gave %v, want bad request", err)
	}
}

func TestServiceAccountLogins(t *testing.T) {
	ctx := enabled(t)
	l, err := lab.Start(ctx, lab.Options{Dir: filepath.Join(t.TempDir(), "lab"), Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Stop() })
	s := start(ctx, t, vault.Options{Dir: filepath.Join(l.Dir, "vault"), TLS: true})
	if err := s.Golden(ctx); err != nil {
		t.Fatal(err)
	}

	const namespace, account, audience = "team", "operator", "vault"
	const own, reviewed, keys = "kubernetes-own", "kubernetes", "jwt"
	if err := s.Kubernetes(ctx, reviewed, l.Hub, vault.KubernetesOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.KubernetesRole(ctx, reviewed, role, namespace, account, audience); err != nil {
		t.Fatal(err)
	}
	if err := s.Kubernetes(ctx, own, l.Hub, vault.KubernetesOptions{OwnToken: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.KubernetesRole(ctx, own, role, namespace, account, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.JWT(ctx, keys, l.Hub); err != nil {
		t.Fatal(err)
	}
	if err := s.JWTRole(ctx, keys, role, namespace, account, audience); err != nil {
		t.Fatal(err)
	}
	token := func(name string, audiences ...string) string {
		t.Helper()
		token, err := vault.ServiceAccountToken(ctx, l.Hub, namespace, name, audiences...)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	login := func(mount, token string) (*api.Client, error) {
		return s.Login(ctx, mount, map[string]any{"role": role.Name, "jwt": token})
	}
	mine, forServer := token(account, audience), token(account)

	client, err := login(reviewed, mine)
	canRead(ctx, t, client, err)
	_, err = login(reviewed, token("stranger", audience))
	refused(t, "the token of another service account", err)
	_, err = login(reviewed, forServer)
	refused(t, "a token for another audience", err)
	_, err = login(reviewed, mine[:strings.LastIndex(mine, ".")+1]+strings.Repeat("A", 86))
	refused(t, "a token with another signature", err)

	_, err = login(own, forServer)
	refused(t, "a token that may not ask about itself", err)
	if err := vault.AllowReviews(ctx, l.Hub, namespace, account); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token to be allowed to ask about itself", func() error {
		client, err = login(own, forServer)
		return err
	})
	canRead(ctx, t, client, err)

	client, err = login(keys, mine)
	canRead(ctx, t, client, err)
	for what, token := range map[string]string{
		"the token of another service account": token("stranger", audience),
		"a token for another audience":         forServer,
		"a token with another signature":       mine[:strings.LastIndex(mine, ".")+1] + strings.Repeat("A", 86),
	} {
		if _, err := login(keys, token); vault.StatusCode(err) != 400 {
			t.Errorf("%s gave %v, want bad request", what, err)
		}
	}

	// An account that is gone: the API server knows, its keys do not.
	clientset, err := kubernetes.NewForConfig(l.Hub.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := clientset.CoreV1().ServiceAccounts(namespace).Delete(ctx, account, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the API server to forget the account", func() error {
		_, err := login(reviewed, mine)
		return want(403, vault.StatusCode(err))
	})
	client, err = login(keys, mine)
	canRead(ctx, t, client, err)

	// Without the API server, nobody can be judged, and that is no refusal.
	if err := l.StopAPIServer(l.Hub); err != nil {
		t.Fatal(err)
	}
	if _, err := login(reviewed, mine); err == nil {
		t.Error("a token was judged without the API server")
	}
}
