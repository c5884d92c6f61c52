package source

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// unfetched makes the next content what is left of the Secret.
func (w *world) unfetched(heals bool) {
	w.content.Data, w.content.Keys = bytesOf(nil), map[string]Origin{}
	w.content.Unfetched, w.content.Problem = true, &Problem{Reason: v1alpha1.ReasonExpired, Message: "over; Safe is down", Heals: heals}
	w.content.Next = begin.Add(10 * time.Minute)
}

func TestContentThatWasNotFetched(t *testing.T) {
	w := newWorld(t)
	w.content.LeftOut = []string{"a b"}
	w.source("app")
	w.works("app")
	w.content.LeftOut = nil
	w.unfetched(true)
	w.source("app", func(s *v1alpha1.VaultSecret) { s.Annotations = map[string]string{v1alpha1.AnnotationRefresh: "1"} })
	assert.Equal(t, 10*time.Minute, w.works("app"))
	assert.Empty(t, w.secret("app"))
	assert.Equal(t, "False Expired", w.ready("app"))
	assert.Equal(t, "False Expired", w.says("app", v1alpha1.ConditionFetched))
	assert.Equal(t, "True Expired", w.says("app", v1alpha1.ConditionReconciling))
	assert.Equal(t, "True InvalidKeys", w.says("app", v1alpha1.ConditionKeysLeftOut), "nothing is known of that")
	assert.Equal(t, "over; Safe is down", condition(&w.sources["app"].Status, v1alpha1.ConditionFetched).Message)
	assert.Empty(t, w.sources["app"].Status.RefreshedFor, "nothing was refreshed")
	assert.Equal(t, map[string]float64{"VaultSecret Expired": 1, "VaultSecret success": 1}, gathered(t, "fleet_handshake_source_fetches_total", w.metrics.fetches))
	assert.Equal(t, []string{"Written", "Expired"}, w.events())
	w.works("app")
	assert.Len(t, w.wants, 2, "it waits")

	w.clock.SetTime(begin.Add(10 * time.Minute))
	w.unfetched(false)
	w.works("app")
	assert.True(t, w.wants[2].Fresh, "the refresh is still asked for")
	assert.Equal(t, "True Expired", w.says("app", v1alpha1.ConditionStalled))
	assert.Empty(t, w.says("app", v1alpha1.ConditionReconciling))
}

func TestWhatIsLeftOfASecretIsNoRepair(t *testing.T) {
	w := newWorld(t)
	w.source("app")
	w.works("app")
	w.unfetched(true)
	w.edit("app", func(s *corev1.Secret) { s.Data["user"] = []byte("mallory") }, "user")
	w.works("app")
	assert.True(t, w.wants[1].Repair)
	assert.Equal(t, []string{"Written", "Expired"}, w.events(), "it is not as it should be again")
}

func TestWhenToTryAgainAtTheLatest(t *testing.T) {
	at := begin.Add
	for name, c := range map[string]struct {
		problem  Problem
		from, to time.Duration
	}{
		"never":                           {Problem{Final: true}, 0, 0},
		"at a time, although it is final": {Problem{Final: true, By: at(time.Hour)}, time.Hour, time.Hour},
		"soon":                            {Problem{Heals: true}, 750 * time.Millisecond, time.Second},
		"sooner than soon":                {Problem{Heals: true, By: at(time.Millisecond)}, time.Millisecond, time.Millisecond},
		"not later because of it, healed": {Problem{Heals: true, By: at(time.Hour)}, 750 * time.Millisecond, time.Second},
		"after a while":                   {Problem{}, 4 * time.Minute, 5 * time.Minute},
		"after the time of a retry":       {Problem{Retry: time.Minute}, 48 * time.Second, time.Minute},
		"sooner than after a while":       {Problem{By: at(time.Minute)}, time.Minute, time.Minute},
		"sooner than a retry":             {Problem{Retry: time.Hour, By: at(time.Minute)}, time.Minute, time.Minute},
		"not later because of it":         {Problem{Retry: time.Minute, By: at(time.Hour)}, 48 * time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.problem.Reason, c.problem.Message = v1alpha1.ReasonDenied, "no"
			w.err = &c.problem
			w.source("app")
			wait := w.works("app")
			assert.GreaterOrEqual(t, wait, c.from)
			assert.LessOrEqual(t, wait, c.to)
			if wait == 0 {
				return
			}
			w.works("app")
			assert.Len(t, w.wants, 1)
			w.clock.SetTime(begin.Add(wait))
			w.works("app")
			assert.Len(t, w.wants, 2)
		})
	}
}

func TestServers(t *testing.T) {
	registry := prometheus.NewRegistry()
	servers := NewServers("safe", "Safe")
	open, retried := []string{"https://b"}, 0
	require.NoError(t, servers.Register(t.Context(), registry, func() []string { return open }, func() { retried++ }))
	down := &upstream.Error{Kind: upstream.Unavailable}
	for _, c := range []struct {
		address string
		err     error
		retried int
	}{
		{"https://a", nil, 0},
		{"https://a", down, 0},
		{"https://a", down, 0},
		{"https://b", nil, 0},
		{"https://a", fmt.Errorf("wrapped: %w", &upstream.Error{Kind: upstream.Unavailable, Status: http.StatusServiceUnavailable}), 0},
		{"https://a", nil, 1},
		{"https://a", nil, 1},
		{"https://b", &upstream.Error{Kind: upstream.Unavailable, Status: 500}, 1},
		{"https://b", &upstream.Error{Kind: upstream.Denied, Status: 403}, 2}, // it answers
		{"https://b", &upstream.Error{Kind: upstream.Missing, Status: 404}, 2},
		{"https://b", &upstream.Error{Kind: upstream.Invalid}, 2},
	} {
		servers.Requested(c.address, c.err)
		assert.Equal(t, c.retried, retried)
	}
	assert.Equal(t, map[string]float64{
		"https://a 200": 3, "https://a none": 2, "https://a 503": 1,
		"https://b 200": 1, "https://b 500": 1, "https://b 403": 1, "https://b 404": 1, "https://b none": 1,
	}, gathered(t, "fleet_handshake_safe_requests_total", servers.requests))
	const circuits = "fleet_handshake_safe_circuit_open"
	assert.Equal(t, map[string]float64{"https://b": 1}, gathered(t, circuits, servers))
	open = nil
	assert.Empty(t, gathered(t, circuits, servers))
	_, err := registry.Gather()
	require.NoError(t, err)
	assert.Error(t, servers.Register(t.Context(), registry, nil, nil), "once")
}

// gathered are the values of one metric by the values of its labels.
func gathered(t *testing.T, name string, collector prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(collector))
	families, err := registry.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range families {
		assert.Equal(t, name, f.GetName())
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			out[strings.Join(labels, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func TestWhatToSayOfAnErrorOfASecretManager(t *testing.T) {
	for kind, want := range map[upstream.Kind]Problem{
		upstream.Unavailable: {Reason: v1alpha1.ReasonUnavailable, Heals: true},
		upstream.Denied:      {Reason: v1alpha1.ReasonDenied},
		upstream.Missing:     {Reason: v1alpha1.ReasonPathMissing},
		upstream.Invalid:     {Reason: v1alpha1.ReasonRefused},
	} {
		err := fmt.Errorf("wrapped: %w", &upstream.Error{Kind: kind, Request: "GET /x", Address: "https://a", Status: 400, Reason: "no"})
		want.Message, want.Retry = "wrapped: GET /x at https://a answered 400: no", time.Minute
		assert.Equal(t, &want, ProblemOf(err, time.Minute))
	}
	assert.Nil(t, ProblemOf(fmt.Errorf("another"), time.Minute))
	assert.Nil(t, ProblemOf(nil, time.Minute))
}

func TestPlans(t *testing.T) {
	content := Content{FetchedAt: begin}
	Period(100*time.Second).Plan(&content, nil)
	assert.WithinRange(t, content.Next, begin.Add(80*time.Second), begin.Add(90*time.Second))
	assert.Equal(t, begin.Add(300*time.Second), content.StaleAt)
}
