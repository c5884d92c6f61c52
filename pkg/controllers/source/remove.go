package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// giveUp is how long a deletion waits for what cannot be given back.
const giveUp = 10 * time.Minute

// remove gives back what a source that is being deleted has had made, and takes its keys out of a Secret that is not its
// own. The Secret that is its own goes with it.
func (c *Controller) remove(ctx context.Context, k key, src v1alpha1.Source) (time.Duration, error) {
	if !slices.Contains(src.GetFinalizers(), v1alpha1.FinalizerRelease) {
		return 0, nil
	}
	names := []string{targetName(src)}
	if former := src.Made().SecretName; former != "" && former != names[0] {
		names = append(names, former)
	}
	states, in, err := c.madeBy(ctx, k, src, names)
	if err == nil && c.kinds[k.kind].fetcher.Releases(src) {
		for _, state := range states {
			if failed := c.kinds[k.kind].fetcher.Release(ctx, src, state); failed != nil {
				err = failed
			}
		}
		if err != nil {
			err = c.problemOf(k, err)
		}
	}
	never := src.Made().SecretName == "" && c.refusal(k, err) != nil // a namespace that it may not work in
	if err != nil && !never && !c.letGo(ctx, k, src, err) {
		return c.notYet(ctx, k, src, err)
	}
	for _, live := range in {
		if ownedBy(live, src) {
			continue
		}
		if err := c.takeOut(ctx, k, src, live); err != nil && (c.refusal(k, err) == nil || !c.letGo(ctx, k, src, err)) {
			return c.notYet(ctx, k, src, err)
		}
	}
	_, err = c.setFinalizer(k, src, false)
	return 0, err
}

// notYet says why a deletion waits. What a retry mends is only tried again.
func (c *Controller) notYet(ctx context.Context, k key, src v1alpha1.Source, err error) (time.Duration, error) {
	var problem *Problem
	if !errors.As(err, &problem) && c.refusal(k, err) == nil {
		return 0, err
	}
	return c.waitForRelease(ctx, k, src, err)
}

// madeBy gives the Secrets that a source has something in, and the states of what it has had made.
func (c *Controller) madeBy(ctx context.Context, k key, src v1alpha1.Source, names []string) (states []json.RawMessage, in []*corev1.Secret, err error) {
	for _, name := range names {
		live, err := c.Secrets.Get(ctx, src.GetNamespace(), name)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, nil, doing(err, "reading Secret %s", name)
		}
		if r := recordOf(live, k.kind, src); r != nil && err == nil {
			states, in = append(states, r.State), append(in, live)
		}
	}
	if m := c.memo(k, src); len(in) == 0 && m.state != nil {
		states = append(states, m.state) // somebody was quicker with the Secret, as when a namespace goes
	}
	return states, in, nil
}

// problemIn is what to say of an error on the way to a deletion.
func (c *Controller) problemIn(k key, err error) *Problem {
	if problem := c.refusal(k, err); problem != nil {
		return problem
	}
	return c.problemOf(k, err)
}

// letGo says whether a deletion goes on although something could not be given back.
func (c *Controller) letGo(ctx context.Context, k key, src v1alpha1.Source, err error) bool {
	if src.GetAnnotations()[v1alpha1.AnnotationForceDelete] != "true" && c.Clock.Now().Sub(src.GetDeletionTimestamp().Time) < giveUp {
		return false
	}
	message := "not given back, and left until it ends by itself: " + c.problemIn(k, err).Message
	logrus.WithField("source", k.String()).Warn(message)
	if err := c.Events.Record(ctx, k.kind, src, true, v1alpha1.EventNotRevoked, message); err != nil {
		logrus.WithField("source", k.String()).Warn("the event about that could not be written")
	}
	return true
}

func (c *Controller) waitForRelease(ctx context.Context, k key, src v1alpha1.Source, err error) (time.Duration, error) {
	p := c.problemIn(k, err)
	message := fmt.Sprintf("not given back yet: %s; it is tried again for %s, or until the annotation %s is \"true\"", p.Message, giveUp, v1alpha1.AnnotationForceDelete)
	return c.report(ctx, k, src, outcome{problem: &Problem{Reason: v1alpha1.ReasonRevoking, Message: message, Heals: true}})
}

// leave ends what a source has in the Secret that it made before.
func (c *Controller) leave(ctx context.Context, k key, src v1alpha1.Source, former string) error {
	live, err := c.Secrets.Get(ctx, src.GetNamespace(), former)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return doing(err, "reading Secret %s", former)
	}
	r := recordOf(live, k.kind, src)
	if r == nil {
		return nil
	}
	if c.kinds[k.kind].fetcher.Releases(src) {
		if err := c.kinds[k.kind].fetcher.Release(ctx, src, r.State); err != nil {
			logrus.WithField("source", k.String()).Warn("what Secret " + former + " holds is not given back, and left until it ends by itself: " + c.problemOf(k, err).Message)
		}
	}
	return c.takeOut(ctx, k, src, live)
}

// takeOut takes what a source has made out of a Secret, or the Secret when it is its own.
func (c *Controller) takeOut(ctx context.Context, k key, src v1alpha1.Source, live *corev1.Secret) error {
	rest := withoutSource(live, k.kind, src)
	if rest == nil || ownedBy(live, src) {
		err := c.Writer.Secrets(live.Namespace).Delete(ctx, live.Name, exactly(live))
		if apierrors.IsNotFound(err) {
			return nil
		}
		return doing(err, "deleting Secret %s", live.Name)
	}
	_, err := c.Writer.Secrets(live.Namespace).Update(ctx, rest, metav1.UpdateOptions{FieldManager: manager})
	return doing(err, "updating Secret %s", live.Name)
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
