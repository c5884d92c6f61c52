// Package syncstatus works out what to say of a FleetHandshake: a row for each cluster, the counts, the one word and
// the conditions. It is pure. It never looks at a message or patch of Fleet, because these can hold secret data.
package syncstatus

import (
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// clusterState says what one BundleDeployment shows, in the order in which Fleet asks (Fleet 0.16.0,
// internal/cmd/controller/summary), with one difference: a cluster is Synced only on the revision being sent now, and
// it stays Synced while the same revision is merely written again. bd is nil when Fleet has not made it yet.
// The BundleDeployment's own display.state is not used: Fleet updates it late.
func clusterState(d bundle.Delivery, bd *fleet.BundleDeployment) (v1alpha1.ClusterState, string) {
	if bd == nil {
		return v1alpha1.ClusterPending, ""
	}
	var applied int64
	if bd.Status.SyncGeneration != nil {
		applied = *bd.Status.SyncGeneration
	}
	revision := d.RevisionAt(applied)
	since := d.Since()
	upToDate := bd.Status.AppliedDeploymentID == bd.Spec.DeploymentID
	switch {
	case !upToDate && isFalse(bd, fleet.BundleDeploymentConditionDeployed):
		return v1alpha1.ClusterErrApplied, revision
	case bd.Spec.Options.ForceSyncGeneration < since && bd.Spec.StagedOptions.ForceSyncGeneration >= since:
		return v1alpha1.ClusterOutOfSync, revision
	case upToDate && bd.Spec.Options.ForceSyncGeneration >= since && !bd.Status.Ready:
		return v1alpha1.ClusterNotReady, revision
	case applied < since:
		return v1alpha1.ClusterWaitApplied, revision
	case upToDate && !bd.Status.NonModified:
		return v1alpha1.ClusterModified, revision
	}
	return v1alpha1.ClusterSynced, revision
}

// refused says whether the agent has given up on an install. It then calls the deployment applied and does not try
// again until something changes (Fleet 0.16.0, internal/cmd/agent/deployer).
func refused(bd *fleet.BundleDeployment) bool {
	return bd.Status.AppliedDeploymentID == bd.Spec.DeploymentID && isFalse(bd, fleet.BundleDeploymentConditionInstalled)
}

func isFalse(bd *fleet.BundleDeployment, condition string) bool {
	for _, c := range bd.Status.Conditions {
		if c.Type == condition {
			return c.Status == corev1.ConditionFalse
		}
	}
	return false
}
