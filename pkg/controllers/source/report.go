package source

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// otherwise is when a problem that only a person can mend elsewhere is looked at again.
const otherwise = 5 * time.Minute

// report says what there is to say of a source: status, events, metrics. It says when to look again.
func (c *Controller) report(ctx context.Context, k key, src v1alpha1.Source, o outcome) (time.Duration, error) {
	now := c.Clock.Now()
	m := c.memo(k, src)
	switch {
	case !o.again:
		m = c.plan(k, src, o, now)
	case m.unsaid != nil:
		o = *m.unsaid
	}
	changed := src.DeepCopyObject().(v1alpha1.Source) //nolint:forcetypeassert // a copy of the same type
	o.version = m.version
	apply(changed, o, m.next, now)
	for _, e := range transitions(src.Made(), changed.Made(), o) {
		if err := c.Events.Record(ctx, k.kind, src, e.warning, e.reason, e.message); err != nil {
			return 0, doing(err, "writing an event")
		}
	}
	before, after := src.Made().DeepCopy(), changed.Made().DeepCopy()
	if o.again {
		// The version alone is worth no write.
		before.SecretVersion, after.SecretVersion = "", ""
	}
	if !equality.Semantic.DeepEqual(before, after) || o.content != nil && o.content.Report != nil && !equality.Semantic.DeepEqual(src, changed) {
		changed.SetManagedFields(nil)
		written, err := c.kinds[k.kind].updateStatus(changed)
		if err != nil {
			return 0, doing(err, "writing the status of %s", k)
		}
		c.remember(k, src, func(m *memo) { m.written = written })
		logReady(k, src.Made(), changed.Made())
	}
	c.remember(k, src, func(m *memo) { m.unsaid = nil })
	return soonest(now, m.next, changed.Made().StaleAt), nil
}

// plan decides when to fetch again after an attempt.
func (c *Controller) plan(k key, src v1alpha1.Source, o outcome, now time.Time) memo {
	c.remember(k, src, func(m *memo) {
		m.problem, m.unsaid = o.problem, o.withoutValues()
		if o.content != nil {
			return
		}
		m.asked = asked(src)
		switch {
		case o.problem.Final:
			m.next, m.failures = time.Time{}, 0
		case o.problem.Heals:
			m.failures++
			m.next = now.Add(retryAfter(m.failures, chance()))
		default:
			wait := cmp.Or(o.problem.Retry, otherwise)
			m.failures = 0
			m.next = now.Add(wait - time.Duration(chance()*float64(wait)/5))
		}
		if by := o.problem.By; !by.IsZero() && (m.next.IsZero() || by.Before(m.next)) {
			m.next = by
		}
	})
	return c.memo(k, src)
}

// soonest is how long it is until the first of two times that is not past; 0 is never.
func soonest(now time.Time, next time.Time, stale *metav1.Time) time.Duration {
	var wait time.Duration
	if !next.IsZero() {
		wait = max(next.Sub(now), time.Millisecond)
	}
	if stale != nil && stale.After(now) {
		if until := stale.Sub(now); wait == 0 || until < wait {
			wait = until
		}
	}
	return wait
}

func logReady(k key, before, after *v1alpha1.SourceStatus) {
	old, now := condition(before, v1alpha1.ConditionReady), condition(after, v1alpha1.ConditionReady)
	if now == nil || old != nil && old.Reason == now.Reason && old.Status == now.Status {
		return
	}
	logrus.WithFields(logrus.Fields{"source": k.String(), "ready": strings.ToLower(string(now.Status)), "reason": now.Reason}).Info(now.Message)
}
