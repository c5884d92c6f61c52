package store_test

import (
	"bytes"
	"math/rand"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExport(t *testing.T) {
	tree := store.Tree{
		{Tenant: "t", Cluster: "c", Namespace: "ns", Name: "s"}: {Type: store.Kubernetes, Value: store.KeysValue(map[string]string{"b": "<&>", "a": "\u2028é"}), NotBefore: now, ExpirationDate: now.Add(1e9)},
		{Tenant: "t", Cluster: "c", Namespace: "ns", Name: "r"}: {Type: store.Raw, Value: store.TextValue("x"), Metadata: store.Metadata{Labels: map[string]string{"l": "v"}, Created: now, Updated: now.Add(5e8)}},
		{Tenant: "t", Cluster: "c", Name: "g"}:                  {Type: store.Workload, Value: store.TextValue("x"), SPIFFEID: "spiffe://example.org/web"},
		{Tenant: "t", Cluster: "b", Name: "g"}:                  {Type: store.Raw, Value: store.TextValue("x")},
		{Tenant: "a", Cluster: "b", Name: "g"}:                  {Type: store.Raw, Value: store.TextValue("x")},
	}
	content, err := store.Export(tree, store.Scope{Tenant: "t", Cluster: "c"})
	require.NoError(t, err)
	want := `{
  "tenants": {
    "t": {
      "clusters": {
        "c": {
          "namespaces": {
            "ns": {
              "secrets": {
                "r": {
                  "type": "raw",
                  "value": "x",
                  "metadata": {
                    "labels": {
                      "l": "v"
                    },
                    "creationTimestamp": "2027-01-31T08:00:00Z",
                    "lastUpdated": "2027-01-31T08:00:00.5Z"
                  }
                },
                "s": {
                  "type": "kubernetes",
                  "value": {
                    "a": "\u2028é",
                    "b": "<&>"
                  },
                  "metadata": {},
                  "notBefore": "2027-01-31T08:00:00Z",
                  "expirationDate": "2027-01-31T08:00:01Z"
                }
              }
            }
          },
          "global_secrets": {
            "g": {
              "type": "workload",
              "value": "x",
              "metadata": {},
              "spiffeId": "spiffe://example.org/web"
            }
          }
        }
      }
    }
  }
}
`
	assert.Equal(t, []byte(want), content, string(content))

	for scope, want := range map[store.Scope]int{
		{}: 5, {Tenant: "t"}: 4, {Tenant: "t", Cluster: "c"}: 3, {Tenant: "t", Cluster: "c", Namespace: "ns"}: 2, {Tenant: "none"}: 0,
	} {
		content, err := store.Export(tree, scope)
		require.NoError(t, err)
		part, err := store.Parse(content, scope)
		require.NoError(t, err)
		assert.Len(t, part, want)
		for p, e := range part {
			assert.Equal(t, tree[p], e)
		}
	}
}

func TestExportRefusesWhatParseWould(t *testing.T) {
	for want, tree := range map[string]store.Tree{
		"value is no UTF-8 text":             {{Tenant: "t", Cluster: "c", Name: "g"}: {Type: store.Raw, Value: store.TextValue("hunter2\xff")}},
		"value is no UTF-8":                  {{Tenant: "t", Cluster: "c", Name: "g"}: {Type: store.Raw, Value: store.KeysValue(map[string]string{"k": "hunter2\xff"})}},
		"annotations/a is no UTF-8 text":     {{Tenant: "t", Cluster: "c", Name: "g"}: {Type: store.Raw, Value: store.TextValue("x"), Metadata: store.Metadata{Annotations: map[string]string{"a": "\xff"}}}},
		"notBefore is no date":               {{Tenant: "t", Cluster: "c", Name: "g"}: {Type: store.Raw, Value: store.TextValue("x"), NotBefore: now.AddDate(8000, 0, 0)}},
		"expirationDate is no date":          {{Tenant: "t", Cluster: "c", Name: "g"}: {Type: store.Raw, Value: store.TextValue("x"), ExpirationDate: now.AddDate(-100, 0, 0)}},
		"metadata/creationTimestamp is no":   {{Tenant: "t", Cluster: "c", Name: "g"}: {Type: store.Raw, Value: store.TextValue("x"), Metadata: store.Metadata{Created: now.AddDate(8000, 0, 0)}}},
		"metadata/lastUpdated is no":         {{Tenant: "t", Cluster: "c", Name: "g"}: {Type: store.Raw, Value: store.TextValue("x"), Metadata: store.Metadata{Updated: now.AddDate(8000, 0, 0)}}},
		"has no tenant or no cluster":        {{Tenant: "t", Name: "g"}: {Type: store.Raw, Value: store.TextValue("x")}},
		`"g/g" is no name of an entry: wri`:  {{Tenant: "t", Cluster: "c", Name: "g/g"}: {Type: store.Raw, Value: store.TextValue("x")}},
		"namespaces/. is no name of a names": {{Tenant: "t", Cluster: "c", Namespace: ".", Name: "g"}: {Type: store.Raw, Value: store.TextValue("x")}},
	} {
		_, err := store.Export(tree, store.Scope{})
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), canary)
		for p, e := range tree {
			_, err := store.New(p, e, now)
			require.ErrorContains(t, err, want)
		}
	}
}

// TestTreesAreReadBack checks that random trees, and each part of them, come back from JSON as they were, and that the
// same tree gives the same bytes.
func TestTreesAreReadBack(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 100 {
		tree := randomTree(r, r.Intn(30))
		content, err := store.Export(tree, store.Scope{})
		require.NoError(t, err)
		again, err := store.Parse(content, store.Scope{})
		require.NoError(t, err)
		require.Equal(t, tree, again)
		twice, err := store.Export(again, store.Scope{})
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, twice))
		for p := range tree {
			scope := store.Scope{Tenant: p.Tenant, Cluster: p.Cluster, Namespace: p.Namespace}
			content, err := store.Export(tree, scope)
			require.NoError(t, err)
			part, err := store.Parse(content, scope)
			require.NoError(t, err)
			for q, e := range tree {
				_, there := part[q]
				require.Equal(t, scope.Has(q), there)
				if there {
					require.Equal(t, e, part[q])
				}
			}
		}
	}
}
