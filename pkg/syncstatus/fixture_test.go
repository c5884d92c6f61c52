package syncstatus

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/rancher/wrangler/v3/pkg/genericcondition"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var (
	// now has a fraction of a second, which the API does not keep.
	now = time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	// sentAt is when r2 was sent.
	sentAt = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
)

// at is a time of the day of now, as the API keeps it.
func at(hour, minute, second int) metav1.Time {
	return metav1.Date(2026, 1, 2, hour, minute, second, 0, time.UTC)
}

// input is of a handshake that has sent r1 from number 1 on and r2 from 3 on; 2 was a resync of r1. Every cluster is
// matched, has a target, has applied 3, and is well.
func input(clusters ...string) Input {
	in := Input{
		Handshake: &v1alpha1.FleetHandshake{
			TypeMeta:   metav1.TypeMeta{APIVersion: "fleethandshake.io/v1alpha1", Kind: "FleetHandshake"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "hs", Generation: 7},
			Spec:       v1alpha1.FleetHandshakeSpec{SecretName: "creds", TargetNamespace: "apps"},
		},
		Bundle:       &fleet.Bundle{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "hs-1"}},
		OfflineAfter: 45 * time.Minute, StuckAfter: 10 * time.Minute, MissingGrace: time.Minute, Now: now,
	}
	in.Bundle.Spec.DefaultNamespace = "apps"
	in.record(sentAt)
	for _, name := range clusters {
		in.add(name)
	}
	return in
}

// record writes down when r2 was sent.
func (in *Input) record(sent time.Time) {
	in.Bundle.Annotations = map[string]string{v1alpha1.AnnotationDelivery: fmt.Sprintf(
		`{"revisions":[{"from":1,"revision":"r1","at":"2026-01-01T00:00:00.000000Z"},{"from":3,"revision":"r2","at":"%s"}],"last":9,"assertedAt":null}`,
		sent.Format(metav1.RFC3339Micro))}
}

func (in *Input) add(name string) {
	c := &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: name, CreationTimestamp: at(0, 0, 0)}}
	c.Status.Namespace = "cluster-" + name
	c.Status.Agent.LastSeen = at(3, 3, 5)
	in.Clusters = append(in.Clusters, c)
	in.Matched = append(in.Matched, c)
	in.Deployments = append(in.Deployments, deployment(name))
	in.Bundle.Spec.Targets = append(in.Bundle.Spec.Targets, fleet.BundleTarget{Name: "deliver", ClusterName: name})
}

func deployment(cluster string) *fleet.BundleDeployment {
	bd := &fleet.BundleDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: "cluster-" + cluster, Name: "hs-1", Labels: map[string]string{
		fleet.ClusterNamespaceLabel: "fleet-default", fleet.ClusterLabel: cluster,
	}}}
	bd.Status.Ready, bd.Status.NonModified = true, true
	staged(bd, 3)
	handedOn(bd, 3)
	appliedNumber(bd, 3)
	return bd
}

func staged(bd *fleet.BundleDeployment, number int64) {
	bd.Spec.StagedDeploymentID, bd.Spec.StagedOptions.ForceSyncGeneration = fmt.Sprintf("id%d", number), number
}

func handedOn(bd *fleet.BundleDeployment, number int64) {
	bd.Spec.DeploymentID, bd.Spec.Options.ForceSyncGeneration = fmt.Sprintf("id%d", number), number
}

func appliedNumber(bd *fleet.BundleDeployment, number int64) {
	bd.Status.AppliedDeploymentID, bd.Status.SyncGeneration = fmt.Sprintf("id%d", number), ptr.To(number)
}

// waiting is a cluster that was told r2 and still has r1.
func waiting(bd *fleet.BundleDeployment) { appliedNumber(bd, 2) }

// behind is a cluster to which Fleet has not handed on r2.
func behind(bd *fleet.BundleDeployment) {
	handedOn(bd, 2)
	appliedNumber(bd, 2)
}

// refusing is a cluster that has given up on its first install. The agent then reports no number.
func refusing(bd *fleet.BundleDeployment, why v1alpha1.ClusterReason) {
	bd.Status.Ready, bd.Status.NonModified, bd.Status.SyncGeneration = false, false, nil
	failing(bd, fleet.BundleDeploymentConditionInstalled, why)
}

// irreplaceableCopy is a cluster whose agent could not write r2 over the copy.
func irreplaceableCopy(bd *fleet.BundleDeployment, why v1alpha1.ClusterReason) {
	waiting(bd)
	failing(bd, fleet.BundleDeploymentConditionDeployed, why)
}

func failing(bd *fleet.BundleDeployment, condition string, why v1alpha1.ClusterReason) {
	bd.Status.Conditions = []genericcondition.GenericCondition{{Type: condition, Status: corev1.ConditionFalse, Reason: string(why)}}
}

func modifiedCopy(bd *fleet.BundleDeployment, how fleet.ModifiedStatus) {
	bd.Status.NonModified, bd.Status.ModifiedStatus = false, []fleet.ModifiedStatus{how}
}

// silent is a cluster whose agent reported last an hour ago.
func silent(c *fleet.Cluster) { c.Status.Agent.LastSeen = at(2, 4, 5) }

// tell gives the i-th cluster its own target.
func (in *Input) tell(i int, t bundle.Target) {
	ft := fleet.BundleTarget{Name: "deliver", ClusterName: in.Clusters[i].Name}
	if t.Withdraw {
		ft.Name = "withdraw"
	}
	ft.ForceSyncGeneration = t.Number
	in.Bundle.Spec.Targets[i] = ft
}

// refuse takes the i-th cluster out of those that may have the Secret. It has no target, or this one.
func (in *Input) refuse(i int, has ...bundle.Target) {
	c := in.Clusters[i]
	in.Handshake.Spec.SecretNamespace, in.Refusal = "platform", "ask its owner"
	if in.Refused == nil {
		in.Refused = map[string]bool{}
	}
	in.Refused[c.Name] = true
	in.Matched = slices.DeleteFunc(slices.Clone(in.Matched), func(m *fleet.Cluster) bool { return m.Name == c.Name })
	in.Bundle.Spec.Targets[i] = fleet.BundleTarget{ClusterName: c.Name, DoNotDeploy: true} // is none
	for _, t := range has {
		in.tell(i, t)
	}
}

// unmatch takes the last cluster out of those that the targets match.
func (in *Input) unmatch() { in.Matched = in.Matched[:len(in.Matched)-1] }

// after is what follows a result: the operator remembers it.
func (in Input) after(r Result) Input {
	in.Handshake = in.Handshake.DeepCopy()
	in.Handshake.Status, in.Before = r.Status, r.Rows
	return in
}

// aggregate is Aggregate, and sees to what holds for each result: given back it changes nothing, neither now nor just
// before Next, neither from memory nor as the API server has kept it.
func aggregate(t *testing.T, in Input) Result {
	t.Helper()
	r := Aggregate(in)
	same := func(again Input, from v1alpha1.FleetHandshakeStatus) {
		t.Helper()
		next := Aggregate(again)
		if !equality.Semantic.DeepEqual(from, next.Status) {
			assert.Equal(t, from, next.Status, "the same again changes nothing")
		}
		assert.Empty(t, Transitions(again.Handshake.Status, next.Status, again.Before, next.Rows))
	}
	remembered := in.after(r)
	same(remembered, r.Status)
	assert.Equal(t, r.Rows, Aggregate(remembered).Rows)

	restarted := in.after(r)
	data, err := json.Marshal(r.Status)
	require.NoError(t, err)
	restarted.Handshake.Status = v1alpha1.FleetHandshakeStatus{}
	require.NoError(t, json.Unmarshal(data, &restarted.Handshake.Status))
	restarted.Before = restarted.Handshake.Status.Clusters
	same(restarted, restarted.Handshake.Status)

	remembered.Now = in.Now.Add(1000 * time.Hour)
	if !r.Next.IsZero() {
		require.True(t, r.Next.After(in.Now), "Next is not over")
		remembered.Now = r.Next.Add(-time.Second)
	}
	if remembered.Now.After(in.Now) {
		same(remembered, r.Status)
	}

	sum := r.Status.Summary
	assert.Equal(t, sum.Desired, sum.Synced+sum.Pending+sum.Failed+sum.Offline)
	return r
}
