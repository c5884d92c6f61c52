package operator

import (
	"context"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientmetrics "k8s.io/client-go/tools/metrics"
)

// The metrics of client-go have the names that all Kubernetes components use. There is one API server, so they do not
// name it; and they hold no path, because a path names objects.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rest_client_requests_total", Help: "Requests to the API server by status code and method; the code is <error> when there was no answer.",
	}, []string{"code", "method"})
	requestDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "rest_client_request_duration_seconds", Help: "Time that requests to the API server took, by verb. Watches are not in it.",
		Buckets: []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60},
	}, []string{"verb"})
)

// client-go takes its hooks once in a process, and reads them without a lock: they are set before the first request.
func init() {
	clientmetrics.Register(clientmetrics.RegisterOpts{RequestResult: countRequests{}, RequestLatency: timeRequests{}})
}

type countRequests struct{}

// Increment implements client-go's ResultMetric.
func (countRequests) Increment(_ context.Context, code, method, _ string) {
	requestsTotal.WithLabelValues(code, method).Inc()
}

type timeRequests struct{}

// Observe implements client-go's LatencyMetric.
func (timeRequests) Observe(_ context.Context, verb string, _ url.URL, took time.Duration) {
	requestDuration.WithLabelValues(verb).Observe(took.Seconds())
}
