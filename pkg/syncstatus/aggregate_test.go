package syncstatus

import (
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/rancher/wrangler/v3/pkg/genericcondition"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var (
	now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	// sent says that r1 was sent from generation 1 on, and r2 from 3 on; 2 was a resync of r1.
	sent = bundle.Delivery{Revisions: []bundle.RevisionSent{{From: 1, Revision: "r1"}, {From: 3, Revision: "r2"}}}
)

// deployment is of a cluster that has applied generation 3 and is well.
func deployment(cluster string, change func(*fleet.BundleDeployment)) *fleet.BundleDeployment {
	bd := &fleet.BundleDeployment{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
		fleet.ClusterNamespaceLabel: "fleet-default", fleet.ClusterLabel: cluster,
	}}}
	bd.Spec.DeploymentID, bd.Spec.StagedDeploymentID, bd.Status.AppliedDeploymentID = "id3", "id3", "id3"
	bd.Spec.Options.ForceSyncGeneration, bd.Spec.StagedOptions.ForceSyncGeneration = 3, 3
	bd.Status.SyncGeneration = ptr.To[int64](3)
	bd.Status.Ready, bd.Status.NonModified = true, true
	if change != nil {
		change(bd)
	}
	return bd
}

func TestClusterState(t *testing.T) {
	deployed := func(status corev1.ConditionStatus) []genericcondition.GenericCondition {
		return []genericcondition.GenericCondition{{Type: "Deployed", Status: status, Message: "canary"}}
	}
	for title, c := range map[string]struct {
		change   func(*fleet.BundleDeployment)
		state    v1alpha1.ClusterState
		revision string
	}{
		"applied and well": {nil, "Synced", "r2"},
		"the same revision is being written again": {func(bd *fleet.BundleDeployment) {
			bd.Spec.DeploymentID, bd.Spec.StagedDeploymentID, bd.Spec.Options.ForceSyncGeneration, bd.Spec.StagedOptions.ForceSyncGeneration = "id4", "id4", 4, 4
		}, "Synced", "r2"},
		"Fleet has not handed on the revision, though all it shows is well": {func(bd *fleet.BundleDeployment) {
			bd.Spec.Options.ForceSyncGeneration, bd.Spec.StagedOptions.ForceSyncGeneration = 2, 2
			bd.Status.SyncGeneration = ptr.To[int64](2)
		}, "WaitApplied", "r1"},
		"the agent has not applied it": {func(bd *fleet.BundleDeployment) {
			bd.Status.AppliedDeploymentID, bd.Status.SyncGeneration = "id2", ptr.To[int64](2)
		}, "WaitApplied", "r1"},
		"nothing was ever applied": {func(bd *fleet.BundleDeployment) {
			bd.Status = fleet.BundleDeploymentStatus{}
		}, "WaitApplied", ""},
		"the agent could not apply it": {func(bd *fleet.BundleDeployment) {
			bd.Status.AppliedDeploymentID, bd.Status.SyncGeneration = "id2", ptr.To[int64](2)
			bd.Status.Conditions = deployed(corev1.ConditionFalse)
		}, "ErrApplied", "r1"},
		"an old error of a former revision does not count": {func(bd *fleet.BundleDeployment) {
			bd.Status.Conditions = deployed(corev1.ConditionTrue)
		}, "Synced", "r2"},
		"a foreign Secret is in the way of the first install": {func(bd *fleet.BundleDeployment) {
			bd.Status.Ready, bd.Status.SyncGeneration = false, nil
		}, "NotReady", ""},
		"a rollout holds it back": {func(bd *fleet.BundleDeployment) {
			bd.Spec.DeploymentID, bd.Status.AppliedDeploymentID = "id2", "id2"
			bd.Spec.Options.ForceSyncGeneration, bd.Status.SyncGeneration = 2, ptr.To[int64](2)
		}, "OutOfSync", "r1"},
		"the copy was deleted": {func(bd *fleet.BundleDeployment) {
			bd.Status.NonModified = false
		}, "Modified", "r2"},
	} {
		t.Run(title, func(t *testing.T) {
			state, revision := clusterState(sent, deployment("paris", c.change))
			assert.Equal(t, c.state, state)
			assert.Equal(t, c.revision, revision)
		})
	}
	state, revision := clusterState(sent, nil)
	assert.Equal(t, v1alpha1.ClusterPending, state)
	assert.Empty(t, revision)
}

func input(clusters ...string) Input {
	in := Input{
		Handshake: &v1alpha1.FleetHandshake{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "hs", Generation: 7},
			Spec:       v1alpha1.FleetHandshakeSpec{SecretName: "creds"},
		},
		Bundle: &fleet.Bundle{ObjectMeta: metav1.ObjectMeta{Name: "hs-1", Annotations: map[string]string{
			v1alpha1.AnnotationDelivery: `{"revisions":[{"from":1,"revision":"r1"},{"from":3,"revision":"r2"}],"assertedAt":null}`,
		}}},
		Now: now,
	}
	in.Bundle.Spec.DefaultNamespace = "apps"
	for _, name := range clusters {
		in.Clusters = append(in.Clusters, &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: name}})
	}
	return in
}

func modified(bd *fleet.BundleDeployment) { bd.Status.NonModified = false }
func notReady(bd *fleet.BundleDeployment) { bd.Status.Ready = false }

func TestAggregate(t *testing.T) {
	missing := &Problem{State: v1alpha1.StateMissing, Reason: v1alpha1.ReasonSecretNotFound, Message: "create it", Source: true}
	taken := &Problem{State: v1alpha1.StateError, Reason: v1alpha1.ReasonNameTaken, Message: "delete it"}
	for title, c := range map[string]struct {
		change     func(*Input)
		state      v1alpha1.HandshakeState
		ready      string
		reason     string
		conditions map[string]metav1.ConditionStatus
	}{
		"every cluster has it": {func(in *Input) {
			in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil), deployment("tokyo", nil)}
		}, "Synced", "2/2", "Synced", map[string]metav1.ConditionStatus{"Ready": "True", "SourceAvailable": "True"}},
		"one cluster does not have it": {func(in *Input) {
			in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil)}
		}, "Pending", "1/2", "Delivering", map[string]metav1.ConditionStatus{"Ready": "False", "SourceAvailable": "True", "Reconciling": "True"}},
		"one cluster failed": {func(in *Input) {
			in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil), deployment("tokyo", notReady)}
		}, "Error", "1/2", "ClusterFailed", map[string]metav1.ConditionStatus{"Ready": "False", "SourceAvailable": "True", "Stalled": "True"}},
		"a copy was deleted": {func(in *Input) {
			in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil), deployment("tokyo", modified)}
		}, "Pending", "1/2", "Delivering", map[string]metav1.ConditionStatus{"Ready": "False", "SourceAvailable": "True", "Reconciling": "True"}},
		"paused": {func(in *Input) { in.Handshake.Spec.Paused = true },
			"Pending", "0/2", "Paused", map[string]metav1.ConditionStatus{"Ready": "False", "SourceAvailable": "True", "Reconciling": "True"}},
		"no cluster matches": {func(in *Input) { in.Clusters = nil },
			"Pending", "0/0", "NoTargets", map[string]metav1.ConditionStatus{"Ready": "False", "SourceAvailable": "True", "Reconciling": "True"}},
		"the Secret is missing, though every cluster has the old one": {func(in *Input) {
			in.Problem = missing
			in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil), deployment("tokyo", nil)}
		}, "Missing", "2/2", "SecretNotFound", map[string]metav1.ConditionStatus{"Ready": "False", "SourceAvailable": "False", "Stalled": "True"}},
		"somebody deletes the Bundle": {func(in *Input) {
			in.Bundle.DeletionTimestamp = &metav1.Time{Time: now}
			in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil), deployment("tokyo", nil)}
		}, "Pending", "2/2", "Delivering", map[string]metav1.ConditionStatus{"Ready": "False", "SourceAvailable": "True", "Reconciling": "True"}},
		"the name is taken": {func(in *Input) { in.Problem, in.Bundle = taken, nil },
			"Error", "0/2", "NameTaken", map[string]metav1.ConditionStatus{"Ready": "False", "Stalled": "True"}},
		"a deployment that goes is not counted": {func(in *Input) {
			in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil), deployment("tokyo", nil), deployment("denver", func(bd *fleet.BundleDeployment) {
				bd.DeletionTimestamp = &metav1.Time{Time: now}
			})}
		}, "Synced", "2/2", "Synced", map[string]metav1.ConditionStatus{"Ready": "True", "SourceAvailable": "True"}},
		"a cluster of another namespace counts when Fleet deploys to it": {func(in *Input) {
			in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil), deployment("tokyo", nil), deployment("mapped", modified)}
		}, "Pending", "2/3", "Delivering", map[string]metav1.ConditionStatus{"Ready": "False", "SourceAvailable": "True", "Reconciling": "True"}},
	} {
		t.Run(title, func(t *testing.T) {
			in := input("paris", "tokyo")
			c.change(&in)
			s := Aggregate(in)
			assert.Equal(t, c.state, s.Status)
			assert.Equal(t, c.ready, s.Display.ReadyClusters)
			assert.Equal(t, c.reason, meta.FindStatusCondition(s.Conditions, "Ready").Reason)
			got := map[string]metav1.ConditionStatus{}
			for _, condition := range s.Conditions {
				got[condition.Type] = condition.Status
				assert.NotContains(t, condition.Message, "canary")
				assert.Equal(t, int64(7), condition.ObservedGeneration)
			}
			assert.Equal(t, c.conditions, got)
			sum := s.Summary
			assert.Equal(t, sum.Desired, sum.Synced+sum.Pending+sum.Failed)

			in.Handshake.Status, in.Now = s, now.Add(time.Hour)
			assert.Equal(t, s, Aggregate(in), "the same again changes nothing")
		})
	}
}

func TestRowsAreSortedAndBounded(t *testing.T) {
	var names []string
	for i := range 150 {
		names = append(names, fmt.Sprintf("c%03d", i))
	}
	in := input(names...)
	for _, name := range names[:145] {
		in.Deployments = append(in.Deployments, deployment(name, nil))
	}
	s := Aggregate(in)
	require.Len(t, s.Clusters, MaxRows)
	assert.Equal(t, int32(50), s.ClustersOmitted)
	assert.Equal(t, v1alpha1.ClusterStatus{Name: "c145", Namespace: "fleet-default", State: "Pending"}, s.Clusters[0])
	assert.Equal(t, v1alpha1.ClusterStatus{Name: "c000", Namespace: "fleet-default", State: "Synced", Revision: "r2"}, s.Clusters[5])
	assert.Equal(t, v1alpha1.ClusterSummary{Desired: 150, Synced: 145, Pending: 5}, s.Summary)
}

func TestLastSyncedAtMovesWithTheRevision(t *testing.T) {
	in := input("paris")
	in.Deployments = []*fleet.BundleDeployment{deployment("paris", nil)}
	in.Handshake.Status = Aggregate(in)
	require.Equal(t, now, in.Handshake.Status.LastSyncedAt.Time)
	in.Now = now.Add(time.Hour)
	assert.Equal(t, now, Aggregate(in).LastSyncedAt.Time)
	in.Handshake.Status.Revision = "r1"
	assert.Equal(t, in.Now, Aggregate(in).LastSyncedAt.Time)
}

func TestAnswers(t *testing.T) {
	refusing := func(change func(*fleet.BundleDeployment)) *fleet.BundleDeployment {
		bd := deployment("tokyo", change)
		bd.Status.Ready, bd.Status.SyncGeneration = false, nil
		bd.Status.Conditions = []genericcondition.GenericCondition{{Type: "Installed", Status: corev1.ConditionFalse}}
		return bd
	}
	clusters := input("paris", "tokyo").Clusters
	paris, tokyo := deployment("paris", nil), deployment("tokyo", nil)
	for title, c := range map[string]struct {
		deployments        []*fleet.BundleDeployment
		clusters           []*fleet.Cluster
		confirmed, refused bool
	}{
		"no cluster has confirmed anything": {},
		"one has not answered":              {clusters: clusters, deployments: []*fleet.BundleDeployment{paris}},
		"one is modified":                   {clusters: clusters, deployments: []*fleet.BundleDeployment{paris, deployment("tokyo", modified)}},
		"one is not ready":                  {clusters: clusters, deployments: []*fleet.BundleDeployment{paris, deployment("tokyo", notReady)}},
		"one refuses":                       {clusters: clusters, deployments: []*fleet.BundleDeployment{paris, refusing(nil)}, refused: true},
		"one is being asked again": {clusters: clusters, deployments: []*fleet.BundleDeployment{paris, refusing(func(bd *fleet.BundleDeployment) {
			bd.Spec.DeploymentID = "id4"
		})}},
		"both confirm": {clusters: clusters, deployments: []*fleet.BundleDeployment{paris, tokyo}, confirmed: true},
	} {
		t.Run(title, func(t *testing.T) {
			confirmed, refused := Answers(input().Bundle, c.deployments, c.clusters)
			assert.Equal(t, c.confirmed, confirmed)
			assert.Equal(t, c.refused, refused)
		})
	}
}
