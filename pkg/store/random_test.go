package store_test

import (
	"math/rand"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
)

// now is the time of all tests.
var now = time.Date(2027, 1, 31, 8, 0, 0, 0, time.UTC)

// Parts of names that could be taken for something else.
var (
	labels = []string{"a", "b", "global", "namespaces", "n1", "g1", "q", "qq", "x-1", "0", "apps", strings.Repeat("l", 20)}
	safe   = []string{"A", "b", "Q", "q", "qd", "qu", "qc", "a_b", "a-", "1", "former", "value", "Z9"}
	texts  = []string{"", " ", "\x00", "\u2028", "<&>", "\"\\", "é", "😀", "\ufffd", "null", "{}", "value", "\t\r\n", strings.Repeat("x", 100)}
)

func pick(r *rand.Rand, from []string) string { return from[r.Intn(len(from))] }

func joined(r *rand.Rand, from []string, separators ...string) string {
	out := pick(r, from)
	for range r.Intn(3) {
		out += pick(r, separators) + pick(r, from)
	}
	return out
}

func randomPlace(r *rand.Rand, t store.Type) store.Place {
	p := store.Place{Tenant: pick(r, labels), Cluster: joined(r, labels, ".", "-"), Name: joined(r, labels, ".", "-")}
	if r.Intn(3) > 0 {
		p.Namespace = joined(r, labels[:8], "-")
	}
	if t != store.Kubernetes && r.Intn(2) == 0 {
		p.Name = pick(r, labels) + joined(r, safe, ".", "_", "") + "e"
	}
	return p
}

func randomTexts(r *rand.Rand) map[string]string {
	out := map[string]string{}
	for range 1 + r.Intn(4) {
		out[joined(r, append(safe, labels...), "-", "_", ".")] = pick(r, texts)
	}
	return out
}

func randomValue(r *rand.Rand) store.Value {
	if r.Intn(2) == 0 {
		return store.TextValue(pick(r, texts) + "v" + pick(r, texts))
	}
	return store.KeysValue(randomTexts(r))
}

func randomEntry(r *rand.Rand) store.Entry {
	e := store.Entry{Type: []store.Type{store.Raw, store.Kubernetes, store.Workload}[r.Intn(3)], Value: randomValue(r)}
	if e.Type == store.Workload {
		e.SPIFFEID = "spiffe://example.org/ns/" + pick(r, labels)
	}
	if r.Intn(2) == 0 {
		e.NotBefore = now.Add(time.Duration(r.Int63n(1e17)))
		e.Metadata.Annotations = map[string]string{"example.com/" + pick(r, labels): pick(r, texts), pick(r, labels): "x"}
	}
	if r.Intn(2) == 0 {
		e.ExpirationDate = now.Add(time.Duration(1e17 + r.Int63n(1e17)))
		e.Metadata.Labels = map[string]string{pick(r, labels): pick(r, labels), "team": ""}
	}
	if r.Intn(2) == 0 {
		e.Metadata.Created = now.Add(-time.Duration(r.Int63n(1e17)))
		e.Metadata.Updated = e.Metadata.Created.Add(time.Duration(r.Intn(2)))
	}
	return e
}

func randomTree(r *rand.Rand, entries int) store.Tree {
	tree := store.Tree{}
	for range entries {
		e := randomEntry(r)
		tree[randomPlace(r, e.Type)] = e
	}
	return tree
}
