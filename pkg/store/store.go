// Package store is the model of a secret store on the hub that many tenants share: its tree, the JSON that goes in and
// out, the Secret that holds one entry, its former values, and what an import would change.
//
// The tree is the map of the fleet. A tenant is a Fleet workspace, which is a namespace of the hub; below it are the
// Clusters of Fleet, and below these the namespaces of each cluster. An entry is in one of those namespaces, or global:
// for the whole cluster.
//
// The package has no client and no clock. No error and no plan of it holds a byte of a value.
package store

import (
	"cmp"
	"strings"
	"time"
)

// Place says where an entry is. The zero Namespace stands for a global entry.
type Place struct {
	Tenant, Cluster, Namespace, Name string
}

// Global says whether the entry is for the whole cluster.
func (p Place) Global() bool { return p.Namespace == "" }

// String is the path in the tree, such as tenants/acme/clusters/paris/namespaces/apps/secrets/db.
func (p Place) String() string { return p.path().String() }

// MarshalText gives the path in the tree.
func (p Place) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p Place) path() *path {
	cluster := (*path)(nil).at(tenantsField).at(p.Tenant).at(clustersField).at(p.Cluster)
	if p.Global() {
		return cluster.at(globalField).at(p.Name)
	}
	return cluster.at(namespacesField).at(p.Namespace).at(secretsField).at(p.Name)
}

// Compare orders places by tenant, cluster, namespace (global first) and name.
func (p Place) Compare(o Place) int {
	return cmp.Or(
		strings.Compare(p.Tenant, o.Tenant),
		strings.Compare(p.Cluster, o.Cluster),
		strings.Compare(p.Namespace, o.Namespace),
		strings.Compare(p.Name, o.Name),
	)
}

// Type says who may have an entry.
type Type string

const (
	// Workload entries are for the one workload with their SPIFFE ID.
	Workload Type = "workload"
	// Kubernetes entries become a Kubernetes Secret in the cluster.
	Kubernetes Type = "kubernetes"
	// Raw entries are for whoever reads the store. A FleetHandshake can send them.
	Raw Type = "raw"
)

// State says whether an entry may be used.
type State string

const (
	// Active entries may be used.
	Active State = "Active"
	// NotYet is the state before notBefore.
	NotYet State = "NotYet"
	// Expired is the state from expirationDate on.
	Expired State = "Expired"
)

// Entry is one secret.
type Entry struct {
	Type     Type
	Value    Value
	Metadata Metadata
	// SPIFFEID is the workload that may have the entry; only with Workload.
	SPIFFEID string
	// NotBefore is when the entry may first be used, ExpirationDate when no longer. The zero time is no bound. Both are UTC.
	NotBefore, ExpirationDate time.Time
}

// Metadata is what goes with a value. None of it is secret.
type Metadata struct {
	Labels, Annotations map[string]string
	// Created and Updated are creationTimestamp and lastUpdated, in UTC. The zero time is unknown.
	Created, Updated time.Time
}

// State is the one at a time.
func (e Entry) State(at time.Time) State {
	switch {
	case !e.ExpirationDate.IsZero() && !at.Before(e.ExpirationDate):
		return Expired
	case at.Before(e.NotBefore):
		return NotYet
	}
	return Active
}

// NextState is when the state at a time ends; the zero time when it does not.
func (e Entry) NextState(at time.Time) time.Time {
	switch e.State(at) {
	case NotYet:
		return e.NotBefore
	case Active:
		return e.ExpirationDate
	}
	return time.Time{}
}

// Tree has entries by their place.
type Tree map[Place]Entry

// Scope is a part of the tree: all of it, one tenant, one cluster of it, or one namespace of that.
type Scope struct {
	Tenant, Cluster, Namespace string
}

// Has says whether a place is in the part.
func (s Scope) Has(p Place) bool {
	return (s.Tenant == "" || s.Tenant == p.Tenant) &&
		(s.Cluster == "" || s.Cluster == p.Cluster) &&
		(s.Namespace == "" || s.Namespace == p.Namespace)
}

// Selector is a label selector for the Secrets of the part, in the namespace of its tenant. It can find more than
// these: ask Has about the place of each.
func (s Scope) Selector() string {
	terms := []string{LabelScope}
	if s.Cluster != "" {
		terms = append(terms, LabelCluster+"="+labelValue(s.Cluster))
	}
	if s.Namespace != "" {
		terms = append(terms, LabelNamespace+"="+s.Namespace)
	}
	return strings.Join(terms, ",")
}
