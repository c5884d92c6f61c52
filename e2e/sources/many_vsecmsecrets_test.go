package sources

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// manyVSecM is how many VSecMSecrets share a Safe.
const manyVSecM = 1000

func TestManyVSecMSecretsReadSafeOnce(t *testing.T) {
	s := startSafe(t, as(t, safeID))
	for i := range 50 {
		putRaw(t, s, fmt.Sprintf("many-%d", i), password("x"))
	}
	t.Cleanup(func() { clearMany(t) })
	all := watched[v1alpha1.VSecMSecret](t, "vsecmsecrets")
	address := freeAddress(t)
	startOperator(t, withSPIRE(t), func(o *operator.Options) { o.ListenAddress, o.VSecM.SafeURL = address, s.Address })
	fetches := func() int {
		return sum(metric(t, address, "fleet_handshake_source_fetches_total", `kind="VSecMSecret"`, `result="success"`))
	}
	began := time.Now()
	makeMany(t, manyVSecM, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("many-%d", i%50)
		_, err := hub.VSecM.Create(ctx, &v1alpha1.VSecMSecret{ObjectMeta: metav1.ObjectMeta{Namespace: many, Name: fmt.Sprintf("vsecm-%03d", i)}, Spec: v1alpha1.VSecMSecretSpec{
			RefreshInterval: &metav1.Duration{Duration: period}, Data: []v1alpha1.VSecMKey{{Key: "password", Ref: name + ".password"}},
		}})
		return err
	})
	within(t, 2*time.Minute, func() error { return areReady(all(), manyVSecM, time.Time{}) })
	took := time.Since(began)
	assert.LessOrEqual(t, len(s.Requests()), 1+int(took/young), "requests until all were ready")
	versions := versionsOf(t)
	require.Len(t, versions, manyVSecM)

	// From here on each refresh of all is one request.
	requests, fetched, from := len(s.Requests()), fetches(), time.Now()
	const rounds = 3
	within(t, (rounds+2)*period, func() error {
		if n := len(s.Requests()) - requests; n < rounds {
			return fmt.Errorf("%d requests", n)
		}
		return areReady(all(), manyVSecM, from)
	})
	lasted := time.Since(from)
	requests, fetched = len(s.Requests())-requests, fetches()-fetched
	assert.LessOrEqual(t, requests, 1+int(lasted/young), "requests in that time")
	assert.GreaterOrEqual(t, fetched, manyVSecM, "all were refreshed")
	unchanged(t, versions)
	assert.Equal(t, safe.Request{Method: "GET", Path: "/workload/v1/secrets", ID: scoutID}, s.Requests()[0])
	t.Logf("%d VSecMSecrets: all ready after %s; then %d refreshes made %d requests in %s, with a refreshInterval of %s, and wrote no Secret",
		manyVSecM, took.Round(time.Millisecond), fetched, requests, lasted.Round(time.Millisecond), period)
}
