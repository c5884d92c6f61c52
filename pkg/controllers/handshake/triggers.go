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
	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	indexBySecret = "fleethandshake.io/secret"
	indexByBundle = "fleethandshake.io/bundle"
	// indexByGranter has the handshakes, and the Bundles, by the namespace whose SecretGrants they need.
	indexByGranter = "fleethandshake.io/granter"

	// soon is the delay of a wake-up by a Secret: short, because a rotation waits for it, and long enough to make
	// one of several writes in a row.
	soon = 10 * time.Millisecond
	// shortly is the delay of most others: a rollout makes many events for one handshake.
	shortly = 100 * time.Millisecond
	// later is when a name that somebody else has taken is looked at again: a foreign Bundle is not watched.
	later = time.Minute
)

func (h *handler) addIndexers() {
	h.Handshakes.Cache().AddIndexer(indexBySecret, func(hs *v1alpha1.FleetHandshake) ([]string, error) {
		return []string{
			bundle.SourceNamespace(hs) + "/" + hs.Spec.SecretName,
			hs.Namespace + "/" + bundle.NameFor(hs),
		}, nil
	})
	h.Handshakes.Cache().AddIndexer(indexByGranter, func(hs *v1alpha1.FleetHandshake) ([]string, error) {
		if namespace := bundle.SourceNamespace(hs); namespace != hs.Namespace {
			return []string{namespace}, nil
		}
		return nil, nil
	})
	h.Bundles.Cache().AddIndexer(indexByGranter, func(b *fleet.Bundle) ([]string, error) {
		namespace, _, _ := strings.Cut(bundle.DeliveryOf(b).Source, "/")
		return []string{namespace}, nil
	})
	h.Deployments.Cache().AddIndexer(indexByBundle, func(bd *fleet.BundleDeployment) ([]string, error) {
		return []string{bundleOf(bd)}, nil
	})
	h.Bundles.Cache().AddIndexer(v1alpha1.LabelHandshake, func(b *fleet.Bundle) ([]string, error) {
		return []string{b.Labels[v1alpha1.LabelHandshake]}, nil
	})
}

func bundleOf(bd *fleet.BundleDeployment) string {
	return bd.Labels[fleet.BundleNamespaceLabel] + "/" + bd.Labels[fleet.BundleLabel]
}

// addTriggers wakes handshakes when something that they depend on changes. A wake-up is always EnqueueAfter: that
// coalesces, whereas each Enqueue counts as a failure of the key and delays it further.
func (h *handler) addTriggers() error {
	h.Secrets.OnChange(h.secretChanged)
	if err := h.Workspaces.OnChange(h.workspaceChanged); err != nil {
		return fmt.Errorf("watching namespaces: %w", err)
	}
	for what, t := range map[string]struct {
		informer cache.SharedIndexInformer
		changed  func(old, now metav1.Object)
	}{
		"Bundles":           {h.Bundles.Informer(), h.bundleChanged},
		"BundleDeployments": {h.Deployments.Informer(), h.deploymentChanged},
		"Clusters":          {h.Clusters.Informer(), h.clusterChanged},
		"ClusterGroups":     {h.Groups.Informer(), h.clusterChanged},
		"SecretGrants":      {h.Grants.Informer(), h.grantChanged},
	} {
		if err := trigger(t.informer, t.changed); err != nil {
			return fmt.Errorf("watching %s: %w", what, err)
		}
	}
	return nil
}

// trigger calls f with the object before and after; old is nil unless the object was there before.
func trigger(informer cache.SharedIndexInformer, f func(old, now metav1.Object)) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { f(nil, object(o)) },
		UpdateFunc: func(old, now any) {
			if object(old).GetResourceVersion() != object(now).GetResourceVersion() {
				f(object(old), object(now))
			}
		},
		DeleteFunc: func(o any) { f(nil, object(o)) },
	})
	return err
}

func object(o any) metav1.Object {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	m, ok := o.(metav1.Object)
	if !ok {
		return &metav1.ObjectMeta{}
	}
	return m
}

// workspaceChanged wakes the handshakes of a namespace that has become a workspace, or no longer is one.
func (h *handler) workspaceChanged(namespace string) {
	if h.Workspaces.Has(namespace) {
		if err := h.Secrets.Watch(h.ctx, namespace); err != nil {
			logrus.WithField("namespace", namespace).WithError(err).Error("the Secrets of a workspace cannot be watched")
		}
	}
	h.wake(cache.NamespaceIndex, namespace, shortly)
}

// grantChanged wakes the handshakes that a SecretGrant may speak of.
func (h *handler) grantChanged(_, now metav1.Object) {
	h.wake(indexByGranter, now.GetNamespace(), shortly)
	// A Bundle can have been made from another Secret than its handshake names now.
	bundles, err := h.Bundles.Cache().GetByIndex(indexByGranter, now.GetNamespace())
	if err != nil {
		return
	}
	for _, b := range bundles {
		h.wakeOwner(b, shortly)
	}
}

// wake wakes the handshakes that an index has under a key.
func (h *handler) wake(index, key string, delay time.Duration) {
	found, err := h.Handshakes.Cache().GetByIndex(index, key)
	if err != nil {
		return
	}
	for _, hs := range found {
		h.Handshakes.EnqueueAfter(hs.Namespace, hs.Name, delay)
	}
}

// secretChanged wakes the handshakes that send the Secret, or the one whose values it holds.
func (h *handler) secretChanged(secret metav1.Object) {
	h.wake(indexBySecret, secret.GetNamespace()+"/"+secret.GetName(), soon)
}

func (h *handler) deploymentChanged(_, now metav1.Object) {
	bd, ok := now.(*fleet.BundleDeployment)
	if !ok {
		return
	}
	b, err := h.Bundles.Cache().Get(bd.Labels[fleet.BundleNamespaceLabel], bd.Labels[fleet.BundleLabel])
	if err != nil {
		// Without its Bundle nothing depends on it any more; when the Bundle arrives, that wakes the handshake.
		return
	}
	h.wakeOwner(b, h.rolloutDelay(b))
}

// rolloutDelay is how long to wait after the answer of one cluster. Where there are many, more answers come at once, and
// the status is not written more often anyway.
func (h *handler) rolloutDelay(b *fleet.Bundle) time.Duration {
	if len(b.Spec.Targets) > syncstatus.MaxRows {
		return statusInterval
	}
	return shortly
}

// bundleChanged wakes the handshake of a Bundle. What Fleet writes into the status of a Bundle does not matter here.
func (h *handler) bundleChanged(old, now metav1.Object) {
	if old == nil || old.GetGeneration() != now.GetGeneration() || !sameMeta(old, now) || !now.GetDeletionTimestamp().Equal(old.GetDeletionTimestamp()) {
		h.wakeOwner(now, shortly)
	}
}

// clusterChanged wakes the handshakes of the namespace when the answer to "which clusters match" may be another one, or
// when a cluster has registered, or is back after its agent was silent.
func (h *handler) clusterChanged(old, now metav1.Object) {
	if old != nil && maps.Equal(old.GetLabels(), now.GetLabels()) && old.GetGeneration() == now.GetGeneration() && !h.reportsAgain(old, now) {
		return
	}
	h.wake(cache.NamespaceIndex, now.GetNamespace(), shortly)
}

func (h *handler) reportsAgain(old, now metav1.Object) bool {
	before, isCluster := old.(*fleet.Cluster)
	after, _ := now.(*fleet.Cluster)
	if !isCluster || after == nil {
		return false
	}
	offline := func(c *fleet.Cluster) bool {
		return syncstatus.Offline(c, h.Limits.OfflineAfter, h.Clock.Now())
	}
	return before.Status.Namespace != after.Status.Namespace || offline(before) && !offline(after)
}

func (h *handler) wakeOwner(b metav1.Object, delay time.Duration) {
	owner := metav1.GetControllerOfNoCopy(b)
	if owner != nil && owner.Kind == "FleetHandshake" {
		h.Handshakes.EnqueueAfter(b.GetNamespace(), owner.Name, delay)
	}
}
