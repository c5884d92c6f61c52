package handshake

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/grant"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
)

// view is what one sync has gathered and decided about a handshake.
type view struct {
	hs          *v1alpha1.FleetHandshake
	clusters    []*fleet.Cluster
	matched     []*fleet.Cluster
	inPartition map[string]bool
	current     *fleet.Bundle
	deployments []*fleet.BundleDeployment
	problem     *syncstatus.Problem
	outcome     bundle.Outcome
	groups      []*fleet.ClusterGroup
	// formers are the Bundles of other target namespaces.
	formers []*fleet.Bundle
	// grant says whether the Secret may be sent, and never is true when its owner has marked it. refused are the
	// clusters that it may not be in.
	grant   grant.Decision
	never   bool
	refused map[string]bool
	// denied has the formers whose Secret may not be sent any more, and whether no cluster is left.
	denied map[string]bool
	// revoked is true when the copies have to go because the consent to send the Secret has.
	revoked bool
	// threshold is the WithdrawalThreshold of the Bundle.
	threshold int
	// withdrawn is true when no cluster is to have the Secret any more.
	withdrawn bool
}

// sync is one reconcile: gather, decide, act, status. It can be stopped between any two writes: the next sync finds
// what was written and goes on from there.
func (h *handler) sync(hs *v1alpha1.FleetHandshake) (*v1alpha1.FleetHandshake, error) {
	if !h.Workspaces.Has(hs.Namespace) {
		return h.report(&view{hs: hs, problem: notAWorkspace(hs)})
	}
	hs, err := h.addFinalizer(hs)
	if err != nil {
		return hs, err
	}
	v, err := h.gather(hs)
	if err != nil {
		return hs, err
	}
	if err := h.feed(v); err != nil {
		return hs, err
	}
	failed := h.deliver(v)
	if failed != nil {
		if v.problem = writeRefused(hs, failed); v.problem == nil {
			return hs, failed
		}
	}
	written, err := h.report(v)
	return written, errors.Join(failed, err)
}

// gather reads everything but the Secrets, from the caches.
func (h *handler) gather(hs *v1alpha1.FleetHandshake) (*view, error) {
	v := &view{hs: hs, threshold: h.Limits.WithdrawalThreshold}
	var err error
	if v.clusters, err = h.Clusters.Cache().List(hs.Namespace, labels.Everything()); err != nil {
		return nil, fmt.Errorf("listing the clusters of namespace %s: %w", hs.Namespace, err)
	}
	if v.groups, err = h.Groups.Cache().List(hs.Namespace, labels.Everything()); err != nil {
		return nil, fmt.Errorf("listing the cluster groups of namespace %s: %w", hs.Namespace, err)
	}
	if v.inPartition, err = target.InPartitions(hs.Spec.RolloutStrategy, v.clusters, v.groups); err != nil {
		v.problem = invalid(v1alpha1.ReasonInvalidRolloutStrategy, "spec.rolloutStrategy: ", err)
	}
	if v.matched, err = target.Match(hs.Spec.Targets, v.clusters, v.groups); err != nil {
		v.problem = invalid(v1alpha1.ReasonInvalidTarget, "spec.targets", err)
	}
	var taken *syncstatus.Problem
	if v.current, taken, err = h.currentBundle(hs); err != nil {
		return nil, err
	}
	v.problem = cmp.Or(v.problem, taken)
	if v.formers, err = h.bundles(hs, bundle.NameFor(hs)); err != nil {
		return nil, err
	}
	if v.deployments, err = h.deployments(hs.Namespace, bundle.NameFor(hs)); err != nil {
		return nil, err
	}
	return v, h.askForConsent(v)
}

func invalid(reason, field string, err error) *syncstatus.Problem {
	return &syncstatus.Problem{State: v1alpha1.StateError, Reason: reason, Message: fmt.Sprintf("%s%v; correct it. Until then nothing is changed in the clusters", field, err)}
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

// deliver brings the values Secret and then the Bundle in step with the source.
// That order matters: Fleet retries when the hash in the Bundle is not that of the Secret, but does not watch the Secret.
func (h *handler) deliver(v *view) error {
	if err := h.letGoOfDenied(v); err != nil {
		return err
	}
	broken := v.problem
	content, problem, err := h.toSend(v)
	if err != nil {
		return err
	}
	v.problem = problem
	v.revoked, err = h.isRevoked(v, content)
	if err != nil {
		return err
	}
	if v.revoked || h.sourceIsGone(v.hs, problem) {
		return h.clear(v)
	}
	if content == nil || broken != nil && !v.deliversToRefused() {
		return nil
	}
	if broken != nil {
		// Nothing is changed but that the refused clusters let go.
		v.matched = v.clusters
	}
	if problem != nil && (problem.Reason != v1alpha1.ReasonSecretNotFound || content.source != sourceOf(v.hs)) {
		// Who has what was sent before keeps it, and nobody else gets it: it may not be what the spec speaks of now.
		v.matched = v.keepers()
	}
	if err := h.write(v, content, false); err != nil {
		return err
	}
	if v.current == nil || !v.current.DeletionTimestamp.IsZero() {
		// What it replaces stays until it is there again.
		return nil
	}
	return errors.Join(h.confirmationUsed(v), h.moveOut(v))
}

// toSend is what is to be sent. With a problem it is what was sent before; nil when there is none. The source is read only
// when nothing forbids it.
func (h *handler) toSend(v *view) (*content, *syncstatus.Problem, error) {
	problem := cmp.Or(h.forbidden(v), v.problem)
	switch {
	case problem == nil:
		return h.seal(v)
	case v.current == nil:
		return nil, problem, nil
	}
	c, taken, err := h.sentLast(v)
	if taken != nil {
		// The values Secret is foreign; the Bundle still says what it has sent.
		c = contentOf(v.current)
	}
	return c, problem, err
}

// keepers are the clusters of matched that the Bundle names, but for the refused ones. One that was told to remove its copy
// gets it again only when the Secret is granted.
func (v *view) keepers() []*fleet.Cluster {
	targets := bundle.TargetsOf(v.current)
	return slices.DeleteFunc(slices.Clone(v.matched), func(c *fleet.Cluster) bool {
		t, named := targets[c.Name]
		return !named || v.refused[c.Name] || t.Withdraw && !v.grant.Granted
	})
}

// deliversToRefused says whether a cluster has, or has not confirmed to have removed, what it may not have.
func (v *view) deliversToRefused() bool {
	for name := range bundle.TargetsOf(v.current) {
		if v.refused[name] {
			return true
		}
	}
	return false
}

// clear withdraws from all clusters, and then deletes the Bundles and the values Secrets.
func (h *handler) clear(v *view) error {
	var keep []string
	for _, b := range v.formers {
		done, err := h.letGo(v, b)
		if err != nil {
			return err
		}
		if !done {
			keep = append(keep, b.Name)
		}
	}
	if v.current != nil && v.current.DeletionTimestamp.IsZero() {
		if err := h.withdraw(v, h.sealNothing); err != nil {
			return err
		}
		if !v.outcome.Done {
			return h.deleteAll(v, append(keep, v.current.Name)...)
		}
	}
	v.current = nil
	return h.deleteAll(v, keep...)
}

// sourceIsGone says whether the copies have to go because the Secret has.
func (h *handler) sourceIsGone(hs *v1alpha1.FleetHandshake, problem *syncstatus.Problem) bool {
	return problem != nil && problem.Reason == v1alpha1.ReasonSecretNotFound && hs.Spec.MissingSourcePolicy == v1alpha1.MissingSourceRemove &&
		!h.Clock.Now().Before(syncstatus.MissingSince(hs, h.Clock.Now()).Add(h.Limits.MissingGrace))
}

// write renders the Bundle and brings it in step.
func (h *handler) write(v *view, c *content, withdraw bool) error {
	if v.current != nil && !v.current.DeletionTimestamp.IsZero() {
		// Somebody deletes it by hand. It is created again when it is gone.
		return nil
	}
	desired, outcome := bundle.Render(bundle.Request{
		Handshake: v.hs, Current: v.current, Hash: c.hash, Revision: c.revision, Source: c.source, Names: c.names, Withdraw: withdraw,
		Clusters: v.clusters, Matched: v.matched, Refused: v.refused, Revoked: v.revoked, Answers: syncstatus.Answers(v.hs.Namespace, v.deployments),
		WithdrawalThreshold: v.threshold, Now: h.Clock.Now(),
	})
	if outcome.Done && !v.hs.DeletionTimestamp.IsZero() {
		// It goes now. A last change would only hand on what somebody has held back.
		v.outcome = outcome
		h.recordOutcome(v.hs, outcome)
		return nil
	}
	written, taken, err := h.writeBundle(v, desired)
	if err != nil {
		return err
	}
	if taken != nil {
		v.problem = taken
		return nil
	}
	v.current, v.outcome, v.withdrawn = written, outcome, withdraw
	h.recordOutcome(v.hs, outcome)
	return nil
}

// deployments are those of a Bundle, also when it is gone and they are not yet.
func (h *handler) deployments(namespace, name string) ([]*fleet.BundleDeployment, error) {
	found, err := h.Deployments.Cache().GetByIndex(indexByBundle, namespace+"/"+name)
	if err != nil {
		return nil, fmt.Errorf("listing the bundle deployments of %s/%s: %w", namespace, name, err)
	}
	return found, nil
}

// wakeAt wakes the handshake at a time; the zero time is never.
func (h *handler) wakeAt(hs *v1alpha1.FleetHandshake, at time.Time) {
	if !at.IsZero() {
		h.Handshakes.EnqueueAfter(hs.Namespace, hs.Name, max(0, at.Sub(h.Clock.Now())))
	}
}
