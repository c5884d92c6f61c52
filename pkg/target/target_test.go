package target

import (
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func cluster(name string, labels map[string]string) *fleet.Cluster {
	return &fleet.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: name, Labels: labels}}
}

func group(name string, selector, labels map[string]string) *fleet.ClusterGroup {
	return &fleet.ClusterGroup{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: name, Labels: labels},
		Spec:       fleet.ClusterGroupSpec{Selector: &metav1.LabelSelector{MatchLabels: selector}},
	}
}

func selector(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func TestMatch(t *testing.T) {
	clusters := []*fleet.Cluster{
		cluster("paris", map[string]string{"env": "production", "region": "eu", DisplayNameLabel: "Paris One"}),
		cluster("tokyo", map[string]string{"env": "production", "region": "asia"}),
		cluster("denver", map[string]string{"env": "staging"}),
		cluster("lonely", nil),
	}
	foreign := group("production", map[string]string{"env": "staging"}, nil)
	foreign.Namespace = "elsewhere"
	groups := []*fleet.ClusterGroup{
		group("production", map[string]string{"env": "production"}, map[string]string{"tier": "gold"}),
		group("europe", map[string]string{"region": "eu"}, map[string]string{"tier": "silver"}),
		foreign,
		{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "no-selector"}},
		group("broken", map[string]string{"not valid!": "x"}, nil),
	}
	type targets = []v1alpha1.ClusterTarget
	for title, c := range map[string]struct {
		targets targets
		want    []string
	}{
		"no targets match nothing":                  {nil, nil},
		"an empty target matches nothing":           {targets{{Name: "x"}}, nil},
		"an empty selector matches every cluster":   {targets{{ClusterSelector: &metav1.LabelSelector{}}}, []string{"paris", "tokyo", "denver", "lonely"}},
		"a cluster by name":                         {targets{{ClusterName: "tokyo"}}, []string{"tokyo"}},
		"a cluster by the name it has in Rancher":   {targets{{ClusterName: "Paris One"}}, []string{"paris"}},
		"a group has the clusters of its selector":  {targets{{ClusterGroup: "production"}}, []string{"paris", "tokyo"}},
		"a group without a selector is empty":       {targets{{ClusterGroup: "no-selector"}}, nil},
		"a group whose selector is broken is empty": {targets{{ClusterGroup: "broken"}}, nil},
		"an unknown group is empty":                 {targets{{ClusterGroup: "unknown"}}, nil},
		"groups by their labels":                    {targets{{ClusterGroupSelector: selector("tier", "silver")}}, []string{"paris"}},
		"all words of a target must match":          {targets{{ClusterGroup: "production", ClusterSelector: selector("region", "asia")}}, []string{"tokyo"}},
		"one group must match both group words":     {targets{{ClusterGroup: "europe", ClusterGroupSelector: selector("tier", "gold")}}, nil},
		"targets add up":                            {targets{{ClusterName: "denver"}, {ClusterGroup: "europe"}}, []string{"paris", "denver"}},
		"the first match decides": {targets{
			{ClusterName: "paris", DoNotDeploy: true}, {ClusterGroup: "production"},
		}, []string{"tokyo"}},
		"a later doNotDeploy comes too late": {targets{
			{ClusterGroup: "production"}, {ClusterName: "paris", DoNotDeploy: true},
		}, []string{"paris", "tokyo"}},
	} {
		t.Run(title, func(t *testing.T) {
			matched, err := Match(c.targets, clusters, groups)
			require.NoError(t, err)
			var names []string
			for _, m := range matched {
				names = append(names, m.Name)
			}
			assert.Equal(t, c.want, names)
		})
	}
}

func TestMatchNamesTheBrokenTarget(t *testing.T) {
	broken := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: "Equals"}}}
	_, err := Match([]v1alpha1.ClusterTarget{{ClusterName: "x"}, {ClusterSelector: broken}}, nil, nil)
	require.EqualError(t, err, `[1]: clusterSelector: "Equals" is not a valid label selector operator`)
	_, err = Match([]v1alpha1.ClusterTarget{{ClusterGroupSelector: broken}}, nil, nil)
	require.EqualError(t, err, `[0]: clusterGroupSelector: "Equals" is not a valid label selector operator`)
}
