package source

import (
	"context"
	"errors"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/metrics"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// counters are counted as things happen. What can be read off the sources is collected when it is asked for, so it goes
// with its source.
type counters struct {
	fetches  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	errors   prometheus.Counter
}

var (
	ageDesc   = prometheus.NewDesc("fleet_handshake_source_age_seconds", "How old what the Secret of a source holds is.", []string{"kind", "namespace", "name"}, nil)
	readyDesc = prometheus.NewDesc("fleet_handshake_source_ready", "1 when a source is Ready, else 0; reason is the one of its condition Ready.", []string{"kind", "namespace", "name", "reason"}, nil)
)

// success is the result of a fetch that has worked; otherwise it is the reason of the condition.
const success = "success"

func newCounters() counters {
	return counters{
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_handshake_source_fetches_total", Help: "Fetches by kind and result: success, or the reason of the condition Fetched.",
		}, []string{"kind", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fleet_handshake_source_fetch_duration_seconds", Help: "Time that fetches took, with the wait for the rate limit, by kind.",
			Buckets: []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"kind"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleet_handshake_source_errors_total", Help: "Syncs of sources that have failed at the API server and are tried again.",
		}),
	}
}

func (m counters) fetched(kind string, err error, took time.Duration) {
	result := success
	var problem *Problem
	switch {
	case errors.As(err, &problem):
		result = problem.Reason
	case err != nil:
		result = v1alpha1.ReasonUnavailable
	}
	m.fetches.WithLabelValues(kind, result).Inc()
	m.duration.WithLabelValues(kind).Observe(took.Seconds())
}

func (c *Controller) exposeMetrics(ctx context.Context, registry prometheus.Registerer) error {
	// A counter that begins with its first error shows no increase for it.
	for kind := range c.kinds {
		c.metrics.fetches.WithLabelValues(kind, success)
		c.metrics.fetches.WithLabelValues(kind, v1alpha1.ReasonUnavailable)
	}
	return metrics.Expose(ctx, registry, c.metrics.fetches, c.metrics.duration, c.metrics.errors, c)
}

// Describe implements prometheus.Collector.
func (c *Controller) Describe(descs chan<- *prometheus.Desc) {
	descs <- ageDesc
	descs <- readyDesc
}

// Collect implements prometheus.Collector.
func (c *Controller) Collect(out chan<- prometheus.Metric) {
	for kind, sources := range c.all() {
		for _, src := range sources {
			status := src.Made()
			if status.LastFetchedAt != nil {
				age := c.Clock.Now().Sub(status.LastFetchedAt.Time).Seconds()
				out <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, age, kind, src.GetNamespace(), src.GetName())
			}
			ready := condition(status, v1alpha1.ConditionReady)
			if ready == nil {
				continue
			}
			value := 0.0
			if ready.Status == metav1.ConditionTrue {
				value = 1
			}
			out <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, value, kind, src.GetNamespace(), src.GetName(), ready.Reason)
		}
	}
}
