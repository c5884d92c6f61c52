package handshake

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/grant"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
)

// sourceOf is namespace/name of the Secret that the spec names.
func sourceOf(hs *v1alpha1.FleetHandshake) string {
	return bundle.SourceNamespace(hs) + "/" + hs.Spec.SecretName
}

// askForConsent works out whether the Secret that the spec names may be sent, and takes the clusters that it may not be
// in from those that match. Not a byte of the Secret has been read then. A cluster that has it is asked about too, also
// when the targets no longer match it.
func (h *handler) askForConsent(v *view) error {
	var err error
	if v.grant, v.never, err = h.consent(v, sourceOf(v.hs), v.current); err != nil {
		return err
	}
	if !v.grant.Granted && h.KeepRevoked {
		// Who has a copy keeps it.
		return nil
	}
	v.refused = v.grant.Refused
	v.matched = slices.DeleteFunc(slices.Clone(v.matched), func(c *fleet.Cluster) bool { return v.refused[c.Name] })
	return nil
}

// consent is what the owner of a Secret, given as namespace/name, says of sending it to the matched clusters and to
// those that a Bundle sends it to.
func (h *handler) consent(v *view, source string, b *fleet.Bundle) (d grant.Decision, never bool, err error) {
	namespace, name, _ := strings.Cut(source, "/")
	never = h.Secrets.NeverSend(namespace, name)
	if namespace == v.hs.Namespace {
		return grant.Decision{Granted: true}, never, nil
	}
	grants, err := h.Grants.Cache().List(namespace, labels.Everything())
	if err != nil {
		return d, false, fmt.Errorf("listing the SecretGrants of namespace %s: %w", namespace, err)
	}
	as := *v.hs
	as.Spec.SecretNamespace, as.Spec.SecretName = namespace, name
	reach := sets.New(receivers(b)...)
	for _, c := range v.matched {
		reach.Insert(c.Name)
	}
	d = grant.Decide(grant.Request{
		Handshake: &as, Grants: grants, Groups: v.groups, Now: h.Clock.Now(),
		Clusters: slices.DeleteFunc(slices.Clone(v.clusters), func(c *fleet.Cluster) bool { return !reach.Has(c.Name) }),
	})
	h.wakeAt(v.hs, d.Next)
	return d, never, nil
}

// isRevoked says whether all copies have to go: the Secret may not be sent any more, or c, which is what was sent of
// another Secret or on other terms, may not stay.
func (h *handler) isRevoked(v *view, c *content) (bool, error) {
	switch {
	case h.KeepRevoked:
		return false, nil
	case !v.grant.Granted, v.never, v.problem != nil && v.problem.Reason == v1alpha1.ReasonNeverSend:
		return true, nil
	case v.problem == nil || c == nil:
		return false, nil
	case c.source == sourceOf(v.hs):
		return !c.within(v.grant.Keys), nil
	}
	denied, keys, err := h.wantsBack(v, c.source, v.current)
	return denied || !c.within(keys), err
}

// isDenied says whether what a Bundle sends may not stay in all clusters that it is sent to.
func (h *handler) isDenied(v *view, b *fleet.Bundle) (bool, error) {
	source := bundle.DeliveryOf(b).Source
	if h.KeepRevoked || source == "" {
		return false, nil
	}
	denied, _, err := h.wantsBack(v, source, b)
	return denied, err
}

// wantsBack says whether the owner of a Secret, given as namespace/name, wants it back from all or some of the clusters
// that a Bundle sends it to. keys are those that may stay; nil stands for all.
func (h *handler) wantsBack(v *view, source string, b *fleet.Bundle) (back bool, keys []string, err error) {
	d, never, err := h.consent(v, source, b)
	if err != nil {
		return false, nil, err
	}
	refused := func(c string) bool { return d.Refused[c] }
	return never || !d.Granted || slices.ContainsFunc(receivers(b), refused), d.Keys, nil
}

// letGoOfDenied withdraws the former Bundles whose Secret may not be sent any more.
func (h *handler) letGoOfDenied(v *view) error {
	v.denied = map[string]bool{}
	for _, b := range v.formers {
		denied, err := h.isDenied(v, b)
		if err != nil {
			return err
		}
		if !denied {
			continue
		}
		if v.denied[b.Name], err = h.letGo(v, b); err != nil {
			return err
		}
	}
	return nil
}

// forbidden says why the source may not be read; nil when it may.
func (h *handler) forbidden(v *view) *syncstatus.Problem {
	namespace := bundle.SourceNamespace(v.hs)
	problem := func(reason, message string) *syncstatus.Problem {
		return &syncstatus.Problem{State: v1alpha1.StateError, Reason: reason, Source: true, Message: message}
	}
	switch {
	case !v.grant.Granted:
		return problem(v1alpha1.ReasonNotGranted, v.grant.Message)
	case v.never:
		return problem(v1alpha1.ReasonNeverSend, fmt.Sprintf("Secret %s is not sent, because its owner has marked it with %s; send another one", sourceOf(v.hs), v1alpha1.NeverSend))
	case !h.Secrets.Serves(namespace):
		return problem(v1alpha1.ReasonSourceNotServed, fmt.Sprintf("the operator does not read Secrets of namespace %s; put the Secret into another namespace, or ask the administrator of the operator to add %s to --source-namespaces", namespace, namespace))
	}
	return nil
}

func notAWorkspace(hs *v1alpha1.FleetHandshake) *syncstatus.Problem {
	return &syncstatus.Problem{
		State: v1alpha1.StateError, Reason: v1alpha1.ReasonNotAWorkspace,
		Message: fmt.Sprintf("the operator does not write in namespace %s; create the FleetHandshake in a Fleet workspace such as fleet-default, or ask the administrator of the operator to add %s to --workspaces, or to label it %s=true. Copies that were sent before stay", hs.Namespace, hs.Namespace, v1alpha1.LabelWorkspace),
	}
}
