package syncstatus

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func many(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("c%05d", i)
	}
	return names
}

func TestCounts(t *testing.T) {
	for title, c := range map[string]struct {
		change func(*Input)
		counts v1alpha1.ClusterSummary
	}{
		"nothing matches": {func(in *Input) { in.Clusters, in.Matched, in.Bundle.Spec.Targets = nil, nil, nil }, v1alpha1.ClusterSummary{}},
		"all are synced":  {func(*Input) {}, v1alpha1.ClusterSummary{Desired: 9, Synced: 9}},
		"one in each of the states that are pending": {func(in *Input) {
			in.Deployments[1].DeletionTimestamp = ptr.To(at(3, 0, 0))
			waiting(in.Deployments[2])
			modifiedCopy(in.Deployments[3], fleet.ModifiedStatus{})
			behind(in.Deployments[4])
			behind(in.Deployments[5])
			in.Deployments[5].Spec.Paused = true
		}, v1alpha1.ClusterSummary{Desired: 9, Synced: 4, Pending: 5}},
		"one in each of the states that are failed": {func(in *Input) {
			in.record(at(1, 0, 0).Time)
			waiting(in.Deployments[1])
			irreplaceableCopy(in.Deployments[2], "")
			refusing(in.Deployments[3], "")
			refusing(in.Deployments[4], "SecretExists")
		}, v1alpha1.ClusterSummary{Desired: 9, Synced: 5, Failed: 4}},
		"one is offline, one that failed is offline too": {func(in *Input) {
			silent(in.Clusters[1])
			silent(in.Clusters[2])
			refusing(in.Deployments[2], "")
		}, v1alpha1.ClusterSummary{Desired: 9, Synced: 7, Offline: 2}},
		"one is withdrawn from and not counted as desired": {func(in *Input) {
			in.unmatch()
			in.tell(8, bundle.Target{Withdraw: true, Number: 5})
		}, v1alpha1.ClusterSummary{Desired: 8, Synced: 8, Withdrawing: 1}},
		"one is held, and counts as long as it has the Secret": {func(in *Input) {
			in.unmatch()
			in.Held = []string{"c00008"}
		}, v1alpha1.ClusterSummary{Desired: 9, Synced: 9}},
		"one is matched and told to recreate its copy": {func(in *Input) { in.tell(8, bundle.Target{Withdraw: true, Number: 5}) },
			v1alpha1.ClusterSummary{Desired: 9, Synced: 8, Pending: 1}},
		"one does not match, and has no target": {func(in *Input) {
			in.unmatch()
			in.Bundle.Spec.Targets = in.Bundle.Spec.Targets[:8]
		}, v1alpha1.ClusterSummary{Desired: 8, Synced: 8}},
		"a target is of a cluster that is gone": {func(in *Input) {
			in.unmatch()
			in.Clusters = in.Clusters[:8]
		}, v1alpha1.ClusterSummary{Desired: 8, Synced: 8}},
		"a BundleDeployment is of a cluster of another workspace": {func(in *Input) {
			in.Deployments[8].Labels[fleet.ClusterNamespaceLabel] = "fleet-other"
		}, v1alpha1.ClusterSummary{Desired: 9, Synced: 8, Pending: 1}},
		"the handshake is being deleted": {func(in *Input) {
			in.Handshake.DeletionTimestamp = ptr.To(at(3, 0, 0))
			in.Bundle.Spec.Targets = in.Bundle.Spec.Targets[:4]
			for i := range 4 {
				in.tell(i, bundle.Target{Withdraw: true, Number: 5})
			}
		}, v1alpha1.ClusterSummary{Withdrawing: 4}},
		"the handshake is being deleted, and every cluster is told to keep its copy": {func(in *Input) {
			in.Handshake.DeletionTimestamp = ptr.To(at(3, 0, 0))
			in.Handshake.Spec.DeletionPolicy = v1alpha1.DeletionRetain
		}, v1alpha1.ClusterSummary{Withdrawing: 9}},
		"one may not have it, and does not": {func(in *Input) { in.refuse(8) },
			v1alpha1.ClusterSummary{Desired: 9, Synced: 8, Pending: 1}},
		"one may not have it any more": {func(in *Input) { in.refuse(8, bundle.Target{Withdraw: true, Number: 5}) },
			v1alpha1.ClusterSummary{Desired: 8, Synced: 8, Withdrawing: 1}},
		"two may not have it, and all are to lose it": {func(in *Input) {
			in.refuse(7)
			in.refuse(8, bundle.Target{Withdraw: true, Number: 5})
			in.Withdraw, in.Matched = true, nil
		}, v1alpha1.ClusterSummary{Withdrawing: 8}},
		"two may not have it, and the handshake is being deleted": {func(in *Input) {
			in.refuse(7)
			in.refuse(8, bundle.Target{Withdraw: true, Number: 5})
			in.Handshake.DeletionTimestamp = ptr.To(at(3, 0, 0))
		}, v1alpha1.ClusterSummary{Withdrawing: 8}},
		"one may not have it, and is gone": {func(in *Input) {
			in.refuse(8)
			in.Clusters = in.Clusters[:8]
		}, v1alpha1.ClusterSummary{Desired: 8, Synced: 8}},
	} {
		t.Run(title, func(t *testing.T) {
			in := input(many(9)...)
			c.change(&in)
			r := aggregate(t, in)
			assert.Equal(t, c.counts, r.Status.Summary)
			assert.Equal(t, fmt.Sprintf("%d/%d", c.counts.Synced, c.counts.Desired), r.Status.Display.ReadyClusters)
		})
	}
}

func TestStatusNamesWhatCarriesTheSecret(t *testing.T) {
	in := input("paris")
	s := aggregate(t, in).Status
	assert.Equal(t, []v1alpha1.BundleReference{{Name: "hs-1", TargetNamespace: "apps"}}, s.Bundles)
	assert.Equal(t, "r2", s.Revision)
	in.Bundle, in.Deployments = nil, nil
	s = aggregate(t, in).Status
	assert.Nil(t, s.Bundles)
	assert.Empty(t, s.Revision)
}

func TestRowsAreSortedAndBounded(t *testing.T) {
	in := input(many(2000)...)
	for i := 1950; i < 1999; i++ {
		waiting(in.Deployments[i])
	}
	silent(in.Clusters[1999])
	r := aggregate(t, in)
	require.Len(t, r.Status.Clusters, 100)
	require.Len(t, r.Rows, 2000)
	assert.Equal(t, int32(1900), r.Status.ClustersOmitted)
	assert.Equal(t, r.Rows[:100], r.Status.Clusters)
	var names []string
	for _, i := range []int{0, 49, 50, 99} {
		names = append(names, r.Rows[i].Name+" "+string(r.Rows[i].State))
	}
	assert.Equal(t, []string{"c01950 WaitApplied", "c01999 Offline", "c00000 Synced", "c00049 Synced"}, names)
	assert.Equal(t, v1alpha1.ClusterSummary{Desired: 2000, Synced: 1950, Pending: 49, Offline: 1}, r.Status.Summary)
	assert.Equal(t, 49, Count(r.Rows, "WaitApplied"))
	assert.Equal(t, "c01950, c01951, c01952, c01953, c01954 and 45 more", Names(r.Rows, "WaitApplied", "Offline"))

	hundred := aggregate(t, input(many(100)...))
	assert.Len(t, hundred.Status.Clusters, 100)
	assert.Zero(t, hundred.Status.ClustersOmitted)
}

func TestStatusOfManyClustersIsSmall(t *testing.T) {
	in := input()
	in.Bundle.Namespace, in.Handshake.Namespace = strings.Repeat("w", 63), strings.Repeat("w", 63)
	in.Bundle.Name = strings.Repeat("b", 53)
	in.Handshake.Name = strings.Repeat("h", 253)
	in.Handshake.Spec.SecretName, in.Handshake.Spec.TargetNamespace = strings.Repeat("s", 253), strings.Repeat("t", 63)
	in.Handshake.Spec.CorrectDrift = ptr.To(false)
	long := strings.Repeat("r", 63)
	in.Bundle.Annotations[v1alpha1.AnnotationDelivery] = `{"revisions":[{"from":3,"revision":"` + long + `","at":"2026-01-02T03:00:00.000000Z"}]}`
	for _, name := range many(2000) {
		in.add(strings.Repeat("c", 247) + name)
	}
	for i, c := range in.Clusters {
		c.Namespace, c.Labels = in.Handshake.Namespace, map[string]string{target.DisplayNameLabel: strings.Repeat("d", 63)}
		in.Deployments[i].Labels[fleet.ClusterNamespaceLabel] = c.Namespace
		modifiedCopy(in.Deployments[i], fleet.ModifiedStatus{Create: true})
	}
	in.unmatch()
	in.Held = []string{in.Clusters[1999].Name}

	r := aggregate(t, in)
	require.Equal(t, v1alpha1.ClusterSummary{Desired: 2000, Pending: 2000}, r.Status.Summary)
	row := r.Status.Clusters[99]
	require.Equal(t, []int{253, 63, 63, 63}, []int{len(row.Name), len(row.Namespace), len(row.DisplayName), len(row.Revision)})
	data, err := json.Marshal(r.Status)
	require.NoError(t, err)
	assert.Less(t, len(data), 200_000)
	assert.Greater(t, len(data), 60_000, "the names are there")
}

func TestLastSyncedAtIsWhenARevisionReachedEveryCluster(t *testing.T) {
	in := input("paris")
	for _, step := range []struct {
		title  string
		change func(*Input)
		synced metav1.Time
	}{
		{"every cluster has it", func(*Input) {}, metav1.NewTime(now)},
		{"an hour later it still has it", func(*Input) {}, metav1.NewTime(now)},
		{"the copy is deleted", func(in *Input) { in.Deployments[0].Status.NonModified = false }, metav1.NewTime(now)},
		{"the copy is there again", func(in *Input) { in.Deployments[0].Status.NonModified = true }, metav1.NewTime(now.Add(3 * time.Hour))},
		{"another revision was there at once", func(in *Input) {
			in.Bundle.Annotations[v1alpha1.AnnotationDelivery] = `{"revisions":[{"from":3,"revision":"r3","at":"2026-01-02T03:00:00.000000Z"}]}`
		}, metav1.NewTime(now.Add(4 * time.Hour))},
		{"the Secret is missing", func(in *Input) { in.Problem = missing() }, metav1.NewTime(now.Add(4 * time.Hour))},
	} {
		in.Clusters[0].Status.Agent.LastSeen = metav1.NewTime(in.Now)
		step.change(&in)
		r := aggregate(t, in)
		require.NotNil(t, r.Status.LastSyncedAt, step.title)
		assert.Equal(t, step.synced, *r.Status.LastSyncedAt, step.title)
		in = in.after(r)
		in.Now = in.Now.Add(time.Hour)
	}
}

func TestAnswers(t *testing.T) {
	paris, tokyo, denver, rome, oslo, berlin := deployment("paris"), deployment("tokyo"), deployment("denver"), deployment("rome"), deployment("oslo"), deployment("berlin")
	waiting(tokyo)
	tokyo.Status.Ready = false
	refusing(denver, "SecretExists")
	refusing(rome, "")
	handedOn(rome, 5) // is being tried again
	irreplaceableCopy(oslo, "TypeChanged")
	irreplaceableCopy(berlin, "")
	gone, foreign := deployment("gone"), deployment("foreign")
	gone.DeletionTimestamp = ptr.To(at(3, 0, 0))
	foreign.Labels[fleet.ClusterNamespaceLabel] = "fleet-other"
	modified := deployment("madrid")
	modifiedCopy(modified, fleet.ModifiedStatus{Create: true})
	assert.Equal(t, map[string]bundle.Answer{
		"paris":  {Applied: 3, Ready: true},
		"tokyo":  {Applied: 2},
		"denver": {Refused: true},
		"rome":   {},
		"oslo":   {Applied: 2, Ready: true, Irreplaceable: true},
		"berlin": {Applied: 2, Ready: true},
		"madrid": {Applied: 3, Ready: true},
	}, Answers("fleet-default", []*fleet.BundleDeployment{paris, tokyo, denver, rome, oslo, berlin, gone, foreign, modified}))
	assert.Equal(t, map[string]bundle.Answer{}, Answers("fleet-default", nil))
}
