package bundle

import (
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClustersJoin(t *testing.T) {
	for title, steps := range map[string][]step{
		"a new cluster goes with the Bundle's number": {
			{nil, "1: a, b"},
			{all(exist("a", "b", "c"), match("a", "b", "c")), "1: a, b, c"},
		},
		"a cluster that does not match gets nothing": {
			{match("a"), "1: a"},
		},
		"a cluster that is matched but does not exist gets nothing": {
			{match("a", "b", "c"), "1: a, b"},
		},
		"no cluster matches": {
			{match(), "1:  | done"},
		},
		"the old answer of a cluster is not taken for one to its new target": {
			{match("a"), "1: a"},
			{all(match("a", "b"), answer(Answer{Applied: 1, Ready: true}, "b")), "1: a, b 2"},
		},
		"an answer from before the revision cannot be taken for one to it": {
			{match("a"), "1: a"},
			{rotate("r2"), "2: a"},
			{all(match("a", "b"), answer(Answer{Applied: 1, Ready: true}, "b")), "2: a, b"},
		},
		"an old answer with a number that nobody knows any more is passed": {
			{match("a"), "1: a"},
			{all(match("a", "b"), answer(Answer{Applied: 41, Ready: true}, "b")), "1: a, b 42"},
		},
		"several that join at once share a number": {
			{match(), "1:  | done"},
			{all(match("a", "b"), answer(Answer{Applied: 3, Ready: true}, "a", "b")), "1: a 4, b 4"},
		},
		"its own number ends when the Bundle's has passed it": {
			{match("a"), "1: a"},
			{all(match("a", "b"), answer(Answer{Applied: 1, Ready: true}, "b")), "1: a, b 2"},
			{all(apply("a", "b"), annotate(v1alpha1.AnnotationResyncRequestedAt, "now")), "3: a, b"},
		},
		"its own number stays while it is not confirmed, because its answer speaks of another target": {
			{match("a"), "1: a"},
			{all(match("a", "b"), answer(Answer{Applied: 1, Ready: true}, "b")), "1: a, b 2"},
			{all(apply("a"), annotate(v1alpha1.AnnotationResyncRequestedAt, "now")), "3: a, b 2"},
			{apply("a", "b"), "3: a, b"},
		},
		"its own number ends with a rotation": {
			{match("a"), "1: a"},
			{all(match("a", "b"), answer(Answer{Applied: 1, Ready: true}, "b")), "1: a, b 2"},
			{rotate("r2"), "3: a, b"},
		},
		"a cluster that Fleet no longer knows is dropped at once": {
			{nil, "1: a, b"},
			{all(apply("a", "b"), exist("a"), match("a")), "1: a"},
		},
		"a paused handshake lets clusters join, and Fleet holds them back": {
			{all(match("a"), pause(true)), "1: a"},
			{match("a", "b"), "1: a, b"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, steps) })
	}
}

func TestEachClusterIsToldApartFromThoseWithItsNameForDisplayName(t *testing.T) {
	only := func(operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "management.cattle.io/cluster-display-name", Operator: operator, Values: values}}}
	}
	for title, c := range map[string]struct {
		clusters []*fleet.Cluster
		matched  []*fleet.Cluster
		want     []fleet.BundleTarget
	}{
		"names that are all different need nothing": {
			[]*fleet.Cluster{named("c-1", "paris"), named("local", "local")},
			[]*fleet.Cluster{named("c-1", "paris"), named("local", "local")},
			[]fleet.BundleTarget{{Name: "deliver", ClusterName: "c-1"}, {Name: "deliver", ClusterName: "local"}},
		},
		"a cluster without a display name": {
			[]*fleet.Cluster{named("c-1", "paris"), clusters("paris")[0]},
			clusters("paris"),
			[]fleet.BundleTarget{{Name: "deliver", ClusterName: "paris", ClusterSelector: only("DoesNotExist")}},
		},
		"a cluster with a display name of its own": {
			[]*fleet.Cluster{named("c-1", "paris"), named("paris", "lyon")},
			[]*fleet.Cluster{named("paris", "lyon")},
			[]fleet.BundleTarget{{Name: "deliver", ClusterName: "paris", ClusterSelector: only("In", "lyon")}},
		},
		"two that have each other's name": {
			[]*fleet.Cluster{named("lyon", "paris"), named("paris", "lyon")},
			[]*fleet.Cluster{named("lyon", "paris"), named("paris", "lyon")},
			[]fleet.BundleTarget{
				{Name: "deliver", ClusterName: "lyon", ClusterSelector: only("In", "paris")},
				{Name: "deliver", ClusterName: "paris", ClusterSelector: only("In", "lyon")},
			},
		},
		"the same display name, and only the one is matched": {
			[]*fleet.Cluster{named("c-1", "paris"), named("paris", "paris")},
			[]*fleet.Cluster{named("paris", "paris")},
			[]fleet.BundleTarget{
				{ClusterName: "c-1", DoNotDeploy: true},
				{Name: "deliver", ClusterName: "paris", ClusterSelector: only("In", "paris")},
			},
		},
		"the same display name, and both are matched": {
			[]*fleet.Cluster{named("paris", "paris"), named("z-1", "paris")},
			[]*fleet.Cluster{named("paris", "paris"), named("z-1", "paris")},
			[]fleet.BundleTarget{
				{Name: "deliver", ClusterName: "z-1"},
				{Name: "deliver", ClusterName: "paris", ClusterSelector: only("In", "paris")},
			},
		},
	} {
		t.Run(title, func(t *testing.T) {
			s := newStory()
			s.Clusters, s.Matched = c.clusters, c.matched
			s.render(t)
			assert.Equal(t, c.want, s.Current.Spec.Targets)
			s.render(t)
			assert.Len(t, TargetsOf(s.Current), len(c.matched), "it reads its own targets")
		})
	}
}

// TestFleetFindsForEachClusterItsOwnTarget asks Fleet's rules, for every way to name three clusters and to match some.
func TestFleetFindsForEachClusterItsOwnTarget(t *testing.T) {
	names := []string{"a", "b", "c"}
	displays := []string{"", "a", "b", "c", "d"}
	for x := range 5 * 5 * 5 {
		three := []*fleet.Cluster{named("a", displays[x%5]), named("b", displays[x/5%5]), named("c", displays[x/25])}
		for _, c := range three {
			if c.Labels[target.DisplayNameLabel] == "" {
				c.Labels = nil
			}
		}
		for y := range 8 {
			s := newStory()
			s.Clusters = three
			for i := range names {
				if y>>i&1 == 1 {
					s.Matched = append(s.Matched, three[i])
				}
			}
			s.render(t)
			for i, c := range three {
				want := ""
				if y>>i&1 == 1 {
					want = c.Name
				}
				require.Equal(t, want, found(t, s.Current, c), "display names %v of %v, targets %v", []string{displays[x%5], displays[x/5%5], displays[x/25]}, names, s.Current.Spec.Targets)
			}
		}
	}
}

// found is the cluster that the first matching target names; empty when it deploys nothing.
func found(t *testing.T, b *fleet.Bundle, c *fleet.Cluster) string {
	t.Helper()
	for _, ft := range b.Spec.Targets {
		in, err := target.Match([]v1alpha1.ClusterTarget{{ClusterName: ft.ClusterName, ClusterSelector: ft.ClusterSelector}}, []*fleet.Cluster{c}, nil)
		require.NoError(t, err)
		switch {
		case len(in) == 0:
		case ft.DoNotDeploy:
			return ""
		default:
			return ft.ClusterName
		}
	}
	return ""
}

func TestTamperingNeverBringsANumberBack(t *testing.T) {
	lower := func(s *story) { s.Current.Spec.ForceSyncGeneration = 0 }
	forget := func(s *story) { s.Current.Annotations = nil }
	scrubbed := []step{
		{nil, "1: a, b"},
		{all(apply("a", "b"), rotate("r2")), "2: a, b"},
		{all(apply("a", "b"), later(5*time.Second)), "3: a, b"},
		{apply("a", "b"), "3: a, b"},
	}
	for title, steps := range map[string][]step{
		"somebody lowers the Bundle's number: not below that of the revision": {
			{lower, "2: a, b"},
			{rotate("r3"), "4: a, b"},
		},
		"somebody takes the record away: everything is sent again": {
			{forget, "4: a, b"},
		},
		"somebody lowers the number and takes the record away: the answers still know": {
			{all(lower, forget), "4: a, b"},
		},
		"somebody breaks the record": {
			{func(s *story) { s.Current.Annotations[v1alpha1.AnnotationDelivery] = "{" }, "4: a, b"},
		},
		"somebody takes the targets away: each gets a number of its own": {
			{func(s *story) { s.Current.Spec.Targets = nil }, "3: a 4, b 4"},
		},
		"somebody takes the targets away, and one refuses: it is tried again as before": {
			{all(func(s *story) { s.Current.Spec.Targets = nil }, answer(Answer{Applied: 1, Refused: true}, "b")), "3: a 4, b | next 5s"},
			{later(5 * time.Second), "3: a 4, b 5 | next 10s"},
		},
		"somebody adds a target for a cluster that does not match: it is withdrawn": {
			{func(s *story) {
				s.Current.Spec.Targets = append(s.Current.Spec.Targets, fleet.BundleTarget{Name: "deliver", ClusterName: "c"})
				s.Clusters = clusters("a", "b", "c")
				s.Answers["c"] = Answer{Applied: 3, Ready: true}
			}, "3: a, b, c withdraw 4 | next 10m0s"},
		},
		"somebody adds a target of their own: it is dropped": {
			{func(s *story) {
				s.Current.Spec.Targets = append(s.Current.Spec.Targets, fleet.BundleTarget{ClusterSelector: &metav1.LabelSelector{}})
			}, "3: a, b"},
		},
		"somebody names a cluster twice: one target is left": {
			{func(s *story) { s.Current.Spec.Targets = append(s.Current.Spec.Targets, s.Current.Spec.Targets...) }, "3: a, b"},
		},
		"somebody raises a number: the next one is higher": {
			{func(s *story) { s.Current.Spec.Targets[0].ForceSyncGeneration = 70 }, "3: a 70, b"},
			{rotate("r3"), "71: a, b"},
		},
		"somebody turns a target into a withdrawal: it is sent again": {
			{func(s *story) { s.Current.Spec.Targets[0].Name = "withdraw" }, "3: a 4, b"},
		},
		"somebody lowers the number of a withdrawal: it is sent again": {
			{match("a"), "3: a, b withdraw 4 | next 10m0s"},
			{func(s *story) { s.Current.Spec.Targets[1].ForceSyncGeneration = 1 }, "3: a, b withdraw 5 | next 10m0s"},
		},
		"somebody takes the record of a withdrawal away: the wait begins again": {
			{match("a"), "3: a, b withdraw 4 | next 10m0s"},
			{all(later(9*time.Minute), forget), "5: a, b withdraw 6 | next 10m0s"},
		},
		"somebody lowers the number while the copies are to stay: not below the one that says so": {
			{retain, "4: a, b"},
			{lower, "4: a, b"},
		},
		"somebody claims that there were many attempts: the wait ends": {
			{func(s *story) {
				s.Current.Annotations[v1alpha1.AnnotationDelivery] = `{"revisions":[{"from":2,"revision":"r2","at":null}],"last":3,"assertedAt":"2026-01-02T03:04:05Z","retries":9000000000000000000}`
				s.Answers["b"] = Answer{Applied: 2, Refused: true}
			}, "3: a, b | next 4m55s"},
		},
	} {
		t.Run(title, func(t *testing.T) { tell(t, append(scrubbed[:len(scrubbed):len(scrubbed)], steps...)) })
	}
}
