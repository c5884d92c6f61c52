// Package handshake is the controller of FleetHandshakes: it gathers what a handshake depends on, lets the pure packages
// decide, writes the values Secret and the Bundle, and then the status.
package handshake

import (
	"context"
	"sync"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleetctl "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleet.cattle.io/v1alpha1"
	handshakectl "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/secrets"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
)

// Config is what the controller works with.
type Config struct {
	Handshakes  handshakectl.FleetHandshakeController
	Bundles     fleetctl.BundleController
	Deployments fleetctl.BundleDeploymentController
	Clusters    fleetctl.ClusterController
	Groups      fleetctl.ClusterGroupController
	// Secrets watches and reads, SecretClient writes.
	Secrets      *secrets.Store
	SecretClient corev1client.SecretsGetter
	// AllowCrossNamespace lets a handshake send a Secret of another namespace.
	AllowCrossNamespace bool
	Clock               clock.PassiveClock
}

type handler struct {
	Config
	ctx context.Context

	mu    sync.Mutex
	memos map[types.NamespacedName]memo
}

// Register adds the handlers, indexes and triggers. Call it before the informers start.
func Register(ctx context.Context, cfg Config) error {
	h := &handler{Config: cfg, ctx: ctx, memos: map[types.NamespacedName]memo{}}
	h.addIndexers()
	if err := h.addTriggers(); err != nil {
		return err
	}
	cfg.Handshakes.OnChange(ctx, "fleet-handshake", h.onChange)
	return nil
}

func (h *handler) onChange(key string, hs *v1alpha1.FleetHandshake) (*v1alpha1.FleetHandshake, error) {
	if hs == nil || !hs.DeletionTimestamp.IsZero() {
		// The Bundle and the values Secret belong to the handshake: the garbage collector takes them.
		h.forget(key)
		return hs, nil
	}
	return h.sync(h.newest(hs))
}
