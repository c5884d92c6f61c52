package source

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/fleet-handshake/fleet-handshake/pkg/metrics"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Servers are those of one secret manager: it counts requests, and knows which servers do not answer.
type Servers struct {
	requests *prometheus.CounterVec
	open     *prometheus.Desc
	// opened gives the addresses of those that are left alone.
	opened func() []string
	// down has the addresses of those that do not answer, and retry is called when one does again.
	down  sync.Map
	retry func()
}

// NewServers makes Servers. name is that of the secret manager in metrics, and title in sentences.
func NewServers(name, title string) *Servers {
	return &Servers{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_handshake_" + name + "_requests_total", Help: "Requests to " + title + " by address and status; the status is none when there was no answer.",
		}, []string{"address", "status"}),
		open: prometheus.NewDesc("fleet_handshake_"+name+"_circuit_open", "1 for each "+title+" that is left alone for a while, because its last answers were failures.", []string{"address"}, nil),
	}
}

// Register adds the metrics until ctx ends. opened gives the addresses of those that are left alone, and retry wants a fetch
// of all sources that a server did not answer for. Call it before the first request.
func (s *Servers) Register(ctx context.Context, registry prometheus.Registerer, opened func() []string, retry func()) error {
	s.opened, s.retry = opened, retry
	return metrics.Expose(ctx, registry, s.requests, s)
}

// Requested notes a request with its error, which is nil or an *upstream.Error.
func (s *Servers) Requested(address string, err error) {
	status := strconv.Itoa(http.StatusOK)
	var answer *upstream.Error
	if errors.As(err, &answer) {
		status = "none"
		if answer.Status != 0 {
			status = strconv.Itoa(answer.Status)
		}
	}
	s.requests.WithLabelValues(address, status).Inc()
	if upstream.IsKind(err, upstream.Unavailable) {
		s.down.Store(address, true)
	} else if _, was := s.down.LoadAndDelete(address); was {
		s.retry()
	}
}

// Describe implements prometheus.Collector.
func (s *Servers) Describe(descs chan<- *prometheus.Desc) { descs <- s.open }

// Collect implements prometheus.Collector.
func (s *Servers) Collect(out chan<- prometheus.Metric) {
	for _, address := range s.opened() {
		out <- prometheus.MustNewConstMetric(s.open, prometheus.GaugeValue, 1, address)
	}
}
