package handshake

import (
	"slices"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/audit"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
)

// Reasons in the audit log that are no reasons of conditions.
const (
	newRevision    = "NewRevision"
	newCluster     = "NewCluster"
	targetsChanged = "TargetsChanged"
	deleted        = "Deleted"
)

// record writes down whom a change of a Bundle sends the Secret to, and whom it takes it from. Either Bundle may be nil.
func (h *handler) record(v *view, before, after *fleet.Bundle) {
	had, have := receivers(before), receivers(after)
	send, why := without(have, had), newCluster
	revision := bundle.DeliveryOf(after).Revision()
	if revision != bundle.DeliveryOf(before).Revision() {
		send, why = have, newRevision
	}
	if len(send) > 0 {
		e := h.entry(v, audit.Send, why)
		e.Revision, e.TargetNamespace, e.Clusters = revision, after.Spec.DefaultNamespace, send
		_, e.SourceVersion, _ = strings.Cut(h.memo(v.hs).seen.source, "/")
		h.Audit.Record(e)
	}
	if back := without(had, have); len(back) > 0 {
		why := targetsChanged
		switch {
		case !v.hs.DeletionTimestamp.IsZero() && !v.revoked:
			why = deleted
		case v.problem != nil:
			why = v.problem.Reason
		case v.revoked, slices.ContainsFunc(back, func(c string) bool { return v.refused[c] }):
			why = v1alpha1.ReasonNotGranted
		}
		decision := audit.Withdraw
		if v.hs.Spec.DeletionPolicy == v1alpha1.DeletionRetain && why == deleted {
			decision = audit.Retain
		}
		e := h.entry(v, decision, why)
		if source := bundle.DeliveryOf(before).Source; source != "" {
			e.Source = source
		}
		e.TargetNamespace, e.Clusters = before.Spec.DefaultNamespace, back
		h.Audit.Record(e)
	}
}

// recordRefusal writes down that a Secret is not sent.
func (h *handler) recordRefusal(v *view, reason string, clusters []string) {
	e := h.entry(v, audit.Refuse, reason)
	e.TargetNamespace, e.Clusters = bundle.TargetNamespace(v.hs), clusters
	h.Audit.Record(e)
}

func (h *handler) entry(v *view, decision, reason string) audit.Entry {
	return audit.Entry{
		Decision: decision, Reason: reason, Handshake: v.hs, Grants: v.grant.By,
		Source: sourceOf(v.hs),
	}
}

// receivers are the clusters that a Bundle sends the Secret to.
func receivers(b *fleet.Bundle) []string {
	var names []string
	for name, t := range bundle.TargetsOf(b) {
		if !t.Withdraw {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// without are the names in a that are not in b; both are sorted.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(name string) bool {
		_, found := slices.BinarySearch(b, name)
		return found
	})
}
