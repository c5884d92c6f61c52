package source

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/secrets"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

func chance() float64 { return rand.Float64() } //nolint:gosec // jitter is no secret

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
	version := secrets.VersionOf(live)
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
		want.State, want.Data, want.Keys, want.Metadata, want.Type = r.State, dataOf(live, r), r.keys(), r.Fetched, live.Type
	}
	c.remember(k, src, func(m *memo) { m.woken, m.state = false, want.State })
	started := c.Clock.Now()
	content, err := fetcher.Fetch(ctx, src, want)
	failed := err
	if content.Unfetched {
		failed = content.Problem
	}
	c.metrics.fetched(k.kind, failed, c.Clock.Now().Sub(started))
	if err != nil {
		if ctx.Err() != nil {
			return 0, nil //nolint:nilerr // the operator ends
		}
		return c.report(ctx, k, src, outcome{problem: c.problemOf(k, err), fetch: true, lost: !asIs})
	}
	repaired := want.Repair && !asIs && !content.Unfetched && src.Made().SecretName == targetName(src)
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
		c.remember(k, src, func(m *memo) { m.version = secrets.VersionOf(live) })
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
		m.asked, m.next, m.version, m.failures, m.resumed = asked(src), content.Next, secrets.VersionOf(written), 0, true
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

func notServed(namespace string) *Problem {
	return &Problem{Reason: v1alpha1.ReasonSourceNotServed, Message: fmt.Sprintf("the operator does not watch the Secrets of namespace %s: add it to --source-namespaces", namespace)}
}
