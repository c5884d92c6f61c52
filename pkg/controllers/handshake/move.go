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
	for _, b := range v.formers {
		done, denied := v.denied[b.Name]
		if !denied && !v.hs.Spec.Paused {
			var err error
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
	delivery, targets := bundle.DeliveryOf(v.current), bundle.TargetsOf(v.current)
	answers := syncstatus.Answers(v.hs.Namespace, v.deployments)
	former, err := h.former(v, b)
	if err != nil || former == nil {
		return false, err
	}
	former.matched = slices.DeleteFunc(slices.Clone(v.matched), func(c *fleet.Cluster) bool {
		return delivery.Confirmed(targets[c.Name], answers[c.Name])
	})
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

// letGo withdraws a former Bundle from all clusters, because the Secret may not be there any more, and says whether no
// cluster is left.
func (h *handler) letGo(v *view, b *fleet.Bundle) (bool, error) {
	former, err := h.former(v, b)
	if err != nil || former == nil {
		return false, err
	}
	former.revoked = true
	if err := h.withdraw(former, h.sealNothing); err != nil {
		return false, err
	}
	h.wakeAt(v.hs, former.outcome.Next)
	return former.outcome.Done, nil
}

// former is the view of a Bundle of another target namespace, as it was written last; nil when it is gone.
func (h *handler) former(v *view, b *fleet.Bundle) (*view, error) {
	f := &view{hs: v.hs.DeepCopy(), clusters: v.clusters, threshold: bundle.NeverHold}
	f.hs.Spec.TargetNamespace = b.Spec.DefaultNamespace
	written, problem, err := h.currentBundle(f.hs)
	if err != nil || problem != nil || written == nil {
		return nil, err
	}
	f.current = written
	f.deployments, err = h.deployments(b.Namespace, b.Name)
	return f, err
}
