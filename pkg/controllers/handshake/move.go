package handshake

import (
	"slices"

	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
)

// moveOut removes what this handshake has sent to another target namespace before: from each cluster once it has
// confirmed the current one, and then the Bundles.
func (h *handler) moveOut(v *view) error {
	keep := []string{v.current.Name}
	formers, err := h.bundles(v.hs, keep...)
	if err != nil {
		return err
	}
	for _, b := range formers {
		done := false
		if !v.hs.Spec.Paused {
			if done, err = h.empty(v, b); err != nil {
				return err
			}
		}
		if !done {
			keep = append(keep, b.Name)
		}
	}
	return h.deleteAll(v, keep...)
}

// empty withdraws a former Bundle from the clusters that have what the current one sends, and says whether no cluster is
// left. To leave it is no loss, so nobody is asked.
func (h *handler) empty(v *view, b *fleet.Bundle) (bool, error) {
	former := &view{hs: v.hs.DeepCopy(), current: b, clusters: v.clusters, threshold: bundle.NeverHold}
	former.hs.Spec.TargetNamespace = b.Spec.DefaultNamespace
	delivery, targets := bundle.DeliveryOf(v.current), bundle.TargetsOf(v.current)
	answers := syncstatus.Answers(v.hs.Namespace, v.deployments)
	former.matched = slices.DeleteFunc(slices.Clone(v.matched), func(c *fleet.Cluster) bool {
		return delivery.Confirmed(targets[c.Name], answers[c.Name])
	})
	written, problem, err := h.currentBundle(former.hs)
	if err != nil || problem != nil || written == nil {
		return false, err
	}
	former.current = written
	if former.deployments, err = h.deployments(b.Namespace, b.Name); err != nil {
		return false, err
	}
	sent, problem, err := h.sentLast(former)
	if err != nil || problem != nil {
		return false, err
	}
	if err := h.write(former, sent, false); err != nil {
		return false, err
	}
	h.wakeAt(v.hs, former.outcome.Next)
	return former.outcome.Done, nil
}
