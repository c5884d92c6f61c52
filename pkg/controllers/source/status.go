package source

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxKeys bounds the rows of status.keys, maxPath the bytes of a path there, and maxMessage those of a message of a condition: a
// person reads it, and the API server takes no more than 32768.
const (
	maxKeys    = 200
	maxPath    = 1024
	maxMessage = 1024
)

// outcome is what one sync has come to.
type outcome struct {
	// content is what the Secret holds now; nil when it was not changed.
	content *Content
	problem *Problem
	// fetch is true when a fetch was tried, and worked when only what comes after it has failed. lost is true when the
	// Secret is not as it should be.
	fetch, worked, lost bool
	// again is true when nothing was done, and only time can have changed something.
	again bool
	// event is reason and message of what was done.
	event [2]string
	// version of the Secret.
	version string
}

// withoutValues is what may be kept of an outcome.
func (o outcome) withoutValues() *outcome {
	if o.content != nil {
		content := *o.content
		content.Data, content.Metadata = nil, Metadata{}
		o.content = &content
	}
	return &o
}

// happened is one event.
type happened struct {
	warning         bool
	reason, message string
}

// apply writes an outcome into the status of a source. next is when to fetch again.
func apply(src v1alpha1.Source, o outcome, next, now time.Time) {
	status := src.Made()
	if !o.again {
		status.ObservedGeneration = src.GetGeneration()
		status.NextFetchAt = timeOf(next)
	}
	if content := o.content; content != nil {
		status.SecretName, status.SecretVersion = targetName(src), o.version
		if !content.Unfetched {
			status.RefreshedFor = refreshOf(src)
		}
		status.LastFetchedAt, status.StaleAt = timeOf(content.FetchedAt), timeOf(content.StaleAt)
		if !content.Same || content.Keys != nil {
			status.Keys, status.KeysOmitted = rows(content.Keys)
		}
		if !content.Same && !content.Unfetched {
			setWhile(src, len(content.LeftOut) > 0, v1alpha1.ConditionKeysLeftOut, v1alpha1.ReasonInvalidKeys, "a Secret cannot have these keys, so they are left out: "+list(content.LeftOut)+"; rename them at their source, or fetch all as one key where the kind has targetFormat")
		}
		if content.Report != nil {
			content.Report(src)
		}
	}
	stale := status.StaleAt != nil && !now.Before(status.StaleAt.Time)
	conditions(src, o, stale)
}

func conditions(src v1alpha1.Source, o outcome, stale bool) {
	p := o.problem
	switch {
	case o.content != nil && !o.content.Unfetched, o.worked:
		set(src, v1alpha1.ConditionFetched, metav1.ConditionTrue, v1alpha1.ReasonUpToDate, "the last request has worked")
	case o.fetch && p != nil:
		set(src, v1alpha1.ConditionFetched, metav1.ConditionFalse, p.Reason, p.Message)
	}
	ready := condition(src.Made(), v1alpha1.ConditionReady)
	wasReady := ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == src.GetGeneration()
	setWhile(src, stale, v1alpha1.ConditionStale, v1alpha1.ReasonStale, staleMessage(src))
	switch {
	case stale:
		set(src, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonStale, staleMessage(src))
	case o.again:
		return
	case p == nil:
		set(src, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUpToDate, "Secret "+targetName(src)+" holds what was fetched last")
	case p.Reason == v1alpha1.ReasonUnavailable && wasReady && !o.lost:
		// The Secret keeps what it has, until that is stale.
	default:
		set(src, v1alpha1.ConditionReady, metav1.ConditionFalse, p.Reason, p.Message)
	}
	isReady := meta.IsStatusConditionTrue(src.Made().Conditions, v1alpha1.ConditionReady)
	if p != nil {
		setWhile(src, p.Heals && !isReady, v1alpha1.ConditionReconciling, p.Reason, p.Message)
		setWhile(src, !p.Heals, v1alpha1.ConditionStalled, p.Reason, p.Message)
	} else if !o.again {
		setWhile(src, false, v1alpha1.ConditionReconciling, "", "")
		setWhile(src, false, v1alpha1.ConditionStalled, "", "")
	}
}

func staleMessage(src v1alpha1.Source) string {
	return "Secret " + targetName(src) + " holds what is too old, or no longer valid; the condition Fetched says why it could not be fetched again"
}

// set writes a condition. The words of an outage stay as they are as long as it lasts: it fails in different ways. Another
// spec may ask another server.
func set(src v1alpha1.Source, conditionType string, status metav1.ConditionStatus, reason, message string) {
	made := src.Made()
	message = cut(message)
	if old := condition(made, conditionType); old != nil && old.Status == status && old.Reason == reason && reason == v1alpha1.ReasonUnavailable && old.ObservedGeneration == src.GetGeneration() {
		message = old.Message
	}
	meta.SetStatusCondition(&made.Conditions, metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: message, ObservedGeneration: src.GetGeneration()})
}

// cut shortens a message that is too long.
func cut(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	const mark = "…"
	return strings.ToValidUTF8(message[:maxMessage-len(mark)], "") + mark
}

// setWhile has a condition that is there only while it is true.
func setWhile(src v1alpha1.Source, true bool, conditionType, reason, message string) {
	if true {
		set(src, conditionType, metav1.ConditionTrue, reason, message)
		return
	}
	meta.RemoveStatusCondition(&src.Made().Conditions, conditionType)
}

func condition(status *v1alpha1.SourceStatus, conditionType string) *metav1.Condition {
	return meta.FindStatusCondition(status.Conditions, conditionType)
}

func rows(keys map[string]Origin) ([]v1alpha1.KeyOrigin, int32) {
	var out []v1alpha1.KeyOrigin
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if len(out) == maxKeys {
			break
		}
		out = append(out, v1alpha1.KeyOrigin{Key: key, Path: strings.ToValidUTF8(keys[key].Path[:min(len(keys[key].Path), maxPath)], ""), Version: keys[key].Version})
	}
	return out, int32(len(keys) - len(out)) //nolint:gosec // a Secret has no 2^31 keys
}

func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	// The API holds whole seconds.
	return &metav1.Time{Time: t.Truncate(time.Second)}
}

// transitions are the events of a change of the status.
func transitions(before, after *v1alpha1.SourceStatus, o outcome) []happened {
	var out []happened
	if o.event[0] != "" {
		out = append(out, happened{reason: o.event[0], message: o.event[1]})
	}
	told := ""
	for _, conditionType := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionFetched} {
		old, now := condition(before, conditionType), condition(after, conditionType)
		switch {
		case now == nil || old != nil && old.Status == now.Status && old.Reason == now.Reason || now.Reason == told:
		case now.Status == metav1.ConditionFalse:
			out = append(out, happened{true, now.Reason, now.Message})
			told = now.Reason
		case old != nil:
			out = append(out, happened{false, now.Reason, now.Message})
			told = now.Reason
		}
	}
	return out
}
