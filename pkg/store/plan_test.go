package store_test

import (
	"encoding/json"
	"math/rand"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func place(cluster, namespace, name string) store.Place {
	return store.Place{Tenant: "t", Cluster: cluster, Namespace: namespace, Name: name}
}

func TestPlanImport(t *testing.T) {
	changed := raw("new-" + canary)
	changed.ExpirationDate, changed.Metadata.Labels = now, map[string]string{"a": "b"}
	aged := raw("same")
	aged.Metadata = store.Metadata{Labels: map[string]string{}, Created: now, Updated: now.Add(time.Hour)}
	kubernetes := raw("x")
	kubernetes.Type = store.Kubernetes
	present := store.Tree{
		place("c", "n", "same"): aged, place("c", "n", "changed"): raw("old-" + canary), place("c", "", "typed"): kubernetes,
		place("c", "n", "gone"): raw("x"), place("c", "", "gone"): raw("x"), place("d", "n", "far"): raw("x"),
		{Tenant: "u", Cluster: "c", Name: "other"}: raw("x"),
	}
	wanted := store.Tree{
		place("c", "n", "same"): raw("same"), place("c", "n", "changed"): changed, place("c", "", "typed"): raw("x"),
		place("c", "n", "b"): raw("x"), place("c", "n", "a"): raw("x"), place("c", "", "z"): raw("x"),
		place("d", "n", "outside"): raw("x"),
	}
	scope := store.Scope{Tenant: "t", Cluster: "c"}
	plan, err := store.PlanImport(present, wanted, scope, true)
	require.NoError(t, err)
	content, err := json.MarshalIndent(plan, "", "  ")
	require.NoError(t, err)
	want := `{
  "create": [
    "tenants/t/clusters/c/global_secrets/z",
    "tenants/t/clusters/c/namespaces/n/secrets/a",
    "tenants/t/clusters/c/namespaces/n/secrets/b"
  ],
  "update": [
    {
      "place": "tenants/t/clusters/c/namespaces/n/secrets/changed",
      "fields": [
        "value",
        "metadata",
        "expirationDate"
      ]
    }
  ],
  "delete": [
    "tenants/t/clusters/c/global_secrets/gone",
    "tenants/t/clusters/c/namespaces/n/secrets/gone"
  ],
  "unchanged": [
    "tenants/t/clusters/c/namespaces/n/secrets/same"
  ],
  "refused": {
    "problems": [
      {
        "path": "tenants/t/clusters/c/global_secrets/typed/type",
        "reason": "is kubernetes in the store",
        "instead": "write kubernetes, or delete the entry with its former values first"
      },
      {
        "path": "tenants/t/clusters/d/namespaces/n/secrets/outside",
        "reason": "is outside of the part of the tree that this is about",
        "instead": "leave it out"
      }
    ]
  },
  "counts": {
    "create": 3,
    "update": 1,
    "delete": 2,
    "unchanged": 1,
    "refused": 2
  }
}`
	assert.Equal(t, []byte(want), content, string(content))

	plan, err = store.PlanImport(present, wanted, scope, false)
	require.NoError(t, err)
	assert.Empty(t, plan.Delete)
	assert.Zero(t, plan.Counts.Delete)

	plan, err = store.PlanImport(nil, nil, store.Scope{}, true)
	require.NoError(t, err)
	content, err = json.Marshal(plan)
	require.NoError(t, err)
	assert.JSONEq(t, `{"counts":{"create":0,"update":0,"delete":0,"unchanged":0,"refused":0}}`, string(content))
}

func TestChanges(t *testing.T) {
	base := store.Entry{Type: store.Raw, Value: store.TextValue("x")}
	for want, change := range map[string]func(*store.Entry){
		"type":           func(e *store.Entry) { e.Type = store.Kubernetes },
		"value":          func(e *store.Entry) { e.Value = store.KeysValue(map[string]string{"value": "x"}) },
		"metadata":       func(e *store.Entry) { e.Metadata.Annotations = map[string]string{"a": ""} },
		"spiffeId":       func(e *store.Entry) { e.SPIFFEID = "x" },
		"notBefore":      func(e *store.Entry) { e.NotBefore = now },
		"expirationDate": func(e *store.Entry) { e.ExpirationDate = now },
	} {
		e := base
		change(&e)
		assert.Equal(t, []string{want}, base.Changes(e))
		assert.Equal(t, []string{want}, e.Changes(base))
	}
	zoned := base
	zoned.NotBefore = now.In(time.FixedZone("", 3600))
	utc := base
	utc.NotBefore = now
	assert.Empty(t, zoned.Changes(utc))
}

// TestAPlanLeadsToWhatIsWanted carries out plans for random trees: afterwards the part is as wanted, the rest as it was,
// and another plan has nothing to do.
func TestAPlanLeadsToWhatIsWanted(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	did := store.Counts{}
	for range 200 {
		present, wanted := store.Tree{}, store.Tree{}
		for p, e := range randomTree(r, 20) {
			p.Tenant = "t"
			switch r.Intn(4) {
			case 0:
				present[p] = e
			case 1:
				wanted[p] = e
			case 2:
				present[p], wanted[p] = e, e
			case 3:
				present[p] = e
				e.Value = randomValue(r)
				wanted[p] = e
			}
		}
		prune := r.Intn(2) == 0
		plan, err := store.PlanImport(present, wanted, store.Scope{Tenant: "t"}, prune)
		require.NoError(t, err)
		require.Empty(t, plan.Refused.List)
		again, err := store.PlanImport(present, wanted, store.Scope{Tenant: "t"}, prune)
		require.NoError(t, err)
		require.Equal(t, plan, again)
		after := store.Tree{}
		for p, e := range present {
			after[p] = e
		}
		for _, p := range plan.Create {
			require.NotContains(t, present, p)
			after[p] = wanted[p]
		}
		for _, u := range plan.Update {
			require.Contains(t, present, u.Place)
			after[u.Place] = wanted[u.Place]
		}
		for _, p := range plan.Delete {
			delete(after, p)
		}
		want := store.Tree{}
		for p, e := range present {
			if !prune {
				want[p] = e
			}
		}
		for p, e := range wanted {
			want[p] = e
		}
		require.Equal(t, want, after)
		rest, err := store.PlanImport(after, wanted, store.Scope{Tenant: "t"}, prune)
		require.NoError(t, err)
		require.Equal(t, store.Counts{Unchanged: len(wanted)}, rest.Counts)
		did.Create, did.Update, did.Delete, did.Unchanged = did.Create+plan.Counts.Create, did.Update+plan.Counts.Update, did.Delete+plan.Counts.Delete, did.Unchanged+plan.Counts.Unchanged
	}
	assert.Greater(t, min(did.Create, did.Update, did.Delete, did.Unchanged), 200)
}
