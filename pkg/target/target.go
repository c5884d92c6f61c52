// Package target works out which Fleet Clusters a list of targets matches, by Fleet's own rules (Fleet 0.16.0,
// internal/cmd/controller/target/matcher). It is pure.
package target

import (
	"fmt"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Labels that Rancher sets on Fleet Clusters.
const (
	// DisplayNameLabel holds the name that people gave to a cluster.
	DisplayNameLabel = "management.cattle.io/cluster-display-name"
	// NameLabel holds the name of the cluster in Rancher's management API. No two clusters share it.
	NameLabel = "management.cattle.io/cluster-name"
)

// Match returns the clusters that get the bundle, in the order of clusters. For each cluster the first target that
// matches decides; within one target every word must match; a cluster that is in several groups matches when one of
// them does. An error begins with the index of the target
// whose selector is not valid.
func Match(targets []v1alpha1.ClusterTarget, clusters []*fleet.Cluster, groups []*fleet.ClusterGroup) ([]*fleet.Cluster, error) {
	rules := make([]rule, 0, len(targets))
	for i, t := range targets {
		r, err := newRule(t)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		rules = append(rules, r)
	}
	return match(rules, clusters, groups), nil
}

func match(rules []rule, clusters []*fleet.Cluster, groups []*fleet.ClusterGroup) []*fleet.Cluster {
	memberships := newMemberships(groups)
	var matched []*fleet.Cluster
	for _, c := range clusters {
		in := memberships.of(c)
		for _, r := range rules {
			if r.matches(c, in) {
				if !r.DoNotDeploy {
					matched = append(matched, c)
				}
				break
			}
		}
	}
	return matched
}

// rule is a target with its selectors compiled.
type rule struct {
	v1alpha1.ClusterTarget
	clusters labels.Selector
	groups   labels.Selector
}

func newRule(t v1alpha1.ClusterTarget) (rule, error) {
	r := rule{ClusterTarget: t}
	var err error
	if t.ClusterSelector != nil {
		if r.clusters, err = metav1.LabelSelectorAsSelector(t.ClusterSelector); err != nil {
			return rule{}, fmt.Errorf("clusterSelector: %w", err)
		}
	}
	if t.ClusterGroupSelector != nil {
		if r.groups, err = metav1.LabelSelectorAsSelector(t.ClusterGroupSelector); err != nil {
			return rule{}, fmt.Errorf("clusterGroupSelector: %w", err)
		}
	}
	return r, nil
}

func (r rule) matches(c *fleet.Cluster, in []*fleet.ClusterGroup) bool {
	if r.ClusterName == "" && r.ClusterGroup == "" && r.clusters == nil && r.groups == nil {
		return false
	}
	if r.ClusterName != "" && r.ClusterName != c.Name && r.ClusterName != c.Labels[DisplayNameLabel] {
		return false
	}
	if r.clusters != nil && !r.clusters.Matches(labels.Set(c.Labels)) {
		return false
	}
	if len(in) == 0 {
		// Fleet tries a cluster of no group as one of a group without name and labels.
		return r.matchesGroup("", nil)
	}
	for _, g := range in {
		if r.matchesGroup(g.Name, g.Labels) {
			return true
		}
	}
	return false
}

func (r rule) matchesGroup(name string, set map[string]string) bool {
	if r.ClusterGroup != "" && r.ClusterGroup != name {
		return false
	}
	return r.groups == nil || r.groups.Matches(labels.Set(set))
}

// memberships are the groups by namespace, with their selectors compiled once.
type memberships map[string][]membership

type membership struct {
	group    *fleet.ClusterGroup
	selector labels.Selector
}

func newMemberships(groups []*fleet.ClusterGroup) memberships {
	m := memberships{}
	for _, g := range groups {
		if g.Spec.Selector == nil {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(g.Spec.Selector)
		if err != nil {
			// Fleet says so on the group itself; it has no members.
			continue
		}
		m[g.Namespace] = append(m[g.Namespace], membership{g, selector})
	}
	return m
}

func (m memberships) of(c *fleet.Cluster) []*fleet.ClusterGroup {
	var in []*fleet.ClusterGroup
	for _, candidate := range m[c.Namespace] {
		if candidate.selector.Matches(labels.Set(c.Labels)) {
			in = append(in, candidate.group)
		}
	}
	return in
}
