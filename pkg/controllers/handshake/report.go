package handshake

import (
	"fmt"
	"slices"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// statusInterval is the least time between two writes of one status: a rollout to thousands of clusters changes it all
// the time.
const statusInterval = time.Second

// report says what there is to say of a handshake: status, events, metrics, log. It also sees to it that the handshake
// is looked at again when time alone changes something.
func (h *handler) report(v *view) (*v1alpha1.FleetHandshake, error) {
	last := h.memo(v.hs).last
	if last == nil {
		last = &syncstatus.Result{Status: v.hs.Status, Rows: v.hs.Status.Clusters}
	}
	now := h.Clock.Now()
	result := syncstatus.Aggregate(syncstatus.Input{
		Handshake: v.hs, Bundle: v.current, Deployments: v.deployments, Clusters: v.clusters, Matched: v.matched,
		InPartition: v.inPartition, Withdraw: v.withdrawn, Before: last.Rows, Problem: v.problem, Held: v.outcome.Held,
		Refused: v.refused, Refusal: v.grant.Message,
		OfflineAfter: h.Limits.OfflineAfter, StuckAfter: h.Limits.StuckAfter, MissingGrace: h.Limits.MissingGrace, Now: now,
	})
	if v.problem != nil && v.problem.Reason == v1alpha1.ReasonNameTaken {
		h.Handshakes.EnqueueAfter(v.hs.Namespace, v.hs.Name, later)
	}
	h.wakeAt(v.hs, v.outcome.Next)
	h.wakeAt(v.hs, result.Next)
	refused := without(notGranted(result.Rows), notGranted(last.Rows))
	for _, e := range syncstatus.Transitions(last.Status, result.Status, last.Rows, result.Rows) {
		// When this fails, the next report finds the same transition.
		if err := h.event(v.hs, e); err != nil {
			return v.hs, err
		}
		if p := v.problem; p != nil && p.Source && e.Reason == p.Reason {
			h.recordRefusal(v, e.Reason, refused)
			refused = nil
		}
	}
	if len(refused) > 0 {
		h.recordRefusal(v, v1alpha1.ReasonNotGranted, refused)
	}
	h.remember(v.hs, func(m *memo) {
		m.last, m.unsynced = &result, unsyncedSince(m.unsynced, result.Rows)
	})
	// The status holds whole seconds.
	if before := last.Status.LastSyncedAt; result.Status.Status == v1alpha1.StateSynced && (before == nil || before.Time.Before(result.SentAt.Truncate(time.Second))) {
		h.metrics.propagation.Observe(now.Sub(result.SentAt).Seconds())
	}
	if last.Status.Status != result.Status.Status {
		logrus.WithFields(logrus.Fields{"handshake": v.hs.Namespace + "/" + v.hs.Name, "status": result.Status.Status,
			"clusters": result.Status.Display.ReadyClusters}).Info("status changed")
	}
	return h.writeStatus(v.hs, result.Status)
}

func unsyncedSince(before map[types.NamespacedName]time.Time, rows []v1alpha1.ClusterStatus) map[types.NamespacedName]time.Time {
	now := map[types.NamespacedName]time.Time{}
	for _, r := range rows {
		if r.State == v1alpha1.ClusterSynced || r.State == v1alpha1.ClusterWithdrawing {
			continue
		}
		key := syncstatus.KeyOf(r)
		now[key] = r.Since.Time
		if at, ok := before[key]; ok {
			now[key] = at
		}
	}
	return now
}

// notGranted are the clusters of rows that the Secret may not be sent to, sorted.
func notGranted(rows []v1alpha1.ClusterStatus) []string {
	var names []string
	for _, r := range rows {
		if r.Reason == v1alpha1.ClusterNotGranted {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// event is not written outside of the workspaces.
func (h *handler) event(hs *v1alpha1.FleetHandshake, e syncstatus.Event) error {
	if !h.Workspaces.Has(hs.Namespace) {
		return nil
	}
	return h.recorder.Record(h.ctx, "FleetHandshake", hs, e.Warning, e.Reason, e.Message)
}

// tell writes an event of what cannot be found out again.
func (h *handler) tell(hs *v1alpha1.FleetHandshake, e syncstatus.Event) {
	if err := h.event(hs, e); err != nil {
		logrus.WithField("handshake", hs.Namespace+"/"+hs.Name).WithError(err).Warn(e.Message)
	}
}

// recordOutcome has an event for the clusters that were withdrawn from.
func (h *handler) recordOutcome(hs *v1alpha1.FleetHandshake, o bundle.Outcome) {
	if n := len(o.Withdrawn); n > 0 {
		h.tell(hs, syncstatus.Event{Reason: v1alpha1.EventWithdrawn, Message: fmt.Sprintf("the Secret was removed from %s: %s", syncstatus.Number(n), syncstatus.List(o.Withdrawn))})
	}
	if n := len(o.Unconfirmed); n > 0 {
		then := "Each removes its copy when its agent is back"
		if hs.Spec.DeletionPolicy == v1alpha1.DeletionRetain {
			then = "Each may remove its copy when its agent is back, because it has not learnt that it has to keep it"
		}
		h.tell(hs, syncstatus.Event{Warning: true, Reason: v1alpha1.EventNotConfirmed, Message: fmt.Sprintf("not waiting any longer for the confirmation of %s: %s. %s", syncstatus.Number(n), syncstatus.List(o.Unconfirmed), then)})
		logrus.WithFields(logrus.Fields{"handshake": hs.Namespace + "/" + hs.Name, "clusters": o.Unconfirmed}).Warn("clusters have not confirmed a removal")
	}
}

// writeStatus writes the status when it has changed, at most once in each statusInterval.
func (h *handler) writeStatus(hs *v1alpha1.FleetHandshake, status v1alpha1.FleetHandshakeStatus) (*v1alpha1.FleetHandshake, error) {
	if equality.Semantic.DeepEqual(hs.Status, status) {
		return hs, nil
	}
	if wait := statusInterval - time.Since(h.memo(hs).statusAt); wait > 0 {
		h.Handshakes.EnqueueAfter(hs.Namespace, hs.Name, wait)
		return hs, nil
	}
	changed := hs.DeepCopy()
	changed.Status = status
	// The cache does not hold all of them.
	changed.ManagedFields = nil
	updated, err := h.Handshakes.UpdateStatus(changed)
	if err != nil {
		return hs, fmt.Errorf("writing the status of handshake %s/%s: %w", hs.Namespace, hs.Name, err)
	}
	h.remember(hs, func(m *memo) { m.status, m.statusAt = updated, time.Now() })
	return updated, nil
}
