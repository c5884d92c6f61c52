package sources

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	labvault "github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestANewVaultSecretWaitsForNoRefresh(t *testing.T) {
	const (
		workers = 4
		limit   = 5
	)
	prepareMany(t)
	const path = many + "-0/new"
	require.NoError(t, server.PutSecret(t.Context(), path, map[string]any{"a": "b"}))
	all := watched[v1alpha1.VaultSecret](t, "vaultsecrets")
	stop := startOperator(t)
	manyOf(t, manyPaths, 10*time.Second, time.Hour)
	within(t, time.Minute, func() error { return areReady(all(), manyPaths, time.Time{}) })
	stop()
	within(t, time.Minute, func() error {
		if n := due(all()); n != manyPaths {
			return fmt.Errorf("%d refreshes are due", n)
		}
		return nil
	})
	again := time.Now()
	startOperator(t, func(o *operator.Options) { o.SourceWorkers, o.Vault.RequestsPerSecond = workers, limit })
	within(t, time.Minute, func() error {
		if len(asked(t, again)) == 0 {
			return errors.New("no refresh has begun")
		}
		return nil
	})
	created := time.Now()
	_, err := hub.VaultKV.Create(t.Context(), &v1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Namespace: many, Name: "new"}, Spec: v1alpha1.VaultSecretSpec{Paths: paths(path)},
	})
	require.NoError(t, err)
	within(t, 2*time.Minute, func() error { return areReady(ofName(all(), "new"), 1, time.Time{}) })
	took, left := time.Since(created), due(all())
	requests := asked(t, created)
	before := slices.IndexFunc(requests, func(r labvault.Request) bool { return r.Path == many+"-0/data/new" })
	// The refreshes under way go on: each worker has one, of a login, a lookup and a read. The new one asks as much, and
	// waits each time for one request of each of the other workers.
	assert.LessOrEqual(t, before, 2*3*workers, "requests before that of the new one")
	assert.GreaterOrEqual(t, before, 0)
	assert.Greater(t, left, manyPaths/2, "refreshes that are still due")
	t.Logf("ready after %s, and %d other requests, when %d refreshes were due, and %d are still; %d requests a second", took.Round(time.Millisecond), before, manyPaths, left, limit)
}

// due is how many refreshes should have been by now.
func due(all []*v1alpha1.VaultSecret) (n int) {
	for _, vs := range all {
		if !vs.Status.NextFetchAt.After(time.Now()) {
			n++
		}
	}
	return n
}

func ofName(all []*v1alpha1.VaultSecret, name string) []*v1alpha1.VaultSecret {
	return slices.DeleteFunc(all, func(vs *v1alpha1.VaultSecret) bool { return vs.Name != name })
}
