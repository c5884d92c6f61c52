package syncstatus

import (
	"fmt"
	"slices"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Event is one line of the history of a handshake.
type Event struct {
	Warning bool
	Reason  string
	Message string
}

// Transitions are the events between two states of a handshake. They count clusters instead of having one event for each.
func Transitions(old, now v1alpha1.FleetHandshakeStatus, before, rows []v1alpha1.ClusterStatus) []Event {
	var events []Event
	say := func(warning bool, reason, format string, args ...any) {
		events = append(events, Event{warning, reason, fmt.Sprintf(format, args...)})
	}
	was, is := ready(old), ready(now)
	deleted := is.Reason == v1alpha1.ReasonRemoving
	if now.Revision != old.Revision && now.Revision != "" && is.Reason != v1alpha1.ReasonPaused {
		say(false, v1alpha1.EventSent, "revision %s is on its way to %s", now.Revision, Number(int(now.Summary.Desired)))
	}
	// After a restart the rows that the status leaves out are not known: of these clusters there is nothing to say.
	former := states(before)
	partly := old.ClustersOmitted > 0 && len(before) <= MaxRows
	for _, t := range []struct {
		which   func(was, is v1alpha1.ClusterState) bool
		warning bool
		reason  string
		message string
	}{
		{into(v1alpha1.ClusterModified), true, v1alpha1.EventDriftFound, "the copy was deleted or edited in %s: %s"},
		{func(was, is v1alpha1.ClusterState) bool {
			return was == v1alpha1.ClusterModified && is == v1alpha1.ClusterSynced
		}, false, v1alpha1.EventDriftRepaired, "the copy is as it should be again in %s: %s"},
		{func(was, is v1alpha1.ClusterState) bool {
			return was != v1alpha1.ClusterWithdrawing && is == v1alpha1.ClusterWithdrawing && !deleted
		}, false, v1alpha1.EventWithdrawing, "the Secret is being removed from %s: %s"},
		{into(v1alpha1.ClusterOffline), true, v1alpha1.ReasonClusterOffline, "no report from %s: %s"},
		{func(was, is v1alpha1.ClusterState) bool {
			return was == v1alpha1.ClusterOffline && is != v1alpha1.ClusterOffline && is != v1alpha1.ClusterWithdrawing
		}, false, v1alpha1.EventClusterOnline, "reports again from %s: %s"},
	} {
		if names := changed(former, rows, partly, t.which); len(names) > 0 {
			say(t.warning, t.reason, t.message, Number(len(names)), List(names))
		}
	}
	switch {
	case now.Status == v1alpha1.StateSynced && (old.Status != v1alpha1.StateSynced || old.Revision != now.Revision):
		say(false, v1alpha1.ReasonSynced, "revision %s has arrived in all of %s", now.Revision, Number(int(now.Summary.Desired)))
	case (now.Status == v1alpha1.StateError || now.Status == v1alpha1.StateMissing) && (was == nil || was.Reason != is.Reason):
		say(true, is.Reason, "%s", is.Message)
	case (was == nil || was.Reason != is.Reason) && slices.Contains(quiet, is.Reason):
		say(false, is.Reason, "%s", is.Message)
	}
	return events
}

// quiet are the reasons of a handshake on its way that have an event. Of the others the rows or Sent tell.
var quiet = []string{v1alpha1.ReasonPaused, v1alpha1.ReasonNoTargets, v1alpha1.ReasonRemoving}

func into(state v1alpha1.ClusterState) func(was, is v1alpha1.ClusterState) bool {
	return func(was, is v1alpha1.ClusterState) bool { return was != state && is == state }
}

func ready(s v1alpha1.FleetHandshakeStatus) *metav1.Condition {
	return meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
}

func states(rows []v1alpha1.ClusterStatus) map[types.NamespacedName]v1alpha1.ClusterState {
	out := make(map[types.NamespacedName]v1alpha1.ClusterState, len(rows))
	for _, r := range rows {
		out[KeyOf(r)] = r.State
	}
	return out
}

func changed(before map[types.NamespacedName]v1alpha1.ClusterState, rows []v1alpha1.ClusterStatus, partly bool, which func(was, is v1alpha1.ClusterState) bool) []string {
	var names []string
	for _, r := range rows {
		state, known := before[KeyOf(r)]
		if (known || !partly) && which(state, r.State) {
			names = append(names, r.Name)
		}
	}
	return names
}
