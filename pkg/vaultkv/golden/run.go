package golden

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// Run merges each case in each mode, of what read gives for its paths, and compares what comes out.
func Run(t *testing.T, read func(*testing.T, vaultkv.Read) []vaultkv.Leaf) {
	t.Helper()
	for name, mode := range map[string]vaultkv.Mode{"exact": vaultkv.Exact, "kiwi": vaultkv.Kiwi} {
		for _, c := range Cases {
			t.Run(fmt.Sprintf("%s/%d", name, c.Number), func(t *testing.T) { c.run(t, mode, read) })
		}
	}
}

func (c Case) run(t *testing.T, mode vaultkv.Mode, read func(*testing.T, vaultkv.Read) []vaultkv.Leaf) {
	if mode == vaultkv.Exact && c.Number == 12 {
		c.Env, c.JSON = prefixed, nil // each slash at the beginning goes
	}
	tree := vaultkv.New(mode)
	var missing []string
	for _, path := range c.Paths {
		what, err := path.Read(mode)
		require.NoError(t, err)
		leaves := read(t, what)
		for _, leaf := range leaves {
			if leaf.Data == nil {
				missing = append(missing, leaf.Path)
			}
		}
		if err := tree.Add(path, leaves...); err != nil {
			require.NotEmpty(t, c.Error[mode], "%v", err)
			require.ErrorContains(t, err, c.Error[mode])
			return
		}
	}
	require.Empty(t, c.Error[mode], "no error came")
	if c.Number != 12 {
		assert.Equal(t, c.Missing, missing)
	}
	if c.Env != nil {
		r, err := tree.Env(c.Separator)
		require.NoError(t, err)
		got := map[string]string{}
		for key, value := range r.Data {
			got[key] = string(value)
			assert.NotEmpty(t, r.Origins[key].Path, key)
		}
		assert.Equal(t, c.Env, got)
		assert.Equal(t, c.Invalid, r.Invalid)
	}
	if c.JSON != nil {
		r, err := tree.JSON()
		require.NoError(t, err)
		var got map[string]any
		require.NoError(t, json.Unmarshal(r.Data[vaultkv.JSONKey], &got))
		assert.Equal(t, c.JSON, got)
		r, err = tree.YAML()
		require.NoError(t, err)
		got = nil
		require.NoError(t, yaml.Unmarshal(r.Data[vaultkv.YAMLKey], &got))
		assert.Equal(t, c.JSON, got)
	}
}
