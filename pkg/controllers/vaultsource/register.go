package vaultsource

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/controllers/source"
	handshakectl "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/vault"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// The names of the kinds.
const (
	kvKind      = "VaultSecret"
	dynamicKind = "VaultDynamicSecret"
	pkiKind     = "VaultPKISecret"
)

const (
	byConnection = "fleethandshake.io/connection"
	// sweepEvery is how often tokens are given back that nobody has used for unusedFor.
	sweepEvery, unusedFor = 10 * time.Minute, time.Hour
	// closeTimeout bounds the time in which the tokens are given back at the end.
	closeTimeout = 5 * time.Second
)

// Config is what the fetchers work with.
type Config struct {
	Controllers handshakectl.Interface
	Core        corev1client.CoreV1Interface
	// Namespace is the operator's own.
	Namespace string
	Defaults  Defaults
}

// Sources are the kinds that are fetched from Vault.
type Sources struct {
	Config
	pool    *vault.Pool
	holders *holders
	dynamic dynamic
	pki     pki
	servers *source.Servers
	wake    func(kind, namespace, name string)
}

// New makes Sources. The error says what is wrong with the defaults.
func New(cfg Config) (*Sources, error) {
	s := &Sources{Config: cfg, holders: &holders{}, servers: source.NewServers("vault", "Vault")}
	var ca []byte
	if file := cfg.Defaults.CAFile; file != "" {
		var err error
		if ca, err = os.ReadFile(file); err != nil { //nolint:gosec // the administrator names it
			return nil, fmt.Errorf("reading --vault-ca-file: %w", err)
		}
	}
	real := clock.RealClock{}
	s.pool = vault.NewPool(real, vault.Options{Keeper: keeper{cfg.Core.Secrets(cfg.Namespace)}, Replaced: s.replaced, Requested: s.servers.Requested})
	shared := &access{connections: cfg.Controllers.VaultConnection().Cache().Get, core: cfg.Core, pool: s.pool, defaults: cfg.Defaults, ca: ca}
	s.dynamic, s.pki = dynamic{shared, s.holders, real}, pki{shared, s.holders, real}
	return s, nil
}

// Kinds are the kinds for the controller of sources.
func (s *Sources) Kinds() []source.Kind {
	c := s.Controllers
	return []source.Kind{
		source.KindOf(kvKind, c.VaultSecret(), kv{access: s.dynamic.access, clock: s.dynamic.clock}),
		source.KindOf(dynamicKind, c.VaultDynamicSecret(), s.dynamic),
		source.KindOf(pkiKind, c.VaultPKISecret(), s.pki),
	}
}

// Register adds indexes, triggers and metrics. Call it before the informers start. wake wants a fetch of a source,
// and retry one of all that a server did not answer for.
func (s *Sources) Register(ctx context.Context, registry prometheus.Registerer, wake func(kind, namespace, name string), retry func()) error {
	s.wake = wake
	c := s.Controllers
	c.VaultSecret().Cache().AddIndexer(byConnection, func(o *v1alpha1.VaultSecret) ([]string, error) {
		return connectionsOf(o, o.Spec.VaultAccess), nil
	})
	c.VaultDynamicSecret().Cache().AddIndexer(byConnection, func(o *v1alpha1.VaultDynamicSecret) ([]string, error) {
		return connectionsOf(o, o.Spec.VaultAccess), nil
	})
	c.VaultPKISecret().Cache().AddIndexer(byConnection, func(o *v1alpha1.VaultPKISecret) ([]string, error) {
		return connectionsOf(o, o.Spec.VaultAccess), nil
	})
	_, err := c.VaultConnection().Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, first bool) {
			if !first {
				s.connectionChanged(o)
			}
		},
		UpdateFunc: func(old, now any) {
			before, _ := old.(metav1.Object)
			after, _ := now.(metav1.Object)
			if before == nil || after == nil || before.GetGeneration() != after.GetGeneration() {
				s.connectionChanged(now)
			}
		},
		DeleteFunc: s.connectionChanged,
	})
	if err != nil {
		return fmt.Errorf("watching VaultConnections: %w", err)
	}
	return s.servers.Register(ctx, registry, s.pool.Open, retry)
}

// connectionsOf is the VaultConnection of a source, as namespace/name.
func connectionsOf(o metav1.Object, spec v1alpha1.VaultAccess) []string {
	if spec.ConnectionRef == nil {
		return nil
	}
	namespace := spec.ConnectionRef.Namespace
	if namespace == "" {
		namespace = o.GetNamespace()
	}
	return []string{namespace + "/" + spec.ConnectionRef.Name}
}

func (s *Sources) connectionChanged(o any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return
	}
	c := s.Controllers
	wakeBy(s, kvKind, c.VaultSecret().Cache().GetByIndex, key)
	wakeBy(s, dynamicKind, c.VaultDynamicSecret().Cache().GetByIndex, key)
	wakeBy(s, pkiKind, c.VaultPKISecret().Cache().GetByIndex, key)
}

func wakeBy[T metav1.Object](s *Sources, kind string, by func(index, key string) ([]T, error), key string) {
	found, err := by(byConnection, key)
	if err != nil {
		return
	}
	for _, o := range found {
		s.wake(kind, o.GetNamespace(), o.GetName())
	}
}

// replaced wakes the sources whose leases hung on a token that has been replaced.
func (s *Sources) replaced(session string) {
	for _, source := range s.holders.sourcesOf(session) {
		s.wake(source.kind, source.namespace, source.name)
	}
}

// Run gives back the tokens that nobody uses any more, until ctx ends.
func (s *Sources) Run(ctx context.Context) {
	if err := (keeper{s.Core.Secrets(s.Namespace)}).expire(ctx, time.Now()); err != nil && ctx.Err() == nil {
		logrus.WithError(err).Warn("tokens of Vault that have ended are not deleted")
	}
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.holders.use()
			if err := s.pool.Sweep(ctx, unusedFor); err != nil {
				logrus.WithError(err).Warn("a token of Vault was not given back; it ends by itself")
			}
		case <-ctx.Done():
			return
		}
	}
}

// Close gives all tokens back, but for those that leases hang on.
func (s *Sources) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.pool.Close(ctx); err != nil {
		logrus.WithError(err).Warn("a token of Vault was not given back; it ends by itself")
	}
}
