package handshake

import (
	"fmt"
	"slices"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/grant"
	"github.com/fleet-handshake/fleet-handshake/pkg/syncstatus"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"k8s.io/apimachinery/pkg/labels"
)

// askForConsent works out what the SecretGrants allow, and takes the clusters that they leave out from those that
// match. Not a byte of the source has been read then.
func (h *handler) askForConsent(v *view, groups []*fleet.ClusterGroup) error {
	namespace := bundle.SourceNamespace(v.hs)
	grants, err := h.Grants.Cache().List(namespace, labels.Everything())
	if err != nil {
		return fmt.Errorf("listing the SecretGrants of namespace %s: %w", namespace, err)
	}
	v.grant = grant.Decide(grant.Request{Handshake: v.hs, Grants: grants, Matched: v.matched, Groups: groups, Now: h.Clock.Now()})
	h.wakeAt(v.hs, v.grant.Next)
	if !v.grant.Granted && h.KeepRevoked {
		// Who has a copy keeps it.
		return nil
	}
	v.refused = v.grant.Refused
	v.matched = slices.DeleteFunc(slices.Clone(v.matched), func(c *fleet.Cluster) bool { return v.refused[c.Name] })
	return nil
}

// takenBack says whether the copies have to go because the Secret may not be sent any more.
func (h *handler) takenBack(v *view) bool {
	return !h.KeepRevoked && (!v.grant.Granted || v.problem != nil && v.problem.Reason == v1alpha1.ReasonNeverSend)
}

// forbidden says why the source may not be read; nil when it may.
func (h *handler) forbidden(v *view) *syncstatus.Problem {
	namespace := bundle.SourceNamespace(v.hs)
	switch {
	case !v.grant.Granted:
		return &syncstatus.Problem{State: v1alpha1.StateError, Reason: v1alpha1.ReasonNotGranted, Source: true, Message: v.grant.Message}
	case !h.Secrets.Serves(namespace):
		return &syncstatus.Problem{
			State: v1alpha1.StateError, Reason: v1alpha1.ReasonSourceNotServed, Source: true,
			Message: fmt.Sprintf("the operator does not read Secrets of namespace %s; put the Secret into another namespace, or ask its administrator to add this one to --source-namespaces", namespace),
		}
	}
	return nil
}

func notAWorkspace(hs *v1alpha1.FleetHandshake) *syncstatus.Problem {
	return &syncstatus.Problem{
		State: v1alpha1.StateError, Reason: v1alpha1.ReasonNotAWorkspace,
		Message: fmt.Sprintf("the operator does not write in namespace %s; create the FleetHandshake in a Fleet workspace such as fleet-default, or ask its administrator to add this namespace to --workspaces, or to label it %s=true", hs.Namespace, v1alpha1.LabelWorkspace),
	}
}
