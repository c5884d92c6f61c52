// Package grant decides whether a FleetHandshake may send a Secret of another namespace, and to which clusters. It is
// pure: it looks at names and labels, and never at what the Secret holds.
package grant

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/bundle"
	"github.com/fleet-handshake/fleet-handshake/pkg/target"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// maxReasons is how many grants that do not count a message names.
const maxReasons = 3

// Request is everything that Decide looks at.
type Request struct {
	// Handshake that sends the Secret that its spec names.
	Handshake *v1alpha1.FleetHandshake
	// Grants are those in the namespace of the Secret.
	Grants []*v1alpha1.SecretGrant
	// Clusters are those that are to have the Secret, or have it, and Groups the cluster groups beside them.
	Clusters []*fleet.Cluster
	Groups   []*fleet.ClusterGroup
	Now      time.Time
}

// Decision says what a handshake may send, and where to.
type Decision struct {
	// Granted is true when the Secret may be read and sent to the clusters that are not in Refused.
	Granted bool
	// Refused are the clusters that no grant covers, by name.
	Refused map[string]bool
	// Keys are those that may travel; nil stands for all.
	Keys []string
	// By are the names of the grants that were used.
	By []string
	// Message says what is not granted, and what to do; empty when everything is.
	Message string
	// Next is when the decision may be another one without any change from outside; zero when never.
	Next time.Time
}

// Decide works out what the grants allow. A Secret in the namespace of the handshake needs none.
func Decide(r Request) Decision {
	if bundle.SourceNamespace(r.Handshake) == r.Handshake.Namespace {
		return Decision{Granted: true}
	}
	timer := bundle.Timer{Now: r.Now}
	d := Decision{Refused: map[string]bool{}}
	var valid []candidate
	var broken []string
	for _, g := range r.Grants {
		if !speaksOf(g, r.Handshake) {
			continue
		}
		if at := g.Spec.ExpiresAt; at != nil && (timer.Due(at.Time) || at.IsZero()) {
			broken = append(broken, fmt.Sprintf("SecretGrant %s/%s has expired at %s", g.Namespace, g.Name, at.UTC().Format(time.RFC3339)))
			continue
		}
		c, err := newCandidate(g, r)
		if err != nil {
			broken = append(broken, fmt.Sprintf("SecretGrant %s/%s: %v", g.Namespace, g.Name, err))
			continue
		}
		valid = append(valid, c)
	}
	d.Next = timer.Next
	slices.SortFunc(valid, func(a, b candidate) int { return cmp.Compare(a.grant.Name, b.grant.Name) })
	slices.Sort(broken)
	if len(valid) == 0 {
		return d.refuse(r, broken)
	}

	var shared keys
	covered := len(r.Clusters) == 0
	for _, c := range valid {
		d.By = append(d.By, c.grant.Name)
		if covered {
			// Nobody has it or gets it yet.
			shared = shared.and(c.keys)
		}
	}
	for _, cluster := range r.Clusters {
		allowed, ok := keys{}, false
		for _, c := range valid {
			if c.covers(cluster) {
				allowed, ok = allowed.or(c.keys), true
			}
		}
		if !ok {
			d.Refused[cluster.Name] = true
			continue
		}
		covered, shared = true, shared.and(allowed)
	}
	if !covered {
		return d.refuse(r, broken)
	}
	if shared != nil && len(shared) == 0 {
		broken = append(broken, fmt.Sprintf("the grants %s have no key in common that may travel to all clusters", strings.Join(d.By, ", ")))
		return d.refuse(r, broken)
	}
	d.Granted = true
	if shared != nil {
		d.Keys = sets.List(sets.Set[string](shared))
	}
	if len(d.Refused) > 0 {
		d.Message = message(r, fmt.Sprintf("to %d of %d clusters", len(d.Refused), len(r.Clusters)), broken)
	}
	return d
}

func (d Decision) refuse(r Request, broken []string) Decision {
	for _, c := range r.Clusters {
		d.Refused[c.Name] = true
	}
	d.By, d.Message = nil, message(r, "to these clusters", broken)
	return d
}

// message does not say whether the Secret exists: nobody has looked.
func message(r Request, where string, broken []string) string {
	hs, namespace := r.Handshake, bundle.SourceNamespace(r.Handshake)
	why := ""
	if len(broken) > 0 {
		why = " (" + strings.Join(broken[:min(len(broken), maxReasons)], "; ") + ")"
	}
	return fmt.Sprintf("no SecretGrant in namespace %s lets this FleetHandshake send Secret %s/%s %s%s; its owner can create one there with from: [{namespace: %s, handshakes: [%s]}] and to: [{kind: Secret, names: [%s]}]",
		namespace, namespace, hs.Spec.SecretName, where, why, hs.Namespace, hs.Name, hs.Spec.SecretName)
}

// speaksOf says whether a grant names both the handshake and its Secret.
func speaksOf(g *v1alpha1.SecretGrant, hs *v1alpha1.FleetHandshake) bool {
	return g.Namespace == bundle.SourceNamespace(hs) && g.DeletionTimestamp.IsZero() &&
		slices.ContainsFunc(g.Spec.From, func(f v1alpha1.GrantFrom) bool {
			return f.Namespace == hs.Namespace && (len(f.Handshakes) == 0 || slices.Contains(f.Handshakes, hs.Name))
		}) &&
		slices.ContainsFunc(g.Spec.To, func(t v1alpha1.GrantTo) bool {
			return t.Kind == v1alpha1.SourceSecret && (len(t.Names) == 0 || slices.Contains(t.Names, hs.Spec.SecretName))
		})
}

// candidate is a grant with the clusters that it covers.
type candidate struct {
	grant *v1alpha1.SecretGrant
	keys  keys
	in    map[string]bool
}

func newCandidate(g *v1alpha1.SecretGrant, r Request) (candidate, error) {
	c := candidate{grant: g, keys: keysOf(g)}
	if len(g.Spec.Clusters) == 0 {
		return c, nil
	}
	matched, err := target.Match(g.Spec.Clusters, r.Clusters, r.Groups)
	if err != nil {
		return c, fmt.Errorf("spec.clusters%w", err)
	}
	c.in = map[string]bool{}
	for _, m := range matched {
		c.in[m.Name] = true
	}
	return c, nil
}

func (c candidate) covers(cluster *fleet.Cluster) bool {
	return c.in == nil || c.in[cluster.Name]
}

// keys are those of a Secret that may travel; nil stands for every key.
type keys sets.Set[string]

func keysOf(g *v1alpha1.SecretGrant) keys {
	if len(g.Spec.Keys) == 0 {
		return nil
	}
	return keys(sets.New(g.Spec.Keys...))
}

func (k keys) or(other keys) keys {
	if k == nil || other == nil {
		return nil
	}
	return keys(sets.Set[string](k).Union(sets.Set[string](other)))
}

func (k keys) and(other keys) keys {
	switch {
	case k == nil:
		return other
	case other == nil:
		return k
	}
	return keys(sets.Set[string](k).Intersection(sets.Set[string](other)))
}
