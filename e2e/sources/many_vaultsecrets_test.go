package sources

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	period = 15 * time.Second
	maxAge = 2 * period
	// young is how old what was read may be to be taken for another VaultSecret.
	young = period * 79 / 100
	// waited is how long a read may have waited for the login and the rate limit: its age counts from before that.
	waited    = 2 * time.Second
	rateLimit = 50
)

// vaultSecrets are those of the test, and what serves them.
type vaultSecrets struct {
	all     func() []*v1alpha1.VaultSecret
	metrics string
	// began is when the first was created, and versions are the Secrets when all were Ready.
	began    time.Time
	versions map[string]string
}

func TestManyVaultSecrets(t *testing.T) {
	prepareMany(t)
	m := vaultSecrets{all: watched[v1alpha1.VaultSecret](t, "vaultsecrets"), metrics: freeAddress(t)}
	startOperator(t, func(o *operator.Options) { o.ListenAddress, o.Vault.RequestsPerSecond = m.metrics, rateLimit })
	m.began = time.Now()
	manyOf(t, manySecrets, period, maxAge)
	created := time.Since(m.began)
	within(t, 2*time.Minute, func() error { return areReady(m.all(), manySecrets, time.Time{}) })
	took := time.Since(m.began)
	t.Logf("%d VaultSecrets of %d paths on %d mounts: created in %s, all ready after %s", manySecrets, manyPaths, manyMounts, created.Round(time.Millisecond), took.Round(time.Millisecond))
	m.versions = versionsOf(t)
	require.Len(t, m.versions, manySecrets)
	t.Run("read each path once", func(t *testing.T) { m.readOnce(t, took) })
	t.Run("read each path once in a period, and write nothing", m.refreshOnce)
	t.Run("outlive an outage", m.outlive)
}

// readOnce looks at what was asked until all were Ready.
func (m vaultSecrets) readOnce(t *testing.T, took time.Duration) {
	times := timesOf(asked(t, m.began))
	lookups, reads := map[string]int{}, 0
	for path, at := range times {
		if rest, ok := strings.CutPrefix(path, mountPath); ok {
			name, _, _ := strings.Cut(rest, "/")
			lookups[name] += len(at)
		}
	}
	for name, n := range lookups {
		assert.Equal(t, 1, n, "lookups of mount %s", name)
	}
	assert.Len(t, lookups, manyMounts)
	assert.Len(t, times[loginPath], 2, "one for each identity")
	most := 1 + int(took/young)
	for _, p := range places() {
		for _, ask := range p.asks {
			assert.NotEmpty(t, times[ask], ask)
			assert.LessOrEqual(t, len(times[ask]), most, "reads of %s", ask)
			reads += len(times[ask])
		}
	}
	t.Logf("%d logins, %d lookups of mounts, %d reads", len(times[loginPath]), len(lookups), reads)
}

// refreshOnce waits until each path was read again.
func (m vaultSecrets) refreshOnce(t *testing.T) {
	fetches := m.fetches(t, "success")
	before := asked(t, m.began)
	var times map[string][]time.Time
	within(t, 3*period, func() error {
		times = timesOf(asked(t, m.began))
		for _, p := range places() {
			for _, ask := range p.asks {
				if len(times[ask]) < 2 {
					return fmt.Errorf("%s was read once", ask)
				}
			}
		}
		return areReady(m.all(), manySecrets, before[len(before)-1].Time)
	})
	fetches = m.fetches(t, "success") - fetches
	shortest, again := 10*period, 0
	for _, p := range places() {
		for _, ask := range p.asks {
			for i, at := range times[ask][1:] {
				shortest = min(shortest, at.Sub(times[ask][i]))
			}
			again += len(times[ask]) - 1
		}
	}
	assert.GreaterOrEqual(t, shortest.Seconds(), (young - waited).Seconds(), "one VaultSecret reads a path for all")
	assert.GreaterOrEqual(t, fetches, manySecrets)
	former := timesOf(before)
	for path, at := range times {
		if strings.HasPrefix(path, mountPath) || path == loginPath {
			assert.Len(t, at, len(former[path]), "%s is not asked again", path)
		}
	}
	unchanged(t, m.versions)
	t.Logf("%d refreshes made %d reads; two reads of a path were never less than %s apart, with a period of %s", fetches, again, shortest.Round(time.Millisecond), period)
}

// outlive lets Vault be down until all are stale.
func (m vaultSecrets) outlive(t *testing.T) {
	calm := busiest(asked(t, m.began))
	assert.LessOrEqual(t, calm, rateLimit, "requests in a second, when all are new")
	before, failed := m.unanswered(t), m.fetches(t, v1alpha1.ReasonUnavailable)
	down := time.Now()
	require.NoError(t, server.Stop()) // connections are refused
	kept, early := map[string]bool{}, map[string]string{}
	open := false
	within(t, maxAge+time.Minute, func() error {
		open = open || len(metric(t, m.metrics, "fleet_handshake_vault_circuit_open")) > 0
		all := m.all()
		keptUntilStale(all, kept, early)
		return areStale(all, manySecrets)
	})
	lasted := time.Since(down)
	assert.Empty(t, early, "not Ready before they were stale")
	assert.Equal(t, manySecrets, len(kept), "each was Ready, and said that Vault is unavailable, before it was stale") //nolint:testifylint // the difference would fill pages
	unchanged(t, m.versions)
	tried, wanted := m.unanswered(t)-before, m.fetches(t, v1alpha1.ReasonUnavailable)-failed
	// Five open the circuit breaker, and what is under way then fails too. Later one tries every 15 s.
	most := 5 + operator.Defaults().SourceWorkers + 1 + int(lasted/(15*time.Second))
	assert.LessOrEqual(t, tried, most, "requests to a server that is down")
	assert.Positive(t, tried)
	assert.Greater(t, wanted, manySecrets, "each is tried again")
	assert.True(t, open, "fleet_handshake_vault_circuit_open")
	m.older(t)

	up := time.Now()
	require.NoError(t, server.Start(t.Context()))
	within(t, 2*time.Minute, func() error { return areReady(m.all(), manySecrets, up) })
	healed := time.Since(up)
	after := asked(t, up)
	assert.LessOrEqual(t, busiest(after), rateLimit, "requests in a second, when all want to read at once")
	unchanged(t, m.versions)
	t.Logf("down for %s: %d fetches failed with %d requests; all ready %s after the start, with %d requests, at most %d in a second; limit %d, and %d before the outage",
		lasted.Round(time.Millisecond), wanted, tried, healed.Round(time.Millisecond), len(after), busiest(after), rateLimit, calm)
}

// fetches is how many have come to a result.
func (m vaultSecrets) fetches(t *testing.T, result string) int {
	t.Helper()
	return sum(metric(t, m.metrics, "fleet_handshake_source_fetches_total", `kind="VaultSecret"`, `result="`+result+`"`))
}

// unanswered is how many requests had no answer, or another one than 200.
func (m vaultSecrets) unanswered(t *testing.T) int {
	t.Helper()
	const name = "fleet_handshake_vault_requests_total"
	return sum(metric(t, m.metrics, name)) - sum(metric(t, m.metrics, name, `status="200"`))
}

func unavailable(vs *v1alpha1.VaultSecret) bool {
	fetched := meta.FindStatusCondition(vs.Status.Conditions, v1alpha1.ConditionFetched)
	return fetched.Status == metav1.ConditionFalse && fetched.Reason == v1alpha1.ReasonUnavailable
}

// keptUntilStale notes which VaultSecrets say that they keep what they have while Vault is down, and which are not Ready
// before what they have is stale.
func keptUntilStale(all []*v1alpha1.VaultSecret, kept map[string]bool, early map[string]string) {
	for _, vs := range all {
		is := meta.FindStatusCondition(vs.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case is.Status == metav1.ConditionTrue && unavailable(vs):
			kept[vs.Name] = true
		case is.Status != metav1.ConditionTrue && (is.Reason != v1alpha1.ReasonStale || is.LastTransitionTime.Before(vs.Status.StaleAt)):
			early[vs.Name] = fmt.Sprintf("%s since %s, and stale from %s on", is.Reason, is.LastTransitionTime, vs.Status.StaleAt)
		}
	}
}

// areStale is an error until so many VaultSecrets are stale because Vault is down.
func areStale(all []*v1alpha1.VaultSecret, n int) error {
	have := 0
	for _, vs := range all {
		stale := meta.IsStatusConditionTrue(vs.Status.Conditions, v1alpha1.ConditionStale)
		if stale && meta.IsStatusConditionFalse(vs.Status.Conditions, v1alpha1.ConditionReady) && unavailable(vs) {
			have++
		}
	}
	if have != n {
		return fmt.Errorf("%d of %d VaultSecrets are stale", have, n)
	}
	return nil
}

// older checks that the ages that the metrics show grow.
func (m vaultSecrets) older(t *testing.T) {
	t.Helper()
	ages := func() map[string]float64 {
		return metric(t, m.metrics, "fleet_handshake_source_age_seconds", `namespace="`+many+`"`)
	}
	before := ages()
	assert.Len(t, before, manySecrets)
	var after []float64
	within(t, time.Minute, func() error {
		now := ages()
		for labels, age := range now {
			if age < before[labels]+1 {
				return errors.New(labels + " does not grow")
			}
		}
		after = slices.Sorted(maps.Values(now))
		return nil
	})
	assert.GreaterOrEqual(t, after[0], maxAge.Seconds(), "all are stale")
	t.Logf("the metrics show ages from %.1f s to %.1f s", after[0], after[len(after)-1])
}
