package vsecmsource

import (
	"context"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	handshakectl "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"k8s.io/utils/clock"
)

const kindName = "VSecMSecret"

// sweepEvery is how often Safes are forgotten that nobody has read for unusedFor.
const sweepEvery, unusedFor = 10 * time.Minute, 24 * time.Hour

// Sources are the VSecMSecrets.
type Sources struct {
	controller handshakectl.VSecMSecretController
	fetcher    fetcher
	servers    *source.Servers
}

// New makes Sources. The error says what is wrong with the defaults.
func New(controller handshakectl.VSecMSecretController, defaults Defaults) (*Sources, error) {
	s := &Sources{controller: controller, servers: source.NewServers("vsecm", "Safe")}
	client, err := defaults.client(s.servers.Requested)
	if err != nil {
		return nil, err
	}
	allow, err := parseAllow(defaults.Allow)
	s.fetcher = fetcher{client: client, safeURL: defaults.SafeURL, allow: allow, clock: clock.RealClock{}}
	return s, err
}

// Kinds are the kinds for the controller of sources.
func (s *Sources) Kinds() []source.Kind {
	return []source.Kind{source.KindOf(kindName, s.controller, s.fetcher)}
}

// Register adds metrics. Call it before the informers start. retry wants a fetch of all sources that a server did not answer
// for.
func (s *Sources) Register(ctx context.Context, registry prometheus.Registerer, _ func(kind, namespace, name string), retry func()) error {
	return s.servers.Register(ctx, registry, s.client().Open, retry)
}

// Run forgets what nobody reads any more, until ctx ends.
func (s *Sources) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.client().Sweep(unusedFor)
		case <-ctx.Done():
			return
		}
	}
}

// Close ends the watch of the Workload API.
func (s *Sources) Close() {
	if err := s.client().Close(); err != nil {
		logrus.WithError(err).Warn("the connection to the Workload API was not closed")
	}
}

func (s *Sources) client() *vsecm.Client { return s.fetcher.client }
