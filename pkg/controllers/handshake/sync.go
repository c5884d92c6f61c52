package handshake

import (
	"errors"
	"fmt"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
)

// sync is one reconcile: gather, decide, act, status. It can be stopped between any two writes: the next sync finds
// what was written and goes on from there.
func (h *handler) sync(hs *v1alpha1.FleetHandshake) (*v1alpha1.FleetHandshake, error) {
	clusters, problem, err := h.match(hs)
	if err != nil {
		return hs, err
	}
	current, taken, err := h.currentBundle(hs)
	if err != nil {
		return hs, err
	}
	deployments, err := h.deployments(current)
	if err != nil {
		return hs, err
	}
	if problem == nil {
		problem = taken
	}
	confirmed, refused := syncstatus.Answers(current, deployments, clusters)
	var failed error
	if problem == nil {
		current, problem, failed = h.deliver(hs, current, confirmed, refused)
		if failed != nil {
			if problem = writeRefused(hs, failed); problem == nil {
				return hs, failed
			}
		}
	}
	if problem != nil && problem.Reason == v1alpha1.ReasonNameTaken {
		h.Handshakes.EnqueueAfter(hs.Namespace, hs.Name, later)
	}
	h.scheduleNext(hs, current, confirmed, refused)
	written, err := h.writeStatus(hs, syncstatus.Aggregate(syncstatus.Input{
		Handshake: hs, Bundle: current, Deployments: deployments, Clusters: clusters,
		Problem: problem, Now: h.Clock.Now(),
	}))
	return written, errors.Join(failed, err)
}

// writeRefused makes a problem of an error that a retry alone will not mend. The API server's own text is left to the
// log.
func writeRefused(hs *v1alpha1.FleetHandshake, err error) *syncstatus.Problem {
	if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
		return nil
	}
	return &syncstatus.Problem{
		State: v1alpha1.StateError, Reason: v1alpha1.ReasonWriteFailed,
		Message: fmt.Sprintf("the API server refuses what the operator reads or writes in namespace %s (%s); look for a missing permission, a quota or an admission policy, and into the operator's log", hs.Namespace, apierrors.ReasonForError(err)),
	}
}

// deliver brings the values Secret and then the Bundle in step with the source, and returns the Bundle as it then is.
// That order matters: Fleet retries when the hash in the Bundle is not that of the Secret, but does not watch the Secret.
func (h *handler) deliver(hs *v1alpha1.FleetHandshake, current *fleet.Bundle, confirmed, refused bool) (*fleet.Bundle, *syncstatus.Problem, error) {
	content, problem, err := h.seal(hs)
	if err != nil || content == nil {
		return current, problem, err
	}
	desired := bundle.Render(bundle.Request{
		Handshake: hs, Current: current,
		Hash: content.hash, Revision: content.revision, Names: content.names,
		Confirmed: confirmed, Refused: refused, Now: h.Clock.Now(),
	})
	written, taken, err := h.writeBundle(hs, current, desired)
	if err != nil || taken != nil {
		return current, taken, err
	}
	if !written.DeletionTimestamp.IsZero() {
		// What it replaces stays until it is there again.
		return written, problem, nil
	}
	return written, problem, h.deleteObsolete(hs, written.Name)
}

func (h *handler) match(hs *v1alpha1.FleetHandshake) ([]*fleet.Cluster, *syncstatus.Problem, error) {
	all, err := h.Clusters.Cache().List(hs.Namespace, labels.Everything())
	if err != nil {
		return nil, nil, fmt.Errorf("listing the clusters of namespace %s: %w", hs.Namespace, err)
	}
	groups, err := h.Groups.Cache().List(hs.Namespace, labels.Everything())
	if err != nil {
		return nil, nil, fmt.Errorf("listing the cluster groups of namespace %s: %w", hs.Namespace, err)
	}
	matched, err := target.Match(hs.Spec.Targets, all, groups)
	if err != nil {
		return nil, &syncstatus.Problem{
			State: v1alpha1.StateError, Reason: v1alpha1.ReasonInvalidTarget,
			Message: fmt.Sprintf("spec.%v; correct the selector", err),
		}, nil
	}
	return matched, nil, nil
}

func (h *handler) deployments(b *fleet.Bundle) ([]*fleet.BundleDeployment, error) {
	if b == nil {
		return nil, nil
	}
	found, err := h.Deployments.Cache().GetByIndex(indexByBundle, b.Namespace+"/"+b.Name)
	if err != nil {
		return nil, fmt.Errorf("listing the bundle deployments of %s/%s: %w", b.Namespace, b.Name, err)
	}
	return found, nil
}

// scheduleNext wakes the handshake when the data has to be written again. What is due already and was not done waits
// for the change that makes it possible.
func (h *handler) scheduleNext(hs *v1alpha1.FleetHandshake, b *fleet.Bundle, confirmed, refused bool) {
	if hs.Spec.Paused {
		return
	}
	delivery := bundle.DeliveryOf(b)
	due := []time.Time{delivery.ResyncDue(bundle.ResyncInterval(hs))}
	if confirmed {
		due = append(due, delivery.ScrubDue())
	}
	if refused {
		due = append(due, delivery.RetryDue())
	}
	for _, at := range due {
		if wait := at.Sub(h.Clock.Now()); wait > 0 {
			h.Handshakes.EnqueueAfter(hs.Namespace, hs.Name, wait)
		}
	}
}

func (h *handler) writeStatus(hs *v1alpha1.FleetHandshake, status v1alpha1.FleetHandshakeStatus) (*v1alpha1.FleetHandshake, error) {
	if equality.Semantic.DeepEqual(hs.Status, status) {
		return hs, nil
	}
	changed := hs.DeepCopy()
	changed.Status = status
	updated, err := h.Handshakes.UpdateStatus(changed)
	if err != nil {
		return hs, fmt.Errorf("writing the status of handshake %s/%s: %w", hs.Namespace, hs.Name, err)
	}
	h.remember(hs, func(m *memo) { m.status = updated })
	if hs.Status.Status != status.Status {
		logrus.WithFields(logrus.Fields{"handshake": hs.Namespace + "/" + hs.Name, "status": status.Status,
			"clusters": status.Display.ReadyClusters}).Info("status changed")
	}
	return updated, nil
}
