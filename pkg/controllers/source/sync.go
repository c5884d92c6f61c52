package source

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/ptr"
)

// otherwise is when a problem that only a person can mend elsewhere is looked at again.
const otherwise = 5 * time.Minute

func chance() float64 { return rand.Float64() } //nolint:gosec // jitter is no secret

// stepError says what the operator was doing when the API server answered with an error.
type stepError struct {
	doing string
	err   error
}

func (e *stepError) Error() string { return e.doing + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

func doing(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &stepError{fmt.Sprintf(format, args...), err}
}

// step is what was being done, without the words of the API server.
func step(err error) string {
	var s *stepError
	if errors.As(err, &s) {
		return s.doing
	}
	return "unknown"
}

// sync brings one source and its Secret in step. It says how long to wait until the next sync; 0 is until something
// changes. It can be stopped between any two writes.
func (c *Controller) sync(ctx context.Context, k key) (time.Duration, error) {
	kind := c.kinds[k.kind]
	cached, err := kind.get(k.namespace, k.name)
	if apierrors.IsNotFound(err) {
		c.forget(k)
		return 0, nil
	}
	if err != nil {
		return 0, doing(err, "reading the cache")
	}
	c.succeed(k, cached)
	c.aim(k, cached)
	src := c.newest(k, cached)
	if !src.GetDeletionTimestamp().IsZero() {
		return c.remove(ctx, k, src)
	}
	if c.needsFinalizer(k, src) {
		if src, err = c.setFinalizer(k, src, true); err != nil {
			return c.forbidden(ctx, k, src, err)
		}
	}
	m := c.memo(k, src)
	if m.uid == "" {
		c.remember(k, src, func(m *memo) { recall(m, src) })
		m = c.memo(k, src)
	}
	now := c.Clock.Now()
	due := m.woken || m.asked != asked(src) || !m.next.IsZero() && !now.Before(m.next)
	check := c.Secrets.Version(k.namespace, targetName(src)) != m.version
	switch {
	case !c.Secrets.Serves(k.namespace):
		return c.report(ctx, k, src, outcome{problem: notServed(k.namespace)})
	case due || check:
		return c.act(ctx, k, src, m, due)
	case !c.resume(ctx, k, src, m):
		return c.act(ctx, k, src, m, true)
	}
	return c.report(ctx, k, src, outcome{problem: m.problem, again: true})
}

// recall takes up after a restart what the status says. What has no time for the next fetch had a problem that stays until
// something changes: it may have changed while nobody looked.
func recall(m *memo, src v1alpha1.Source) {
	status := src.Made()
	if status.LastFetchedAt == nil || status.NextFetchAt == nil || status.ObservedGeneration != src.GetGeneration() || status.RefreshedFor != refreshOf(src) {
		return
	}
	m.asked, m.version, m.next = asked(src), status.SecretVersion, status.NextFetchAt.Time
}

// resume lets the Fetcher take up after a restart what is still good. false wants a fetch.
func (c *Controller) resume(ctx context.Context, k key, src v1alpha1.Source, m memo) bool {
	if m.resumed || m.problem != nil {
		return true
	}
	state := func() (json.RawMessage, error) {
		live, err := c.read(ctx, src)
		r := recordOf(live, k.kind, src)
		if r == nil {
			return nil, err
		}
		c.remember(k, src, func(m *memo) { m.state = r.State })
		return r.State, err
	}
	if !c.kinds[k.kind].fetcher.Resume(ctx, src, state) {
		return false
	}
	c.remember(k, src, func(m *memo) { m.resumed = true })
	return true
}

// act looks at the Secret, fetches what it is to hold when that is due or when it is not as it should be, and writes it.
func (c *Controller) act(ctx context.Context, k key, src v1alpha1.Source, m memo, due bool) (time.Duration, error) {
	fetcher := c.kinds[k.kind].fetcher
	live, err := c.read(ctx, src)
	if err != nil {
		return c.forbidden(ctx, k, src, err)
	}
	version := VersionOf(live)
	if problem := claim(live, k.kind, src, c.alive(k.namespace)); problem != nil {
		c.remember(k, src, func(m *memo) { m.asked, m.woken, m.version, m.next = asked(src), false, version, time.Time{} })
		return c.report(ctx, k, src, outcome{problem: problem})
	}
	r := recordOf(live, k.kind, src)
	asIs := untouched(live, k.kind, src)
	if !due && asIs && (m.problem == nil || !m.problem.Final) && c.resume(ctx, k, src, m) {
		c.remember(k, src, func(m *memo) { m.version = version })
		return c.report(ctx, k, src, outcome{problem: m.problem, again: true})
	}
	if !due {
		if wait := c.repairAfter(k, src).Sub(c.Clock.Now()); wait > 0 {
			return wait, nil
		}
	}
	refresh := refreshOf(src)
	want := Want{Fresh: refresh != "" && refresh != src.Made().RefreshedFor, Repair: !due, Intact: intact(live, k.kind, src), State: m.state}
	if r != nil {
		want.State, want.Data, want.Keys = r.State, dataOf(live, r), r.keys()
	}
	c.remember(k, src, func(m *memo) { m.woken, m.state = false, want.State })
	started := c.Clock.Now()
	content, err := fetcher.Fetch(ctx, src, want)
	c.metrics.fetched(k.kind, err, c.Clock.Now().Sub(started))
	if err != nil {
		if ctx.Err() != nil {
			return 0, nil //nolint:nilerr // the operator ends
		}
		return c.report(ctx, k, src, outcome{problem: c.problemOf(k, err), fetch: true, lost: !asIs})
	}
	repaired := want.Repair && !asIs && src.Made().SecretName == targetName(src)
	return c.write(ctx, k, src, live, content, repaired)
}

// alive says of the name in a record whether that source is still there.
func (c *Controller) alive(namespace string) func(string, types.UID) bool {
	return func(record string, uid types.UID) bool {
		kind, name, _ := strings.Cut(record, "/")
		if c.kinds[kind].get == nil {
			return true // of another version of the operator
		}
		src, err := c.kinds[kind].get(namespace, name)
		return err != nil && !apierrors.IsNotFound(err) || err == nil && src.GetUID() == uid
	}
}

// write brings the Secret in step with its content.
func (c *Controller) write(ctx context.Context, k key, src v1alpha1.Source, live *corev1.Secret, content Content, repaired bool) (time.Duration, error) {
	secret, recreate, problem := build(live, k.kind, src, content)
	if problem != nil {
		if !problem.Final && !content.Next.IsZero() {
			// What is fetched then may fit.
			problem.Retry = max(content.Next.Sub(c.Clock.Now()), time.Second)
		}
		c.remember(k, src, func(m *memo) { m.version = VersionOf(live) })
		return c.unwritten(ctx, k, src, content, problem)
	}
	if content.Same {
		// The status may not say it yet: a process can end before it has written that.
		content.Keys = recordOf(live, k.kind, src).keys()
	}
	o := outcome{content: &content, problem: content.Problem, fetch: true}
	written := live
	if live == nil || recreate || !equal(live, secret) {
		var err error
		if written, err = c.put(ctx, live, secret, recreate); err != nil {
			problem := c.refusal(k, err)
			wait, reported := c.unwritten(ctx, k, src, content, problem)
			if problem == nil {
				return 0, err
			}
			return wait, reported
		}
		switch {
		case repaired:
			c.remember(k, src, func(m *memo) { m.repairs, m.repairedAt = m.repairs+1, c.Clock.Now() })
			o.event = [2]string{v1alpha1.EventRepaired, fmt.Sprintf("Secret %s was edited or deleted, and is as it should be again", secret.Name)}
		case !content.Same:
			o.event = [2]string{v1alpha1.EventWritten, fmt.Sprintf("Secret %s has new content", secret.Name)}
		}
		logrus.WithFields(logrus.Fields{"source": k.String(), "secret": secret.Name, "keys": len(content.Data)}).Info("Secret written")
	}
	c.remember(k, src, func(m *memo) { m.state = content.State })
	settled, err := c.kinds[k.kind].fetcher.Settle(ctx, src, content.State)
	if err == nil && string(settled) != string(content.State) {
		content.Same, content.State = true, settled
		if secret, _, problem = build(written, k.kind, src, content); problem == nil {
			if written, err = c.put(ctx, written, secret, false); err != nil {
				return c.forbidden(ctx, k, src, err)
			}
		}
	} else if err != nil {
		content.Next = c.Clock.Now().Add(lastRetry)
		logrus.WithField("source", k.String()).Warn("what the Secret held before is not given back yet: " + c.problemOf(k, err).Message)
	}
	if former := src.Made().SecretName; former != "" && former != targetName(src) {
		if err := c.leave(ctx, k, src, former); err != nil {
			return c.forbidden(ctx, k, src, err)
		}
	}
	if !c.needsFinalizer(k, src) {
		if src, err = c.setFinalizer(k, src, false); err != nil {
			return c.forbidden(ctx, k, src, err)
		}
	}
	c.remember(k, src, func(m *memo) {
		m.asked, m.next, m.version, m.failures, m.resumed = asked(src), content.Next, VersionOf(written), 0, true
	})
	return c.report(ctx, k, src, o)
}

// repairAfter is from when on the Secret may be put right. Once is at once. When somebody changes it again and again, it
// is done less and less often: each time can make a new credential.
func (c *Controller) repairAfter(k key, src v1alpha1.Source) (at time.Time) {
	now := c.Clock.Now()
	c.remember(k, src, func(m *memo) {
		if now.Sub(m.repairedAt) > 2*lastRetry {
			m.repairs = 0
		}
		if m.repairs > 0 {
			at = m.repairedAt.Add(retryAfter(m.repairs, 0))
		}
	})
	return at
}

// unwritten gives back what could not be written, and reports the problem, if there is one.
func (c *Controller) unwritten(ctx context.Context, k key, src v1alpha1.Source, content Content, problem *Problem) (time.Duration, error) {
	if !content.Same {
		c.kinds[k.kind].fetcher.Discard(ctx, src, content.State)
	}
	if problem == nil {
		return 0, nil
	}
	return c.report(ctx, k, src, outcome{problem: problem, fetch: true, worked: true})
}

// VersionOf is different whenever a Secret is; empty for nil.
func VersionOf(secret *corev1.Secret) string {
	if secret == nil {
		return ""
	}
	return string(secret.UID) + "/" + secret.ResourceVersion
}

// read reads the Secret of a source; nil when there is none.
func (c *Controller) read(ctx context.Context, src v1alpha1.Source) (*corev1.Secret, error) {
	live, err := c.Secrets.Get(ctx, src.GetNamespace(), targetName(src))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return live, doing(err, "reading Secret %s", targetName(src))
}

// put writes a Secret in the place of live, when that is still as it was.
func (c *Controller) put(ctx context.Context, live, secret *corev1.Secret, recreate bool) (*corev1.Secret, error) {
	client := c.Writer.Secrets(secret.Namespace)
	if recreate {
		if err := client.Delete(ctx, live.Name, exactly(live)); err != nil {
			return nil, doing(err, "deleting Secret %s, whose type is another one", live.Name)
		}
		live = nil
	}
	if live == nil {
		written, err := client.Create(ctx, secret, metav1.CreateOptions{FieldManager: manager})
		return written, doing(err, "creating Secret %s", secret.Name)
	}
	written, err := client.Update(ctx, secret, metav1.UpdateOptions{FieldManager: manager})
	return written, doing(err, "updating Secret %s", secret.Name)
}

func exactly(o metav1.Object) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(o.GetUID()), ResourceVersion: ptr.To(o.GetResourceVersion())}}
}

// problemOf is what to say of an error of a Fetcher.
func (c *Controller) problemOf(k key, err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	logrus.WithField("source", k.String()).Error("fetching has failed: " + step(err))
	return &Problem{Reason: v1alpha1.ReasonUnavailable, Message: "the API server does not answer; look into the operator's log", Heals: true}
}

// forbidden reports an error of the API server that a retry alone does not mend; others it gives back.
func (c *Controller) forbidden(ctx context.Context, k key, src v1alpha1.Source, err error) (time.Duration, error) {
	problem := c.refusal(k, err)
	if problem == nil {
		return 0, err
	}
	return c.report(ctx, k, src, outcome{problem: problem})
}

// refusal is what to say of an error of the API server that a retry alone does not mend; nil of others.
func (c *Controller) refusal(k key, err error) *Problem {
	switch {
	case apierrors.IsForbidden(err):
		return &Problem{Reason: v1alpha1.ReasonNotAllowed, Message: fmt.Sprintf("the API server does not allow %s: bind the operator to ClusterRole fleet-handshake-sources in namespace %s (value vault.namespaces of the chart), or look for a quota or an admission policy", step(err), k.namespace)}
	case apierrors.IsInvalid(err):
		return &Problem{Reason: v1alpha1.ReasonWriteFailed, Message: fmt.Sprintf("the API server refuses %s because of %s: correct the spec; an immutable Secret has to be deleted", step(err), fieldsOf(err))}
	}
	return nil
}

// fieldsOf names the fields that the API server refuses, without what they hold.
func fieldsOf(err error) string {
	var answer apierrors.APIStatus
	var names []string
	if errors.As(err, &answer) && answer.Status().Details != nil {
		for _, cause := range answer.Status().Details.Causes {
			names = append(names, cause.Field)
		}
	}
	if len(names) == 0 {
		return "its content"
	}
	return list(names)
}

// newest is a source as it is now, even when the cache is behind our last write.
func (c *Controller) newest(k key, cached v1alpha1.Source) v1alpha1.Source {
	m := c.memo(k, cached)
	if m.written == nil {
		return cached
	}
	order, err := resourceversion.CompareResourceVersion(m.written.GetResourceVersion(), cached.GetResourceVersion())
	if err == nil && order > 0 {
		return m.written
	}
	return cached
}

// needsFinalizer says whether a source has something to give back, or keys in a Secret that does not go with it.
func (c *Controller) needsFinalizer(k key, src v1alpha1.Source) bool {
	return merges(src) || c.kinds[k.kind].fetcher.Releases(src)
}

func (c *Controller) setFinalizer(k key, src v1alpha1.Source, wanted bool) (v1alpha1.Source, error) {
	finalizers := src.GetFinalizers()
	var kept []string
	has := false
	for _, f := range finalizers {
		if f == v1alpha1.FinalizerRelease {
			has = true
		} else {
			kept = append(kept, f)
		}
	}
	if has == wanted {
		return src, nil
	}
	if wanted {
		kept = append(kept, v1alpha1.FinalizerRelease)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": kept, "resourceVersion": src.GetResourceVersion(), "uid": src.GetUID()}})
	if err != nil {
		return src, doing(err, "writing the finalizer")
	}
	written, err := c.kinds[k.kind].patch(k.namespace, k.name, patch)
	if err != nil {
		return src, doing(err, "changing the finalizer of %s", k)
	}
	c.remember(k, src, func(m *memo) { m.written = written })
	return written, nil
}

func notServed(namespace string) *Problem {
	return &Problem{Reason: v1alpha1.ReasonSourceNotServed, Message: fmt.Sprintf("the operator does not watch the Secrets of namespace %s: add it to --source-namespaces", namespace)}
}

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
