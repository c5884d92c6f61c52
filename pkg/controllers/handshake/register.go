// Package handshake is the controller of FleetHandshakes: it gathers what a handshake depends on, lets the pure packages
// decide, writes the values Secret and the Bundle, and then the status.
package handshake

import (
	"context"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/audit"
	"github.com/fleet-handshake/fleet-handshake/pkg/event"
	fleetctl "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleet.cattle.io/v1alpha1"
	handshakectl "github.com/fleet-handshake/fleet-handshake/pkg/generated/controllers/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/metrics"
	"github.com/fleet-handshake/fleet-handshake/pkg/secrets"
	"github.com/fleet-handshake/fleet-handshake/pkg/workspace"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
)

// The rights that are needed in each workspace.
// +kubebuilder:rbac:groups=fleethandshake.io,resources=fleethandshakes,verbs=patch
// +kubebuilder:rbac:groups=fleet.cattle.io,resources=bundles,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// Config is what the controller works with.
type Config struct {
	Handshakes  handshakectl.FleetHandshakeController
	Bundles     fleetctl.BundleController
	Deployments fleetctl.BundleDeploymentController
	Clusters    fleetctl.ClusterController
	Groups      fleetctl.ClusterGroupController
	Grants      handshakectl.SecretGrantController
	// Secrets watches and reads, SecretClient writes.
	Secrets      *secrets.Store
	SecretClient corev1client.SecretsGetter
	// Events takes what has happened on the handshakes.
	Events corev1client.EventsGetter
	// Workspaces are the namespaces that the operator may write in.
	Workspaces *workspace.Set
	// Audit takes a line for each decision that lets a Secret out or takes it back.
	Audit *audit.Log
	// KeepRevoked leaves the copies in the clusters when the consent to send a Secret is taken back.
	KeepRevoked bool
	Limits      Limits
	Clock       clock.PassiveClock
}

// Limits are the times and shares from which on the controller acts or asks a person.
type Limits struct {
	// OfflineAfter is how long an agent may be silent until its cluster counts as offline.
	OfflineAfter time.Duration
	// StuckAfter is how long an agent that reports may take to apply a revision until its cluster counts as stuck.
	StuckAfter time.Duration
	// MissingGrace is how long a Secret may be missing until a person has to look, or its copies are removed.
	MissingGrace time.Duration
	// WithdrawalThreshold is the percentage of the clusters that a change of targets may withdraw from unconfirmed.
	WithdrawalThreshold int
}

type handler struct {
	Config
	ctx      context.Context
	metrics  counters
	recorder *event.Recorder

	mu    sync.Mutex
	memos map[types.NamespacedName]memo
}

// Register adds the handlers, indexes, triggers and metrics. Call it before the informers start. The metrics are taken
// out of registry when ctx ends.
func Register(ctx context.Context, cfg Config, registry prometheus.Registerer) error {
	h := &handler{Config: cfg, ctx: ctx, memos: map[types.NamespacedName]memo{}, metrics: newCounters(), recorder: event.NewRecorder(cfg.Events)}
	if err := metrics.Expose(ctx, registry, h.metrics.propagation, h.metrics.writes, h.metrics.reads, h.metrics.errors, collector{h}); err != nil {
		return err
	}
	h.addIndexers()
	if err := h.addTriggers(); err != nil {
		return err
	}
	cfg.Handshakes.OnChange(ctx, "fleet-handshake", h.onChange)
	return nil
}

func (h *handler) onChange(key string, hs *v1alpha1.FleetHandshake) (*v1alpha1.FleetHandshake, error) {
	if hs == nil {
		h.forget(key)
		return nil, nil
	}
	hs = h.newest(hs)
	act := h.sync
	if !hs.DeletionTimestamp.IsZero() {
		act = h.remove
	}
	out, err := act(hs)
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		h.metrics.errors.Inc()
	}
	return out, err
}
