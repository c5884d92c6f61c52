package sources

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/postgres"
	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	manyLeases = 1000
	credsPath  = labvault.DatabaseMount + "/creds/" + labvault.DynamicRole
	renewPath  = "sys/leases/renew"
)

func TestManyLeasesOutliveARestart(t *testing.T) {
	const (
		ttl   = 3 * time.Minute
		limit = 100
	)
	db, err := postgres.Start(t.Context(), postgres.Options{Dir: filepath.Join(world.Dir, many+"-postgres"), Progress: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Stop()) })
	prepareMany(t, labvault.DatabaseCredentials)
	require.NoError(t, server.Database(t.Context(), db, labvault.DatabaseOptions{TTL: ttl, MaxTTL: time.Hour}))
	all := watched[v1alpha1.VaultDynamicSecret](t, "vaultdynamicsecrets")
	slowly := func(o *operator.Options) { o.Vault.RequestsPerSecond = limit }
	others := keptTokens(t)
	stop := startOperator(t, slowly)
	began := time.Now()
	makeMany(t, manyLeases, func(ctx context.Context, i int) error {
		no := false
		_, err := hub.VaultLeases.Create(ctx, &v1alpha1.VaultDynamicSecret{
			ObjectMeta: metav1.ObjectMeta{Namespace: many, Name: fmt.Sprintf("db-%03d", i)},
			// Due soon, but not all at once.
			Spec: v1alpha1.VaultDynamicSecretSpec{Mount: labvault.DatabaseMount, Path: "creds/" + labvault.DynamicRole, RenewalPercent: 1, Revoke: &no},
		})
		return err
	})
	created := time.Since(began)
	within(t, 3*time.Minute, func() error { return areReady(all(), manyLeases, time.Time{}) })
	made := timesOf(asked(t, began))
	t.Logf("%d leases: created in %s, all ready after %s; %d credentials, %d renewals, %d logins", manyLeases, created.Round(time.Millisecond),
		time.Since(began).Round(time.Millisecond), len(made[credsPath]), len(made[renewPath]), len(made[loginPath]))
	assert.Len(t, made[credsPath], manyLeases)
	assert.Len(t, made[loginPath], 1)

	stop()
	versions, tokens := versionsOf(t), keptTokens(t)
	require.Len(t, versions, manyLeases)
	assert.Len(t, tokens, len(others)+1, "one token for all leases")
	within(t, ttl, func() error { return areDue(all()) })
	again := time.Now()
	startOperator(t, slowly)
	within(t, time.Minute, func() error {
		for _, vds := range all() {
			if vds.Status.Lease.ExpiresAt.Time.Before(again.Add(ttl - time.Second)) {
				return fmt.Errorf("%s was not renewed yet: %v", vds.Name, vds.Status)
			}
		}
		return nil
	})
	took := time.Since(again)
	requests := asked(t, again)
	after := timesOf(requests)
	assert.Empty(t, after[credsPath], "no credential is made anew")
	assert.Empty(t, after[loginPath], "the leases hang on the token that there was")
	assert.GreaterOrEqual(t, len(after[renewPath]), manyLeases)
	assert.LessOrEqual(t, busiest(requests), limit, "requests in a second")
	unchanged(t, versions)
	assert.Equal(t, tokens, keptTokens(t))
	require.NoError(t, areReady(all(), manyLeases, time.Time{}))
	t.Logf("%d leases were due when the operator started again; all renewed after %s with %d requests, at most %d in a second; limit %d",
		manyLeases, took.Round(time.Millisecond), len(requests), busiest(requests), limit)
}

// keptTokens are the tokens that leases hang on, by the name of their Secret.
func keptTokens(t *testing.T) map[string]string {
	t.Helper()
	list, err := hub.CoreV1().Secrets(install.Namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	out := map[string]string{}
	for _, s := range list.Items {
		if strings.HasPrefix(s.Name, "fleet-handshake-vault-") {
			out[s.Name] = string(s.Data["token"])
		}
	}
	return out
}

// areDue is an error until the renewals of all leases are due.
func areDue(all []*v1alpha1.VaultDynamicSecret) error {
	for _, vds := range all {
		if wait := time.Until(vds.Status.NextFetchAt.Time); wait > 0 {
			return fmt.Errorf("the lease of %s is due in %s", vds.Name, wait)
		}
	}
	return nil
}
