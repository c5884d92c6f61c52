package sources

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/faults"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestAStormBetweenTheOperatorAndVault lets a third of the answers of Vault go wrong on their way.
func TestAStormBetweenTheOperatorAndVault(t *testing.T) {
	const values, logins = 20, 3
	db := useDatabase(t, labvault.DatabaseOptions{TTL: 20 * time.Second, MaxTTL: 2 * time.Minute})
	proxy, err := faults.New(&rest.Config{Host: server.Address, TLSClientConfig: rest.TLSClientConfig{CAFile: server.CAFile}}, faults.Options{
		Seed: rand.Uint64(), Patience: 300 * time.Millisecond,
		Kinds: []faults.Kind{faults.Throttled, faults.ServerError, faults.Silence, faults.LostAnswer},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	proxy.Storm(1.0 / 3)
	startOperator(t, func(o *operator.Options) { o.Vault.Addr, o.Vault.CAFile = proxy.Config().Host, "" })

	name := func(i int) string { return fmt.Sprintf("storm-%d", i) }
	put := func(value string) {
		for i := range values {
			require.NoError(t, server.PutSecret(t.Context(), "secret/"+name(i), map[string]any{"value": value}))
		}
	}
	put("old")
	wiped := make(chan string, 1)
	go watchForWiped(t.Context(), wiped)
	for i := range values {
		makes(t, hub.VaultKV, &v1alpha1.VaultSecret{ObjectMeta: meta1(name(i)), Spec: v1alpha1.VaultSecretSpec{
			Paths: paths("secret/" + name(i)), ReconcilePeriod: &metav1.Duration{Duration: 10 * time.Second}, MaxAge: &metav1.Duration{Duration: 5 * time.Minute},
		}})
	}
	for i := range logins {
		makes(t, hub.VaultLeases, leaseSource(fmt.Sprintf("storm-login-%d", i)))
	}
	all := func(value string) {
		for i := range values {
			secretWithin(t, time.Minute, name(i), func(s *corev1.Secret) error {
				if string(s.Data["value"]) != value {
					return fmt.Errorf("%s does not hold the %s value", s.Name, value)
				}
				return nil
			})
		}
	}
	all("old")
	put("new")
	all("new")
	proxy.Calm()
	for i := range logins {
		secretWithin(t, time.Minute, fmt.Sprintf("storm-login-%d", i), func(s *corev1.Secret) error { return logsIn(db, s) })
	}
	for i := range values {
		require.NoError(t, clients.Until(t.Context(), time.Minute, func(ctx context.Context) error {
			vs, err := hub.VaultKV.Get(ctx, team, name(i))
			if err == nil && !meta.IsStatusConditionTrue(vs.Status.Conditions, v1alpha1.ConditionFetched) {
				err = fmt.Errorf("%s says %v", vs.Name, vs.Status.Conditions)
			}
			return err
		}))
	}
	select {
	case what := <-wiped:
		assert.Fail(t, what)
	default:
	}
	counts := proxy.Counts()
	for _, kind := range []faults.Kind{faults.Throttled, faults.ServerError, faults.Silence} {
		assert.Positive(t, counts[kind].Total(), kind)
	}
	t.Logf("%d requests, faults %v", proxy.Requests(), counts)
}

// watchForWiped tells of a Secret of the storm that is deleted, or has no value.
func watchForWiped(ctx context.Context, wiped chan<- string) {
	watch, err := hub.CoreV1().Secrets(team).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		wiped <- err.Error()
		return
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		secret, ok := event.Object.(*corev1.Secret)
		if ok && strings.HasPrefix(secret.Name, "storm-") && (len(secret.Data) == 0 || event.Type == "DELETED") {
			select {
			case wiped <- fmt.Sprintf("Secret %s was wiped", secret.Name):
			default:
			}
		}
	}
}
