package handshake

import (
	"errors"
	"maps"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// counters are counted as things happen. What can be read off the handshakes is collected when it is asked for, so it
// goes with its handshake.
type counters struct {
	propagation prometheus.Histogram
	writes      *prometheus.CounterVec
	reads       *prometheus.CounterVec
	errors      prometheus.Counter
}

var (
	handshakesDesc = prometheus.NewDesc("fleet_handshake_handshakes", "FleetHandshakes by the one word of their status.", []string{"status"}, nil)
	clustersDesc   = prometheus.NewDesc("fleet_handshake_clusters", "Clusters of a FleetHandshake by state.", []string{"namespace", "name", "state"}, nil)
	statusDesc     = prometheus.NewDesc("fleet_handshake_status", "1 for the one word that a FleetHandshake has as its status now.", []string{"namespace", "name", "status"}, nil)
	oldestDesc     = prometheus.NewDesc("fleet_handshake_oldest_unsynced_cluster_seconds", "For how long the clusters of a FleetHandshake in a state other than Synced have not been Synced: the longest time.", []string{"namespace", "name", "state"}, nil)
)

// Results of writes and reads.
const (
	success       = "success"
	missingSecret = "missing"
	conflict      = "conflict"
	failure       = "error"
)

func newCounters() counters {
	m := counters{
		propagation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fleet_handshake_propagation_seconds", Help: "Time from when a new revision of a Secret was first sent until every cluster has it.",
			Buckets: []float64{0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600},
		}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_handshake_bundle_writes_total", Help: "Writes of Bundles by result: success, conflict (somebody was quicker; written again at once) or error.",
		}, []string{"result"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_handshake_source_reads_total", Help: "Reads of Secrets that are sent, by result: success, missing or error.",
		}, []string{"result"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleet_handshake_reconcile_errors_total", Help: "Reconciles of FleetHandshakes that have failed and are tried again.",
		}),
	}
	// A counter that begins with its first error shows no increase for it.
	for _, result := range []string{success, conflict, failure} {
		m.writes.WithLabelValues(result)
	}
	for _, result := range []string{success, missingSecret, failure} {
		m.reads.WithLabelValues(result)
	}
	return m
}

func (m counters) wrote(err error) {
	result := failure
	switch {
	case err == nil:
		result = success
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err), patchDoesNotFit(err):
		result = conflict
	}
	m.writes.WithLabelValues(result).Inc()
}

// patchDoesNotFit says whether a test of a JSON patch has failed. The API server then answers Invalid and names no
// object, as it does when the object is not valid (Kubernetes 1.36, apiserver/pkg/endpoints/handlers/patch.go).
func patchDoesNotFit(err error) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &answer) {
		return false
	}
	details := answer.Status().Details
	return details == nil || details.Kind == ""
}

func (m counters) read(err error) {
	result := failure
	switch {
	case err == nil:
		result = success
	case apierrors.IsNotFound(err):
		result = missingSecret
	}
	m.reads.WithLabelValues(result).Inc()
}

// collector reads the handshakes as they looked last. What a memo points to is replaced, never changed.
type collector struct{ *handler }

// Describe implements prometheus.Collector.
func (c collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{handshakesDesc, statusDesc, clustersDesc, oldestDesc} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	byStatus := map[v1alpha1.HandshakeState]int{
		v1alpha1.StatePending: 0, v1alpha1.StateMissing: 0, v1alpha1.StateSynced: 0, v1alpha1.StateError: 0,
	}
	c.mu.Lock()
	memos := maps.Clone(c.memos)
	c.mu.Unlock()
	for key, m := range memos {
		if m.last == nil {
			continue
		}
		status := m.last.Status.Status
		byStatus[status]++
		gauge(statusDesc, 1, key.Namespace, key.Name, string(status))
		byState, oldest := map[v1alpha1.ClusterState]int{}, map[v1alpha1.ClusterState]time.Duration{}
		for _, r := range m.last.Rows {
			byState[r.State]++
			if since, ok := m.unsynced[syncstatus.KeyOf(r)]; ok {
				oldest[r.State] = max(oldest[r.State], c.Clock.Now().Sub(since))
			}
		}
		for state, n := range byState {
			gauge(clustersDesc, float64(n), key.Namespace, key.Name, string(state))
		}
		for state, age := range oldest {
			gauge(oldestDesc, age.Round(time.Millisecond).Seconds(), key.Namespace, key.Name, string(state))
		}
	}
	for status, n := range byStatus {
		gauge(handshakesDesc, float64(n), string(status))
	}
}
