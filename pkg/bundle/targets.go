package bundle

import (
	"slices"

	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// nameDeliver and nameWithdraw are the names of the targets. Fleet gives a target the values under its name.
	nameDeliver  = ValuesKey
	nameWithdraw = "withdraw"
)

// Target is what one cluster is to get. A Bundle names each cluster, instead of handing the selectors of the handshake
// to Fleet: so a cluster that no longer matches can be told to remove its copy before Fleet lets go of it, and no
// change of a label withdraws a Secret unseen.
type Target struct {
	Cluster string
	// Withdraw is true when the cluster is to remove what it has.
	Withdraw bool
	// Number is the cluster's own forceSyncGeneration; 0 when it goes with the Bundle's.
	Number int64
}

// TargetsOf reads the targets of a Bundle by the name of the cluster.
func TargetsOf(b *fleet.Bundle) map[string]Target {
	found := map[string]Target{}
	if b == nil {
		return found
	}
	for _, t := range b.Spec.Targets {
		if t.ClusterName != "" && !t.DoNotDeploy {
			found[t.ClusterName] = Target{Cluster: t.ClusterName, Withdraw: t.Name == nameWithdraw, Number: t.ForceSyncGeneration}
		}
	}
	return found
}

// fleetTargets names each cluster. Fleet also takes a clusterName for the display name of another cluster, its namesake.
// The label with the display name tells them apart. Where that is the same too, the namesake comes first: the first
// target that matches decides (Fleet 0.16.0, internal/cmd/controller/target/matcher).
func fleetTargets(targets []Target, clusters []*fleet.Cluster) []fleet.BundleTarget {
	n := newNaming(clusters)
	targeted := map[string]bool{}
	for _, t := range targets {
		targeted[t.Cluster] = true
	}
	out := make([]fleet.BundleTarget, 0, len(targets))
	var last []fleet.BundleTarget
	for _, t := range targets {
		ft := fleet.BundleTarget{Name: nameDeliver, ClusterName: t.Cluster, ClusterSelector: n.selector(t.Cluster)}
		if t.Withdraw {
			ft.Name = nameWithdraw
		}
		ft.ForceSyncGeneration = t.Number
		if n.display[t.Cluster] != t.Cluster || len(n.namesakes[t.Cluster]) == 0 {
			out = append(out, ft)
			continue
		}
		last = append(last, ft)
		for _, name := range n.namesakes[t.Cluster] {
			if !targeted[name] {
				out = append(out, fleet.BundleTarget{ClusterName: name, ClusterSelector: n.selector(name), DoNotDeploy: true})
			}
		}
	}
	return append(out, last...)
}

// naming is how the clusters of a workspace are called.
type naming struct {
	// display are the display names by name, and namesakes the names of the others that have a name for display name.
	// ids are Rancher's own names, which no two clusters share and nobody changes.
	ids       map[string]string
	display   map[string]string
	namesakes map[string][]string
}

func newNaming(clusters []*fleet.Cluster) naming {
	n := naming{ids: map[string]string{}, display: map[string]string{}, namesakes: map[string][]string{}}
	for _, c := range clusters {
		display := c.Labels[target.DisplayNameLabel]
		n.display[c.Name], n.ids[c.Name] = display, c.Labels[target.NameLabel]
		if display != "" && display != c.Name {
			n.namesakes[display] = append(n.namesakes[display], c.Name)
		}
	}
	for _, names := range n.namesakes {
		slices.Sort(names)
	}
	return n
}

// selector tells a cluster from others: by Rancher's own name for it, or else, where it has a namesake, by its display
// name.
func (n naming) selector(cluster string) *metav1.LabelSelector {
	if id := n.ids[cluster]; id != "" {
		return &metav1.LabelSelector{MatchLabels: map[string]string{target.NameLabel: id}}
	}
	if len(n.namesakes[cluster]) == 0 {
		return nil
	}
	only := metav1.LabelSelectorRequirement{Key: target.DisplayNameLabel, Operator: metav1.LabelSelectorOpDoesNotExist}
	if n.display[cluster] != "" {
		only.Operator, only.Values = metav1.LabelSelectorOpIn, []string{n.display[cluster]}
	}
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{only}}
}
