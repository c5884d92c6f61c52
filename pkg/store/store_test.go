package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canary is in values, and may be in nothing else.
const canary = "hunter2"

func TestState(t *testing.T) {
	from, to := now, now.Add(time.Hour)
	for name, c := range map[string]struct {
		from, to, at, next time.Time
		want               store.State
	}{
		"no bounds":             {at: now, want: store.Active},
		"before notBefore":      {from: from, to: to, at: from.Add(-1), want: store.NotYet, next: from},
		"at notBefore":          {from: from, to: to, at: from, want: store.Active, next: to},
		"before expirationDate": {from: from, to: to, at: to.Add(-1), want: store.Active, next: to},
		"at expirationDate":     {from: from, to: to, at: to, want: store.Expired},
		"without end":           {from: from, at: to, want: store.Active},
		"another zone":          {to: to, at: to.In(time.FixedZone("", 3600)), want: store.Expired},
	} {
		e := store.Entry{NotBefore: c.from, ExpirationDate: c.to}
		assert.Equal(t, c.want, e.State(c.at), name)
		assert.Equal(t, c.next, e.NextState(c.at), name)
	}
}

func TestPathsOfPlaces(t *testing.T) {
	namespaced := store.Place{Tenant: "t", Cluster: "c", Namespace: "ns", Name: "s"}
	global := store.Place{Tenant: "t", Cluster: "c", Name: "s"}
	assert.Equal(t, "tenants/t/clusters/c/namespaces/ns/secrets/s", namespaced.String())
	assert.Equal(t, "tenants/t/clusters/c/global_secrets/s", global.String())
	assert.Equal(t, `tenants/"a/b"/clusters/""/global_secrets/"\u2215"`, store.Place{Tenant: "a/b", Name: "∕"}.String())
	assert.True(t, global.Global())
	assert.False(t, namespaced.Global())
}

func TestScopes(t *testing.T) {
	p := store.Place{Tenant: "t", Cluster: "c", Namespace: "ns", Name: "s"}
	global := store.Place{Tenant: "t", Cluster: "c", Name: "s"}
	for _, s := range []store.Scope{{}, {Tenant: "t"}, {Tenant: "t", Cluster: "c"}, {Tenant: "t", Cluster: "c", Namespace: "ns"}} {
		require.NoError(t, s.Check())
		assert.True(t, s.Has(p), s)
		assert.Equal(t, s.Namespace == "", s.Has(global), s)
	}
	for _, s := range []store.Scope{{Tenant: "u"}, {Tenant: "t", Cluster: "d"}, {Tenant: "t", Cluster: "c", Namespace: "other"}} {
		assert.False(t, s.Has(p), s)
	}
	for want, s := range map[string]store.Scope{
		"tenants has no name: name the tenant":                                   {Cluster: "c"},
		"tenants/t/clusters has no name: name the cluster":                       {Tenant: "t", Namespace: "ns"},
		"tenants/a.b is no name of a tenant: ":                                   {Tenant: "a.b"},
		`tenants/t/clusters/"../c" is no name of a cluster: `:                    {Tenant: "t", Cluster: "../c"},
		"tenants/t/clusters/c/namespaces/a_b is no name of a namespace: write t": {Tenant: "t", Cluster: "c", Namespace: "a_b"},
	} {
		require.ErrorContains(t, s.Check(), want)
		_, err := store.Parse([]byte(`{"tenants":{}}`), s)
		require.ErrorContains(t, err, want)
		_, err = store.Export(nil, s)
		require.ErrorContains(t, err, want)
		_, err = store.PlanImport(nil, nil, s, true)
		require.ErrorContains(t, err, want)
	}
}

func TestValuesAreNotPrinted(t *testing.T) {
	for _, v := range []store.Value{store.TextValue(canary), store.KeysValue(map[string]string{"k": canary})} {
		r, err := store.New(store.Place{Tenant: "t", Cluster: "c", Name: "s"}, store.Entry{Type: store.Raw, Value: v}, now)
		require.NoError(t, err)
		r, _, err = r.Put(store.Entry{Type: store.Raw, Value: store.TextValue("other")}, now, 10)
		require.NoError(t, err)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			for _, what := range []any{v, &v, r, &r, r.Entry, store.Tree{r.Place: r.Entry}} {
				assert.NotContains(t, fmt.Sprintf(verb, what), canary)
				assert.NotContains(t, fmt.Sprintf(verb, what), fmt.Sprintf("%x", canary))
			}
		}
		_, err = json.Marshal(r)
		require.ErrorContains(t, err, "Export only")
		assert.NotContains(t, err.Error(), canary)
	}
}

func TestAValueNeverChanges(t *testing.T) {
	keys := map[string]string{"a": "1"}
	v := store.KeysValue(keys)
	keys["a"] = "2"
	v.Keys()["a"] = "3"
	assert.Equal(t, map[string][]byte{"a": []byte("1")}, v.Data())
	assert.Equal(t, map[string][]byte{store.TextKey: []byte("x")}, store.TextValue("x").Data())
	assert.False(t, store.TextValue("x").Equal(store.KeysValue(map[string]string{store.TextKey: "x"})))
	assert.False(t, store.TextValue("").Equal(store.KeysValue(nil)))
	assert.True(t, v.Equal(store.KeysValue(map[string]string{"a": "1"})))
	assert.False(t, v.Equal(store.KeysValue(map[string]string{"a": "2"})))
}
