package handshake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// lostRace is the text of the API server's own conflicts, by which lasso knows that the retry needs no line in the log.
const lostRace = "the object has been modified; please apply your changes to the latest version and try again"

// currentBundle is the Bundle of the handshake as it is now; nil when there is none. A problem says that the Bundle
// belongs to somebody else.
func (h *handler) currentBundle(hs *v1alpha1.FleetHandshake) (*fleet.Bundle, *syncstatus.Problem, error) {
	name := bundle.NameFor(hs)
	cached, err := h.Bundles.Cache().Get(hs.Namespace, name)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("reading bundle %s/%s: %w", hs.Namespace, name, err)
	}
	found := err == nil
	m := h.memo(hs)
	switch {
	case found && m.written[name] != nil && newer(m.written[name], cached):
		return m.written[name], nil, nil
	case found && metav1.IsControlledBy(cached, hs):
		return cached, nil, nil
	case found:
		return nil, nameTaken("Bundle", hs.Namespace, name), nil
	case m.written[name] == nil:
		return nil, nil, nil
	}
	// Written before and not in the cache: either the cache is behind, or it was deleted, or its label was.
	return h.liveBundle(hs, name)
}

func (h *handler) liveBundle(hs *v1alpha1.FleetHandshake, name string) (*fleet.Bundle, *syncstatus.Problem, error) {
	b, err := h.Bundles.Get(hs.Namespace, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("reading bundle %s/%s: %w", hs.Namespace, name, err)
	case !metav1.IsControlledBy(b, hs):
		return nil, nameTaken("Bundle", hs.Namespace, name), nil
	}
	return b, nil, nil
}

// writeBundle creates or updates the Bundle of a view when it is not as it should be, and returns it as it then is. A
// problem says that the name belongs to somebody else.
func (h *handler) writeBundle(v *view, desired *fleet.Bundle) (*fleet.Bundle, *syncstatus.Problem, error) {
	hs, current := v.hs, v.current
	log := logrus.WithFields(logrus.Fields{"handshake": hs.Namespace + "/" + hs.Name, "bundle": desired.Name,
		"revision": bundle.DeliveryOf(desired).Revision(), "generation": desired.Spec.ForceSyncGeneration})
	if current == nil {
		h.record(v, nil, desired)
		created, err := h.Bundles.Create(desired)
		if apierrors.IsAlreadyExists(err) {
			// It is not in the cache, because it does not bear our label.
			live, problem, liveErr := h.liveBundle(hs, desired.Name)
			if problem != nil || liveErr != nil {
				return nil, problem, liveErr
			}
			h.wroteBundle(hs, desired.Name, live)
		}
		h.metrics.wrote(err)
		if err != nil {
			return nil, nil, fmt.Errorf("creating bundle %s/%s: %w", desired.Namespace, desired.Name, err)
		}
		log.Info("bundle created")
		h.wroteBundle(hs, desired.Name, created)
		return created, nil, nil
	}
	changed := &fleet.Bundle{ObjectMeta: current.ObjectMeta, Spec: desired.Spec}
	merge(&changed.ObjectMeta, desired.ObjectMeta)
	if sameMeta(current, changed) && sameSpec(current.Spec, changed.Spec) {
		return current, nil, nil
	}
	patch, err := patchOf(changed)
	if err != nil {
		return nil, nil, fmt.Errorf("updating bundle %s/%s: %w", desired.Namespace, desired.Name, err)
	}
	h.record(v, current, desired)
	updated, err := h.Bundles.Patch(desired.Namespace, desired.Name, types.JSONPatchType, patch)
	h.metrics.wrote(err)
	if apierrors.IsInvalid(err) {
		// Most likely a test of the patch failed, because somebody was quicker.
		live, problem, liveErr := h.liveBundle(hs, desired.Name)
		if problem != nil || liveErr != nil {
			return nil, problem, liveErr
		}
		if live == nil || live.Generation != changed.Generation || live.UID != changed.UID {
			h.wroteBundle(hs, desired.Name, live)
			err = apierrors.NewConflict(fleet.SchemeGroupVersion.WithResource("bundles").GroupResource(), desired.Name, errors.New(lostRace))
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("updating bundle %s/%s: %w", desired.Namespace, desired.Name, err)
	}
	log.Info("bundle updated")
	h.wroteBundle(hs, desired.Name, updated)
	return updated, nil, nil
}

// patchOf is the JSON patch that makes a Bundle like changed, unless somebody has changed its spec since. An update would
// be refused whenever Fleet has written the status in the meantime, which it does all the time during a rollout.
func patchOf(changed *fleet.Bundle) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	return json.Marshal([]operation{
		{"test", "/metadata/uid", changed.UID},
		{"test", "/metadata/generation", changed.Generation},
		{"add", "/metadata/labels", changed.Labels},
		{"add", "/metadata/annotations", changed.Annotations},
		{"add", "/metadata/ownerReferences", changed.OwnerReferences},
		{"add", "/spec", changed.Spec},
	})
}

// bundles are those of a handshake that live, but for some names.
func (h *handler) bundles(hs *v1alpha1.FleetHandshake, but ...string) ([]*fleet.Bundle, error) {
	all, err := h.Bundles.Cache().GetByIndex(v1alpha1.LabelHandshake, string(hs.UID))
	if err != nil {
		return nil, fmt.Errorf("listing the bundles of handshake %s/%s: %w", hs.Namespace, hs.Name, err)
	}
	return slices.DeleteFunc(slices.Clone(all), func(b *fleet.Bundle) bool {
		return b.Namespace != hs.Namespace || slices.Contains(but, b.Name) || !b.DeletionTimestamp.IsZero() || !metav1.IsControlledBy(b, hs)
	}), nil
}

// deleteAll deletes the Bundles and values Secrets of this handshake, but for those of the names to keep.
func (h *handler) deleteAll(v *view, keep ...string) error {
	hs := v.hs
	bundles, err := h.bundles(hs, keep...)
	if err != nil {
		return err
	}
	log := logrus.WithField("handshake", hs.Namespace+"/"+hs.Name)
	for _, b := range bundles {
		h.record(v, b, nil)
		if err := h.Bundles.Delete(b.Namespace, b.Name, metav1.NewPreconditionDeleteOptions(string(b.UID))); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting obsolete bundle %s/%s: %w", b.Namespace, b.Name, err)
		}
		log.WithField("bundle", b.Name).Info("obsolete bundle deleted")
	}
	for _, name := range h.Secrets.Of(hs) {
		if slices.Contains(keep, name) {
			continue
		}
		secret, err := h.Secrets.Get(h.ctx, hs.Namespace, name)
		if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(secret, hs) {
			continue
		}
		if err == nil {
			err = h.SecretClient.Secrets(hs.Namespace).Delete(h.ctx, name, *metav1.NewPreconditionDeleteOptions(string(secret.UID)))
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting obsolete values secret %s/%s: %w", hs.Namespace, name, err)
		}
		log.WithField("bundle", name).Info("obsolete values secret deleted")
	}
	return nil
}

// merge sets the labels, annotations and owner of ours, and leaves those of others.
func merge(into *metav1.ObjectMeta, ours metav1.ObjectMeta) {
	into.Labels = merged(into.Labels, ours.Labels)
	into.Annotations = merged(into.Annotations, ours.Annotations)
	into.OwnerReferences = ours.OwnerReferences
}

func merged(theirs, ours map[string]string) map[string]string {
	out := maps.Clone(theirs)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, ours)
	return out
}

func sameMeta(a, b metav1.Object) bool {
	return equality.Semantic.DeepEqual(a.GetLabels(), b.GetLabels()) && equality.Semantic.DeepEqual(a.GetAnnotations(), b.GetAnnotations()) &&
		equality.Semantic.DeepEqual(a.GetOwnerReferences(), b.GetOwnerReferences())
}

// sameSpec compares as the API server would store them. A spec has a target for each cluster: walking both by reflection
// takes many times as long.
func sameSpec(a, b fleet.BundleSpec) bool {
	was, err := json.Marshal(a)
	if err != nil {
		return false
	}
	is, err := json.Marshal(b)
	return err == nil && bytes.Equal(was, is)
}

func sameData(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, bytes.Equal)
}
