// Package golden has the cases that k8s-vault-operator tests itself with (tests/cases in its repository): what is in
// Vault, what a manifest asks for, and what comes out. Tests of the merge and tests on a real Vault share them.
package golden

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv"
)

// KV1 and KV2 are the mounts.
const (
	KV1 = "v1"
	KV2 = "secret"
)

// Secrets are the secrets in Vault, as JSON by their path.
var Secrets = map[string]string{ //nolint:gosec // examples
	"v1/something/a/secret":              `{"a": "1"}`,
	"v1/something/a/secretx":             `{"a": "x"}`,
	"v1/something/b/secret":              `{"b": "2"}`,
	"secret/seeds/team1/project1/secret": `{"a": "1", "b": "10"}`,
	"secret/seeds/team1/project1/config": `{"a": "2"}`,
	"secret/seeds/team1/project1/apikey": `{"a": "super-secret-api-key"}`,
	"secret/seeds/team1/project2/secret": `{"a": "3", "b": "33"}`,
	"secret/seeds/team1/project2/config": `{"a": "4"}`,
	"secret/seeds/team2/project1/secret": `{"aa": "5"}`,
	"secret/seeds/team2/project1/config": `{"a": "6"}`,
	"secret/seeds/team2/project2/secret": `{"a": "7"}`,
	"secret/seeds/team2/project2/config": `{"a": "8"}`,
	"secret/seeds/team3/project1/json":   `{"a/b": "{\"a\":\"b\"}", "a": "{\"a\":\"b\"}"}`,
	"secret/seeds/team4/project1/secret": `{"mysecret": "myvalue"}`,
	"secret/seeds/team4/project2/complex": `{"a": "example1", "b": 123, "c": {"c1": "example2", "c2": 456},
		"d": ["first", "second", "third"]}`,
	"secret/seeds/json":  `{"email@example.com": "1", "sp ace": "10", "valid": "key"}`,
	"secret/seeds/empty": `{}`,
}

// Case is one manifest.
type Case struct {
	Number    int
	Paths     []vaultkv.Path
	Separator string
	// Env and JSON are what comes out; nil is not looked at.
	Env  map[string]string
	JSON map[string]any
	// Error is a part of the error in each of the modes.
	Error map[vaultkv.Mode]string
	// Missing are the paths with nothing at them. Exact does not render such a case unless it is told to leave them out.
	Missing []string
	// Invalid are the keys that are left out.
	Invalid []string
}

func paths(pairs ...string) []vaultkv.Path {
	var out []vaultkv.Path
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, vaultkv.Path{Path: pairs[i], Prefix: pairs[i+1]})
	}
	return out
}

// Cases are the sixteen.
var Cases = []Case{
	{
		Number: 1, Separator: "---",
		Paths: paths("secret/seeds/team1/project1/secret", "", "secret/seeds/team1/project2/secret", "my_prefix"),
		Env:   map[string]string{"a": "1", "b": "10", "my_prefixa": "3", "my_prefixb": "33"},
	},
	{
		Number: 2, Separator: "_",
		Paths: paths("secret/seeds/team1/*", "", "secret/seeds/team2/*", "team_2_prefix"),
		Env: map[string]string{
			"project1_apikey_a": "super-secret-api-key", "project1_config_a": "2", "project1_secret_a": "1", "project1_secret_b": "10",
			"project2_config_a": "4", "project2_secret_a": "3", "project2_secret_b": "33",
			"team_2_prefixproject1_secret_aa": "5", "team_2_prefixproject1_config_a": "6",
			"team_2_prefixproject2_secret_a": "7", "team_2_prefixproject2_config_a": "8",
		},
	},
	{
		Number: 3, Separator: "_",
		Paths: paths("secret/seeds/team3/project1/json", ""),
		JSON:  map[string]any{"a/b": `{"a":"b"}`, "a": `{"a":"b"}`},
	},
	{
		Number: 4, Separator: "_",
		Paths: paths("secret/seeds/team1/*", "a/b", "secret/seeds/team1/*", "a/b/"),
		Env: map[string]string{
			"a_bproject1_apikey_a": "super-secret-api-key", "a_bproject1_config_a": "2", "a_bproject1_secret_a": "1",
			"a_bproject1_secret_b": "10", "a_bproject2_config_a": "4", "a_bproject2_secret_a": "3", "a_bproject2_secret_b": "33",
			"a_b_project1_apikey_a": "super-secret-api-key", "a_b_project1_config_a": "2", "a_b_project1_secret_a": "1",
			"a_b_project1_secret_b": "10", "a_b_project2_config_a": "4", "a_b_project2_secret_a": "3", "a_b_project2_secret_b": "33",
		},
	},
	{
		Number: 5, Separator: "_",
		Paths: paths("secret/seeds/team1/project1/secret", "my_prefix", "secret/seeds/team4/project1/secret", "my_prefix/"),
		Env:   map[string]string{"my_prefixa": "1", "my_prefixb": "10", "my_prefix_mysecret": "myvalue"},
	},
	{
		Number: 6, Separator: "_",
		Paths: paths("secret/seeds/team1/project1/secret", "", "secret/seeds/team1/project1/config", ""),
		Error: map[vaultkv.Mode]string{
			vaultkv.Kiwi:  `override detected: key "a" is already used`,
			vaultkv.Exact: `key "a" is in secret/seeds/team1/project1/secret and in secret/seeds/team1/project1/config`,
		},
	},
	{
		Number: 7, Separator: "_",
		Paths: paths("secret/seeds/empty", ""),
		Env:   map[string]string{}, JSON: map[string]any{},
	},
	{
		Number: 8, Separator: "_",
		Paths: paths("secret/seeds/404-secret", ""),
		Env:   map[string]string{}, JSON: map[string]any{},
		Missing: []string{"secret/seeds/404-secret"},
	},
	{
		Number: 9, Separator: "_",
		Paths: paths("secret/seeds/team4/project2/complex", ""),
		Env: map[string]string{
			"a": "example1", "b": "123", "c_c1": "example2", "c_c2": "456", "d_0": "first", "d_1": "second", "d_2": "third",
		},
	},
	{
		Number: 10, Separator: "_",
		Paths: paths("secret/seeds/team4/project2/complex", "my_prefix/"),
		Env:   prefixed,
	},
	{
		Number: 11, Separator: "_",
		Paths: paths("/secret/seeds/team4/project2/complex", "my_prefix/"),
		Env:   prefixed,
	},
	{
		Number: 12, Separator: "_",
		Paths: paths("//secret/seeds/team4/project2/complex", "my_prefix/"),
		// Only Kiwi reads nothing there.
		Env: map[string]string{}, JSON: map[string]any{"my_prefix": map[string]any{}},
	},
	{
		Number: 13, Separator: "_",
		Paths: paths("v1/something/a/*", "a_", "v1/something/b/secret", ""),
		Env:   map[string]string{"a_secret_a": "1", "a_secretx_a": "x", "b": "2"},
	},
	{
		Number: 14, Separator: "_",
		Paths:   paths("secret/seeds/json", ""),
		Env:     map[string]string{"valid": "key"},
		JSON:    map[string]any{"email@example.com": "1", "sp ace": "10", "valid": "key"},
		Invalid: []string{"email@example.com", "sp ace"},
	},
	{
		Number: 15, Separator: "_",
		Paths: paths("secret/seeds/team1/project1/config", ""),
		Env:   map[string]string{"a": "2"},
	},
	{
		Number: 16, Separator: "_",
		Paths: paths("secret/seeds/empty", "", "secret/seeds/non-existing", ""),
		Env:   map[string]string{}, JSON: map[string]any{},
		Missing: []string{"secret/seeds/non-existing"},
	},
}

var prefixed = map[string]string{
	"my_prefix_a": "example1", "my_prefix_b": "123", "my_prefix_c_c1": "example2", "my_prefix_c_c2": "456",
	"my_prefix_d_0": "first", "my_prefix_d_1": "second", "my_prefix_d_2": "third",
}

// Data decodes a secret as Vault's client does, with exact numbers.
func Data(text string) map[string]any {
	decoder := json.NewDecoder(bytes.NewBufferString(text))
	decoder.UseNumber()
	var data map[string]any
	if err := decoder.Decode(&data); err != nil {
		panic(err) // the texts are above
	}
	return data
}

// Leaves are what Vault has for a path, in the order of their paths.
func Leaves(read vaultkv.Read) []vaultkv.Leaf {
	if !read.Recursive {
		leaf := vaultkv.Leaf{Path: read.Base}
		if text, ok := Secrets[read.Base]; ok {
			leaf.Data = Data(text)
		}
		return []vaultkv.Leaf{leaf}
	}
	var out []vaultkv.Leaf
	for _, path := range slices.Sorted(maps.Keys(Secrets)) {
		if strings.HasPrefix(path, read.Base) {
			out = append(out, vaultkv.Leaf{Path: path, Data: Data(Secrets[path])})
		}
	}
	return out
}
