package handshake

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// memo is what the operator remembers of a handshake between two syncs. It holds nothing secret, and nothing that
// cannot be found out again after a restart.
type memo struct {
	uid types.UID
	// seen are the versions that content and problem were made from.
	seen    versions
	content *content
	problem *syncstatus.Problem
	// written are the Bundles by name, and status is the handshake, as the operator wrote them last: the cache may be
	// behind.
	written map[string]*fleet.Bundle
	status  *v1alpha1.FleetHandshake
	// statusAt is when status was written.
	statusAt time.Time
	// last is what the handshake looked like last, whether it was written or not; nil after a restart.
	last *syncstatus.Result
	// starved is since when BundleDeployments have been waiting for their values.
	starved map[types.UID]time.Time
	// unsynced is since when clusters have not been Synced.
	unsynced map[types.NamespacedName]time.Time
}

type versions struct {
	// from is where the source is, where it goes, and on which terms.
	from, source, values string
}

func (h *handler) versions(v *view) versions {
	hs := v.hs
	namespace, name := bundle.SourceNamespace(hs), bundle.NameFor(hs)
	return versions{
		from:   fmt.Sprintf("%s/%s/%s/%s/%s/%q", namespace, hs.Spec.SecretName, name, hs.Spec.ReplacePolicy, hs.Spec.MissingSourcePolicy, v.grant.Keys),
		source: h.Secrets.Version(namespace, hs.Spec.SecretName),
		values: h.Secrets.Version(hs.Namespace, name),
	}
}

func keyOf(hs *v1alpha1.FleetHandshake) types.NamespacedName {
	return types.NamespacedName{Namespace: hs.Namespace, Name: hs.Name}
}

// memo is empty when nothing is remembered of the handshake.
func (h *handler) memo(hs *v1alpha1.FleetHandshake) memo {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.memos[keyOf(hs)]
	if m.uid != hs.UID {
		return memo{}
	}
	return m
}

// wroteBundle remembers a Bundle as it was written; nil when it is gone. Its status is Fleet's, and not kept.
func (h *handler) wroteBundle(hs *v1alpha1.FleetHandshake, name string, b *fleet.Bundle) {
	if b != nil {
		b.Status = fleet.BundleStatus{}
	}
	h.remember(hs, func(m *memo) {
		written := maps.Clone(m.written)
		if written == nil {
			written = map[string]*fleet.Bundle{}
		}
		written[name] = b
		m.written = written
	})
}

// remember changes what is remembered of a handshake.
func (h *handler) remember(hs *v1alpha1.FleetHandshake, change func(*memo)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.memos[keyOf(hs)]
	if m.uid != hs.UID {
		m = memo{uid: hs.UID}
	}
	change(&m)
	h.memos[keyOf(hs)] = m
}

// newest is the handshake as it is now, even when the cache is behind our last write of its status.
func (h *handler) newest(cached *v1alpha1.FleetHandshake) *v1alpha1.FleetHandshake {
	if m := h.memo(cached); m.status != nil && newer(m.status, cached) {
		return m.status
	}
	return cached
}

// newer compares resource versions, which is sound for two states of one object.
func newer(a, b metav1.Object) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && order > 0
}

func (h *handler) forget(key string) {
	namespace, name, _ := strings.Cut(key, "/")
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.memos, types.NamespacedName{Namespace: namespace, Name: name})
}
