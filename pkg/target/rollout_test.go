package target

import (
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestInPartitions(t *testing.T) {
	clusters := []*fleet.Cluster{
		cluster("paris", map[string]string{"env": "production", DisplayNameLabel: "Paris One"}),
		cluster("tokyo", map[string]string{"env": "production"}),
		cluster("denver", map[string]string{"env": "staging"}),
		cluster("lonely", nil),
	}
	groups := []*fleet.ClusterGroup{group("production", map[string]string{"env": "production"}, map[string]string{"tier": "gold"})}
	type partitions = []v1alpha1.RolloutPartition
	for title, c := range map[string]struct {
		rollout *v1alpha1.RolloutStrategy
		want    map[string]bool
	}{
		"without a rollout there are no partitions":         {nil, nil},
		"a rollout without partitions matches nothing":      {&v1alpha1.RolloutStrategy{MaxNew: ptr.To[int32](1)}, map[string]bool{}},
		"a partition of one cluster":                        {&v1alpha1.RolloutStrategy{Partitions: partitions{{ClusterName: "tokyo"}}}, map[string]bool{"tokyo": true}},
		"a partition of one cluster by its name in Rancher": {&v1alpha1.RolloutStrategy{Partitions: partitions{{ClusterName: "Paris One"}}}, map[string]bool{"paris": true}},
		"a partition of a group":                            {&v1alpha1.RolloutStrategy{Partitions: partitions{{ClusterGroup: "production"}}}, map[string]bool{"paris": true, "tokyo": true}},
		"a partition of groups by their labels":             {&v1alpha1.RolloutStrategy{Partitions: partitions{{ClusterGroupSelector: selector("tier", "gold")}}}, map[string]bool{"paris": true, "tokyo": true}},
		"a partition by the labels of clusters":             {&v1alpha1.RolloutStrategy{Partitions: partitions{{ClusterSelector: selector("env", "staging")}}}, map[string]bool{"denver": true}},
		"a partition that nothing is in":                    {&v1alpha1.RolloutStrategy{Partitions: partitions{{ClusterName: "oslo"}}}, map[string]bool{}},
		"an empty selector matches every cluster":           {&v1alpha1.RolloutStrategy{Partitions: partitions{{ClusterSelector: &metav1.LabelSelector{}}}}, map[string]bool{"paris": true, "tokyo": true, "denver": true, "lonely": true}},
		"all words of a partition must match":               {&v1alpha1.RolloutStrategy{Partitions: partitions{{ClusterGroup: "production", ClusterName: "denver"}}}, map[string]bool{}},
		"partitions add up, and may overlap": {&v1alpha1.RolloutStrategy{Partitions: partitions{
			{Name: "first", ClusterName: "denver"}, {Name: "then", ClusterGroup: "production"}, {Name: "again", ClusterName: "denver"},
		}}, map[string]bool{"paris": true, "tokyo": true, "denver": true}},
		"limits do not matter for who is in": {&v1alpha1.RolloutStrategy{
			MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxUnavailablePartitions: ptr.To(intstr.FromString("0%")),
			AutoPartitionSize: ptr.To(intstr.FromString("100%")), AutoPartitionThreshold: ptr.To[int32](0), MaxNew: ptr.To[int32](1),
			Partitions: partitions{{ClusterName: "tokyo", MaxUnavailable: ptr.To(intstr.FromString("7%"))}},
		}, map[string]bool{"tokyo": true}},
	} {
		t.Run(title, func(t *testing.T) {
			in, err := InPartitions(c.rollout, clusters, groups)
			require.NoError(t, err)
			assert.Equal(t, c.want, in)
		})
	}
}

func TestInPartitionsNamesWhatFleetCouldNotWorkWith(t *testing.T) {
	number, text := func(n int32) *intstr.IntOrString { return ptr.To(intstr.FromInt32(n)) }, func(s string) *intstr.IntOrString { return ptr.To(intstr.FromString(s)) }
	broken := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: "Equals"}}}
	for title, c := range map[string]struct {
		rollout v1alpha1.RolloutStrategy
		want    string
	}{
		"a negative number": {
			v1alpha1.RolloutStrategy{MaxUnavailable: number(-1)},
			"maxUnavailable is -1: write a number of clusters from 0 on, or a percentage such as 25%",
		},
		"a word": {
			v1alpha1.RolloutStrategy{MaxUnavailablePartitions: text("half")},
			`maxUnavailablePartitions is "half": write a number of clusters from 0 on, or a percentage such as 25%`,
		},
		"a number as text": {
			v1alpha1.RolloutStrategy{AutoPartitionSize: text("25")},
			`autoPartitionSize is "25": write a number of clusters from 0 on, or a percentage such as 25%`,
		},
		"more than all": {
			v1alpha1.RolloutStrategy{AutoPartitionSize: text("101%")},
			`autoPartitionSize is "101%": write a number of clusters from 0 on, or a percentage such as 25%`,
		},
		"a negative percentage": {
			v1alpha1.RolloutStrategy{MaxUnavailable: text("-5%")},
			`maxUnavailable is "-5%": write a number of clusters from 0 on, or a percentage such as 25%`,
		},
		"no new clusters, ever": {
			v1alpha1.RolloutStrategy{MaxNew: ptr.To[int32](0)},
			"maxNew is 0: write 1 or more",
		},
		"a limit of a partition": {
			v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{{ClusterName: "a"}, {ClusterName: "b", MaxUnavailable: text("")}}},
			`partitions[1].maxUnavailable is "": write a number of clusters from 0 on, or a percentage such as 25%`,
		},
		"a partition without a word": {
			v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{{Name: "first"}}},
			"partitions[0] matches no cluster: add clusterName, clusterGroup, clusterSelector or clusterGroupSelector (clusterSelector: {} matches every cluster)",
		},
		"a broken selector of clusters": {
			v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{{ClusterSelector: broken}}},
			`partitions[0]: clusterSelector: "Equals" is not a valid label selector operator`,
		},
		"a broken selector of groups": {
			v1alpha1.RolloutStrategy{Partitions: []v1alpha1.RolloutPartition{{ClusterName: "a"}, {ClusterGroupSelector: broken}}},
			`partitions[1]: clusterGroupSelector: "Equals" is not a valid label selector operator`,
		},
		"several at once, in the order of the fields": {
			v1alpha1.RolloutStrategy{MaxNew: ptr.To[int32](-1), MaxUnavailable: number(-2), Partitions: []v1alpha1.RolloutPartition{{MaxUnavailable: number(-3)}}},
			"maxUnavailable is -2: write a number of clusters from 0 on, or a percentage such as 25%; " +
				"maxNew is -1: write 1 or more; " +
				"partitions[0].maxUnavailable is -3: write a number of clusters from 0 on, or a percentage such as 25%; " +
				"partitions[0] matches no cluster: add clusterName, clusterGroup, clusterSelector or clusterGroupSelector (clusterSelector: {} matches every cluster)",
		},
	} {
		t.Run(title, func(t *testing.T) {
			in, err := InPartitions(&c.rollout, []*fleet.Cluster{cluster("a", nil)}, nil)
			require.EqualError(t, err, c.want)
			assert.Nil(t, in)
		})
	}
}
