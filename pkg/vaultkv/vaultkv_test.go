package vaultkv_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv/golden"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var modes = map[string]vaultkv.Mode{"exact": vaultkv.Exact, "kiwi": vaultkv.Kiwi}

func texts(data map[string][]byte) map[string]string {
	out := map[string]string{}
	for key, value := range data {
		out[key] = string(value)
	}
	return out
}

func TestGoldenCases(t *testing.T) {
	golden.Run(t, func(_ *testing.T, read vaultkv.Read) []vaultkv.Leaf { return golden.Leaves(read) })
}

func TestNumbers(t *testing.T) {
	leaf := vaultkv.Leaf{Path: "secret/n", Data: golden.Data(
		`{"million": 1234567, "big": 21474836470, "small": 1e-5, "exact": 0.10, "huge": 12345678901234567890123, "null": null, "yes": true}`)}
	for name, want := range map[string]map[string]string{
		"exact": {"million": "1234567", "big": "21474836470", "small": "1e-5", "exact": "0.10", "huge": "12345678901234567890123", "null": "null", "yes": "true"},
		"kiwi":  {"million": "1.234567e+06", "big": "2.147483647e+10", "small": "1e-05", "exact": "0.1", "huge": "1.2345678901234568e+22", "null": "<nil>", "yes": "true"},
	} {
		tree := vaultkv.New(modes[name])
		require.NoError(t, tree.Add(vaultkv.Path{Path: "secret/n"}, leaf))
		r, err := tree.Env("_")
		require.NoError(t, err)
		assert.Equal(t, want, texts(r.Data), name)
	}

	tree := vaultkv.New(vaultkv.Exact)
	require.NoError(t, tree.Add(vaultkv.Path{Path: "secret/n"}, leaf))
	r, err := tree.YAML()
	require.NoError(t, err)
	assert.Equal(t, `big: 21474836470
exact: 0.10
huge: 12345678901234567890123
million: 1234567
"null": null
small: 1e-5
"yes": true
`, string(r.Data[vaultkv.YAMLKey]))
	r, err = tree.JSON()
	require.NoError(t, err)
	assert.Contains(t, string(r.Data[vaultkv.JSONKey]), `"huge": 12345678901234567890123`)
}

func TestTwoValuesWithOneKey(t *testing.T) {
	data := golden.Data(`{"a": {"b": "nested"}, "a_b": "flat"}`)
	exact := vaultkv.New(vaultkv.Exact)
	require.NoError(t, exact.Add(vaultkv.Path{Path: "secret/x"}, vaultkv.Leaf{Path: "secret/x", Data: data}))
	_, err := exact.Env("_")
	require.ErrorContains(t, err, `two values get the key "a_b", from secret/x and from secret/x`)
	r, err := exact.Env(".")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a.b": "nested", "a_b": "flat"}, texts(r.Data))

	for range 20 {
		kiwi := vaultkv.New(vaultkv.Kiwi)
		require.NoError(t, kiwi.Add(vaultkv.Path{Path: "secret/x"}, vaultkv.Leaf{Path: "secret/x", Data: data}))
		r, err := kiwi.Env("_")
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a_b": "flat"}, texts(r.Data))
	}
}

func TestASecretWhereAnotherHasAFolder(t *testing.T) {
	paths := []vaultkv.Path{{Path: "secret/one"}, {Path: "secret/two/*"}}
	one := vaultkv.Leaf{Path: "secret/one", Data: map[string]any{"x": "value-of-one"}}
	two := vaultkv.Leaf{Path: "secret/two/x", Data: map[string]any{"k": "value-of-two"}}
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		tree := vaultkv.New(vaultkv.Exact)
		leaves := []vaultkv.Leaf{one, two}
		require.NoError(t, tree.Add(paths[order[0]], leaves[order[0]]))
		err := tree.Add(paths[order[1]], leaves[order[1]])
		require.ErrorContains(t, err, `key "x" is in secret/`)
		assert.Contains(t, err.Error(), "secret/one")
		assert.Contains(t, err.Error(), "secret/two/x")
		assert.NotContains(t, err.Error(), "value-of")
	}
}

func TestTheOrderOfTheAnswersChangesNothing(t *testing.T) {
	leaves := []vaultkv.Leaf{
		{Path: "secret/f/x", Data: map[string]any{"y": "1"}},
		{Path: "secret/f/x/y", Data: map[string]any{"z": "2"}},
	}
	var errs []string
	for range 2 {
		err := vaultkv.New(vaultkv.Exact).Add(vaultkv.Path{Path: "secret/f/*"}, leaves...)
		require.Error(t, err)
		errs = append(errs, err.Error())
		slices.Reverse(leaves)
	}
	assert.Equal(t, errs[0], errs[1])
}

func TestABaseThatComesTwice(t *testing.T) {
	leaf := vaultkv.Leaf{Path: "kv/a/kv/a/x", Data: map[string]any{"k": "v"}}
	path := vaultkv.Path{Path: "kv/a/*"}
	for name, want := range map[string]string{"exact": "kv_a_x_k", "kiwi": "x_k"} {
		tree := vaultkv.New(modes[name])
		require.NoError(t, tree.Add(path, leaf))
		r, err := tree.Env("_")
		require.NoError(t, err)
		assert.Equal(t, map[string]string{want: "v"}, texts(r.Data), name)
	}
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]string{
		"":               "path is empty",
		"/":              "path is empty",
		"secret/foo*":    "write secret/foo/*",
		"secret/*/foo/*": "in the middle",
	} {
		_, err := vaultkv.Path{Path: path}.Read(vaultkv.Exact)
		require.ErrorContains(t, err, want, path)
	}
	read, err := vaultkv.Path{Path: "secret/foo*"}.Read(vaultkv.Kiwi)
	require.NoError(t, err)
	assert.Equal(t, vaultkv.Read{Base: "secret/foo", Recursive: true}, read)
}

func TestOriginsNameTheSecretAndItsVersion(t *testing.T) {
	tree := vaultkv.New(vaultkv.Exact)
	require.NoError(t, tree.Add(vaultkv.Path{Path: "secret/a"}, vaultkv.Leaf{Path: "secret/a", Version: 3, Data: map[string]any{"x": "1"}}))
	require.NoError(t, tree.Add(vaultkv.Path{Path: "secret/b"}, vaultkv.Leaf{Path: "secret/b", Version: 7, Data: map[string]any{"y": []any{"1", map[string]any{"z": "2"}}}}))
	r, err := tree.Env("_")
	require.NoError(t, err)
	assert.Equal(t, map[string]vaultkv.Origin{"x": {Path: "secret/a", Version: 3}, "y_0": {Path: "secret/b", Version: 7}, "y_1_z": {Path: "secret/b", Version: 7}}, r.Origins)
}

// FuzzEnvIsStable checks that the order in which Vault answers changes nothing, and that no value is lost in silence.
func FuzzEnvIsStable(f *testing.F) {
	f.Add(`{"a": {"b": 1}, "c": [1, 2]}`, `{"x": "y"}`, "_")
	f.Fuzz(func(t *testing.T, one, two, separator string) {
		var a, b map[string]any
		if json.Unmarshal([]byte(one), &a) != nil || json.Unmarshal([]byte(two), &b) != nil {
			t.Skip()
		}
		leaves := []vaultkv.Leaf{{Path: "m/f/a", Data: a}, {Path: "m/f/b", Data: b}}
		var renders []vaultkv.Rendered
		var errs []string
		for range 2 {
			tree := vaultkv.New(vaultkv.Exact)
			require.NoError(t, tree.Add(vaultkv.Path{Path: "m/f/*"}, leaves...))
			r, err := tree.Env(separator)
			renders, errs = append(renders, r), append(errs, fmt.Sprint(err))
			slices.Reverse(leaves)
		}
		assert.Equal(t, renders[0], renders[1])
		assert.Equal(t, errs[0], errs[1])
	})
}
