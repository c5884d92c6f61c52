package sources

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/canary"
	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// canaries are texts that may be in Secrets only.
type canaries map[string]string

// take notes the values of a Secret.
func (c canaries) take(secret *corev1.Secret, keys ...string) {
	for _, key := range keys {
		value := string(secret.Data[key])
		if lines := strings.Split(strings.TrimSpace(value), "\n"); len(lines) > 2 {
			value = lines[1] // of a key as PEM: all keys begin alike, and its lines can be torn apart
		}
		c[fmt.Sprintf("%s of %s/%s, %d", key, secret.Namespace, secret.Name, len(c))] = value
	}
}

// takeTokens notes the tokens of Vault that are kept.
func (c canaries) takeTokens(t *testing.T) {
	t.Helper()
	list, err := hub.CoreV1().Secrets(install.Namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "type=fleethandshake.io/vault-token"})
	require.NoError(t, err)
	require.NotEmpty(t, list.Items)
	for i := range list.Items {
		c.take(&list.Items[i], "token")
	}
}

// sealed looks for all of them in etcd, which has status and events too, in the log and in the metrics.
func (c canaries) sealed(t *testing.T, address string) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(world.Dir, "operator.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "Secret written")
	answer, err := http.Get("http://" + address + "/metrics") //nolint:noctx // it is here
	require.NoError(t, err)
	defer answer.Body.Close()
	metrics, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Contains(t, string(metrics), "fleet_handshake_source_fetches_total")
	for what, value := range c {
		require.Greater(t, len(value), 8, what)
		leaks, err := canary.Leaks(t.Context(), world.Hub, value)
		require.NoError(t, err)
		assert.Empty(t, leaks, "%s is there", what)
		assert.False(t, canary.Holds(log, value), "%s is in the log", what)
		assert.False(t, canary.Holds(metrics, value), "%s is in the metrics", what)
	}
}

func TestValuesAreInSecretsOnly(t *testing.T) {
	db := useDatabase(t, labvault.DatabaseOptions{TTL: 20 * time.Second, MaxTTL: time.Minute})
	ctx, address := t.Context(), freeAddress(t)
	startOperator(t, withSPIRE(t), func(o *operator.Options) { o.ListenAddress = address })
	const path, first, second = "secret/canary/x", "canary value before the change", "canary value after the change"
	written := func(value string) {
		require.NoError(t, server.PutSecret(ctx, path, map[string]any{"password": value, "key with a space": value}))
	}
	written(first)
	makes(t, hub.Connections, &v1alpha1.VaultConnection{ObjectMeta: meta1("canary"), Spec: v1alpha1.VaultConnectionSpec{
		Address: server.Address, Timeout: &metav1.Duration{Duration: time.Second}, RequestsPerSecond: 1000,
	}})
	through := v1alpha1.VaultAccess{ConnectionRef: &v1alpha1.VaultConnectionRef{Name: "canary"}}
	makes(t, hub.VaultKV, kvSource("canary-kv", v1alpha1.VaultSecretSpec{VaultAccess: through, Paths: paths(path)}))
	makes(t, hub.VaultKV, kvSource("canary-json", v1alpha1.VaultSecretSpec{VaultAccess: through, Paths: paths(path), TargetFormat: "json"}))
	makes(t, hub.VaultLeases, leaseSource("canary-lease", func(s *v1alpha1.VaultDynamicSecretSpec) { s.VaultAccess = through }))
	short := func(s *v1alpha1.VaultPKISecretSpec) { s.VaultAccess, s.Revoke = through, true }
	makes(t, hub.VaultPKI, certificateSource("canary-pki", short))
	makes(t, hub.VaultPKI, certificateSource("canary-local", short, func(s *v1alpha1.VaultPKISecretSpec) { s.PrivateKey.Source = v1alpha1.KeyLocal }))

	found := canaries{"the first value": first, "the second value": second}
	inSafe := startSafe(t, as(t, safeID))
	putRaw(t, inSafe, "canary-vsecm", password("canary value in Safe"))
	makesOf(t, "canary-vsecm", inSafe)
	holds(t, "canary-vsecm", password("canary value in Safe"))
	found["the value in Safe"] = "canary value in Safe"
	lease := another(t, db, "canary-lease", nil)
	take := func() {
		found.take(secretWhere(t, "canary-lease", anything), "password")
		for _, name := range []string{"canary-pki", "canary-local"} {
			certificate(t, name, nil)
			found.take(secretWhere(t, name, anything), corev1.TLSPrivateKeyKey)
		}
	}
	take()
	found.takeTokens(t)
	holds(t, "canary-kv", map[string]string{"password": first})
	itself, err := canary.WhereIs(ctx, world.Hub, first)
	require.NoError(t, err)
	require.Contains(t, itself, "/registry/secrets/team/canary-kv", "the scan finds the Secret itself")
	itself, err = canary.WhereIs(ctx, world.Hub, string(lease.Data["password"]))
	require.NoError(t, err)
	require.Contains(t, itself, "/registry/secrets/team/canary-lease")
	found.sealed(t, address)

	// Edits: what is put right is written with what others have left there.
	for _, name := range []string{"canary-kv", "canary-json", "canary-lease"} {
		edits(t, name, `{"stringData":{"password":"canary value of an edit"}}`)
	}
	found["the edit"] = "canary value of an edit"
	edits(t, "canary-pki", `{"stringData":{"tls.crt":"canary value of an edit"}}`)
	holds(t, "canary-kv", map[string]string{"password": first})
	secretWhere(t, "canary-json", func(s *corev1.Secret) error {
		if len(s.Data) != 1 {
			return errSame
		}
		return nil
	})
	another(t, db, "canary-lease", lease)
	take()
	found.sealed(t, address)

	// What is no answer of Safe, and a value that is no label.
	inSafe.Break(safe.Fault{Body: `{"data":"[{\"name\":\"canary value in Safe\",\"valueTransformed\":\"canary value in Safe\"}]"}`})
	refreshes(t, hub.VSecM, "canary-vsecm")
	vsecmSays(t, "canary-vsecm", v1alpha1.ConditionFetched, metav1.ConditionFalse, v1alpha1.ReasonRefused)
	inSafe.Break(safe.Fault{})
	require.NoError(t, hub.VSecM.Change(ctx, team, "canary-vsecm", func(vs *v1alpha1.VSecMSecret) {
		vs.Spec.Labels = []v1alpha1.VSecMMetadata{{Key: "app", Ref: "canary-vsecm.password"}}
	}))
	vsecmSays(t, "canary-vsecm", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidValue)
	found.sealed(t, address)

	// An outage, and a change of the value in it.
	written(second)
	require.NoError(t, server.Pause())
	t.Cleanup(func() { _ = server.Resume() })
	refreshes(t, hub.VaultKV, "canary-kv")
	tells(t, hub.VaultKV, team, "canary-kv", v1alpha1.ConditionFetched, metav1.ConditionFalse, v1alpha1.ReasonUnavailable)
	found.sealed(t, address)
	require.NoError(t, server.Resume())
	holds(t, "canary-kv", map[string]string{"password": second})

	// A denial: Vault may quote what it denies.
	require.NoError(t, server.Policy(ctx, limits, openLimits+`
path "secret/data/canary/*" { capabilities = ["deny"] }
path "`+labvault.PKIMount+`/sign/*" { capabilities = ["deny"] }
path "`+labvault.PKIMount+`/issue/*" { capabilities = ["deny"] }`))
	open := func() { require.NoError(t, server.Policy(context.Background(), limits, openLimits)) }
	t.Cleanup(open)
	refreshes(t, hub.VaultKV, "canary-kv")
	refreshes(t, hub.VaultPKI, "canary-local")
	notReady(t, "canary-kv", v1alpha1.ReasonDenied)
	tells(t, hub.VaultPKI, team, "canary-local", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDenied)
	found.sealed(t, address)
	open()

	// A value that cannot be written: the API server quotes what it refuses.
	require.NoError(t, server.PutSecret(ctx, "secret/canary/typed", map[string]any{"ssh-private-key": "", "tls.crt": "canary value of a wrong type"}))
	makes(t, hub.VaultKV, kvSource("canary-typed", v1alpha1.VaultSecretSpec{VaultAccess: through, Paths: paths("secret/canary/typed"), Type: string(corev1.SecretTypeTLS)}))
	notReady(t, "canary-typed", v1alpha1.ReasonWriteFailed)
	found["the wrong type"] = "canary value of a wrong type"

	take()
	found.takeTokens(t)
	goes(t, hub.VaultLeases, team, "canary-lease")
	for _, name := range []string{"canary-pki", "canary-local"} {
		goes(t, hub.VaultPKI, team, name)
	}
	goes(t, hub.VaultKV, team, "canary-kv")
	found.sealed(t, address)
}
