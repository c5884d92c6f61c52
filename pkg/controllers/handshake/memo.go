package handshake

import (
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
)

// memo is what the operator remembers of a handshake between two syncs. It holds nothing secret, and nothing that
// cannot be found out again after a restart.
type memo struct {
	uid types.UID
	// seen are the versions that content and problem were made from.
	seen    versions
	content *content
	problem *syncstatus.Problem
	// written is the Bundle as the operator wrote it last: the cache may be behind.
	written *fleet.Bundle
}

type versions struct {
	// from is where the source is and where it goes.
	from, source, values string
}

func (h *handler) versions(hs *v1alpha1.FleetHandshake) versions {
	namespace, name := bundle.SourceNamespace(hs), bundle.Name(hs.Name, hs.UID, bundle.TargetNamespace(hs))
	return versions{
		from:   namespace + "/" + hs.Spec.SecretName + "/" + name,
		source: h.Secrets.Version(namespace, hs.Spec.SecretName),
		values: h.Secrets.Version(hs.Namespace, name),
	}
}

func keyOf(hs *v1alpha1.FleetHandshake) types.NamespacedName {
	return types.NamespacedName{Namespace: hs.Namespace, Name: hs.Name}
}

func (h *handler) memo(hs *v1alpha1.FleetHandshake) (memo, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.memos[keyOf(hs)]
	return m, ok && m.uid == hs.UID
}

// remember keeps the content of m and leaves the Bundle as it is remembered.
func (h *handler) remember(hs *v1alpha1.FleetHandshake, m memo) {
	h.change(hs, func(old memo) memo {
		m.written = old.written
		return m
	})
}

func (h *handler) rememberBundle(hs *v1alpha1.FleetHandshake, b *fleet.Bundle) {
	h.change(hs, func(m memo) memo {
		m.written = b
		return m
	})
}

func (h *handler) change(hs *v1alpha1.FleetHandshake, f func(memo) memo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.memos[keyOf(hs)]
	if old.uid != hs.UID {
		old = memo{}
	}
	m := f(old)
	m.uid = hs.UID
	h.memos[keyOf(hs)] = m
}

func (h *handler) forget(key string) {
	namespace, name, _ := strings.Cut(key, "/")
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.memos, types.NamespacedName{Namespace: namespace, Name: name})
}
