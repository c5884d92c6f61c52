package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/require"
)

// many makes a tree of 10,000 entries of about 1 KiB, in 50 clusters with 10 namespaces each.
func many(b *testing.B) (store.Tree, []byte) {
	b.Helper()
	tree := store.Tree{}
	for i := range 10000 {
		e := store.Entry{
			Type:      store.Kubernetes,
			Value:     store.KeysValue(map[string]string{"user": fmt.Sprint("user-", i), "password": strings.Repeat("p", 950), "quoted": `a"b` + "\n"}),
			Metadata:  store.Metadata{Labels: map[string]string{"team": "a"}, Created: now, Updated: now},
			NotBefore: now,
		}
		tree[store.Place{Tenant: "acme", Cluster: fmt.Sprint("cluster-", i%50), Namespace: fmt.Sprint("ns-", i/50%10), Name: fmt.Sprint("entry-", i)}] = e
	}
	document, err := store.Export(tree, store.Scope{})
	require.NoError(b, err)
	return tree, document
}

func BenchmarkParse10000(b *testing.B) {
	_, document := many(b)
	b.SetBytes(int64(len(document)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := store.Parse(document, store.Scope{})
		require.NoError(b, err)
	}
}

func BenchmarkExport10000(b *testing.B) {
	tree, _ := many(b)
	b.ReportAllocs()
	for b.Loop() {
		_, err := store.Export(tree, store.Scope{})
		require.NoError(b, err)
	}
}

func BenchmarkPlan10000(b *testing.B) {
	tree, document := many(b)
	wanted, err := store.Parse(document, store.Scope{})
	require.NoError(b, err)
	i := 0
	for p, e := range tree {
		switch i++; i % 4 {
		case 0:
			delete(wanted, p)
		case 1:
			e.Value = store.TextValue("other")
			wanted[p] = e
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		_, err := store.PlanImport(tree, wanted, store.Scope{Tenant: "acme"}, true)
		require.NoError(b, err)
	}
}

func BenchmarkSecretAndRead(b *testing.B) {
	r, err := store.New(somewhere, raw(strings.Repeat("x", 1000)), now)
	require.NoError(b, err)
	for i := range 10 {
		r, _, err = r.Put(raw(strings.Repeat(fmt.Sprint(i), 1000)), now, 10)
		require.NoError(b, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, err := store.Read(r.Secret(nil))
		require.NoError(b, err)
	}
}
