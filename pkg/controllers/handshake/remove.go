package handshake

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// addFinalizer puts our finalizer on a handshake, before anything is sent for it.
func (h *handler) addFinalizer(hs *v1alpha1.FleetHandshake) (*v1alpha1.FleetHandshake, error) {
	if slices.Contains(hs.Finalizers, v1alpha1.Finalizer) {
		return hs, nil
	}
	return h.patchMeta(hs, map[string]any{"finalizers": append(slices.Clone(hs.Finalizers), v1alpha1.Finalizer)})
}

// release takes the finalizer away. The garbage collector then takes the Bundle and the values Secret.
func (h *handler) release(hs *v1alpha1.FleetHandshake) (*v1alpha1.FleetHandshake, error) {
	kept := slices.DeleteFunc(slices.Clone(hs.Finalizers), func(f string) bool { return f == v1alpha1.Finalizer })
	_, err := h.patchMeta(hs, map[string]any{"finalizers": kept})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return hs, err
}

// patchMeta changes metadata of a handshake, unless somebody has changed the handshake since.
func (h *handler) patchMeta(hs *v1alpha1.FleetHandshake, fields map[string]any) (*v1alpha1.FleetHandshake, error) {
	fields["uid"], fields["resourceVersion"] = hs.UID, hs.ResourceVersion
	patch, err := json.Marshal(map[string]any{"metadata": fields})
	if err != nil {
		return hs, fmt.Errorf("changing the metadata of handshake %s/%s: %w", hs.Namespace, hs.Name, err)
	}
	updated, err := h.Handshakes.Patch(hs.Namespace, hs.Name, types.MergePatchType, patch)
	if err != nil {
		return hs, fmt.Errorf("changing the metadata of handshake %s/%s: %w", hs.Namespace, hs.Name, err)
	}
	h.remember(hs, func(m *memo) { m.status = updated })
	return updated, nil
}

// confirmationUsed removes the annotation that confirms a withdrawal, so that it does not confirm the next one too.
func (h *handler) confirmationUsed(v *view) error {
	value, given := v.hs.Annotations[v1alpha1.AnnotationConfirmWithdrawal]
	if !given || v.hs.Spec.Paused || len(v.outcome.Held) > 0 || value != bundle.DeliveryOf(v.current).Revision() {
		return nil
	}
	updated, err := h.patchMeta(v.hs, map[string]any{"annotations": map[string]any{v1alpha1.AnnotationConfirmWithdrawal: nil}})
	v.hs = updated
	return err
}

// remove is the reconcile of a handshake that is being deleted: it waits until the clusters have confirmed.
func (h *handler) remove(hs *v1alpha1.FleetHandshake) (*v1alpha1.FleetHandshake, error) {
	if !slices.Contains(hs.Finalizers, v1alpha1.Finalizer) {
		return hs, nil
	}
	if !h.Workspaces.Has(hs.Namespace) {
		return h.report(&view{hs: hs, problem: notAWorkspace(hs)})
	}
	v, err := h.gather(hs)
	if err != nil {
		return hs, err
	}
	log := logrus.WithField("handshake", hs.Namespace+"/"+hs.Name)
	if v.current == nil || !v.current.DeletionTimestamp.IsZero() {
		// Somebody was quicker, for example the garbage collector in a foreground deletion.
		h.recordOutcome(hs, bundle.Outcome{Unconfirmed: namesOf(v.deployments)})
		log.Info("handshake released: there is no bundle to withdraw")
		return h.release(hs)
	}
	v.problem = nil
	if v.revoked, err = h.isDenied(v, v.current); err != nil {
		return hs, err
	}
	values := h.sealNothing
	if hs.Spec.DeletionPolicy == v1alpha1.DeletionRetain && !v.revoked {
		// The clusters are told to keep their copy when the Bundle goes.
		values = h.sentLast
	}
	err = h.withdraw(v, values)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		log.Info("handshake released: its namespace is being deleted")
		return h.release(hs)
	}
	if err != nil {
		if v.problem = writeRefused(hs, err); v.problem == nil {
			return hs, err
		}
	}
	switch {
	case v.problem != nil && h.waitIsOver(hs):
		h.recordOutcome(hs, bundle.Outcome{Unconfirmed: namesOf(v.deployments)})
		log.WithField("reason", v.problem.Reason).Warn("handshake released: its bundle cannot be changed")
		return h.release(hs)
	case v.problem == nil && v.outcome.Done:
		// Somebody else may have a finalizer too. Nothing is sent any more.
		if err := h.deleteAll(v); err != nil {
			return hs, err
		}
		log.Info("handshake released: no cluster has to be waited for")
		return h.release(hs)
	}
	if v.problem != nil {
		h.wakeAt(hs, bundle.RemovalDeadline(hs))
	}
	written, statusErr := h.report(v)
	return written, errors.Join(err, statusErr)
}

// waitIsOver says whether nobody is to be waited for any longer.
func (h *handler) waitIsOver(hs *v1alpha1.FleetHandshake) bool {
	return bundle.RemovalForced(hs) || !h.Clock.Now().Before(bundle.RemovalDeadline(hs))
}

// namesOf are the names of the clusters of BundleDeployments.
func namesOf(deployments []*fleet.BundleDeployment) []string {
	var names []string
	for _, bd := range deployments {
		names = append(names, bd.Labels[fleet.ClusterLabel])
	}
	slices.Sort(names)
	return names
}

// withdraw lets go of all clusters. What the values Secret holds meanwhile is up to values.
func (h *handler) withdraw(v *view, values func(*view) (*content, *syncstatus.Problem, error)) error {
	content, problem, err := values(v)
	if err != nil {
		return err
	}
	if problem != nil {
		v.problem = problem
		return nil
	}
	return h.write(v, content, true)
}
