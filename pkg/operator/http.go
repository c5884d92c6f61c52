package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/version"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	lassometrics "github.com/rancher/lasso/pkg/metrics"
	"github.com/sirupsen/logrus"
)

// registry holds all metrics of the process. Lasso's can be registered only once.
var registry = sync.OnceValue(func() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fleet_handshake_build_info", Help: "Always 1; the labels say what was built.",
		ConstLabels: prometheus.Labels{"version": version.Version, "commit": version.Commit},
	})
	info.Set(1)
	r.MustRegister(info, requestsTotal, requestDuration)
	lassometrics.MustRegisterWithWorkqueue(r)
	return r
})

// serve answers /healthz, /readyz and /metrics until ctx ends. It returns once the address is bound.
func serve(ctx context.Context, stop context.CancelCauseFunc, address string, ready *atomic.Bool) error {
	if address == "0" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; choose another with --listen-address", address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, true) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, ready.Load()) })
	mux.Handle("/metrics", promhttp.HandlerFor(registry(), promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			stop(fmt.Errorf("serving %s: %w", address, err))
		}
	}()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	logrus.WithField("address", listener.Addr().String()).Info("serving /healthz, /readyz and /metrics")
	return nil
}

func answer(w http.ResponseWriter, ok bool) {
	if !ok {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
