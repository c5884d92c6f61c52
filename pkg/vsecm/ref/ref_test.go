package ref_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/vsecm/ref"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canary is in every value, and may be in no error.
const canary = "hunter2"

const secret = `{
  "cocaCola": {
    "data": {"username": "root-hunter2", "password": "a\"b<\u00e9hunter2"},
    "labels": {"app": "web-hunter2"},
    "list": [ 1, {"a": "hunter2"} ],
    "tls.crt": "certificate-hunter2", "back\\slash": "b-hunter2"
  },
  "million": 1234567, "big": 21474836470, "small": 1e-5, "exact": 0.10, "huge": 12345678901234567890123,
  "yes": true, "no": false, "nothing": null, "none": "", "empty": {},
  "object": { "z": 0.10, "a": [ "<hunter2>" ] },
  "inside": "{\"x\": 1}"
}`

func parse(t *testing.T, text string) ref.Ref {
	t.Helper()
	r, err := ref.Parse(text)
	require.NoError(t, err, text)
	return r
}

func TestParse(t *testing.T) {
	for text, want := range map[string][]string{
		"databaseCredentials":                        {"databaseCredentials"},
		"databaseCredentials.cocaCola.data.username": {"databaseCredentials", "cocaCola", "data", "username"},
		`my\.secret.tls\.crt`:                        {"my.secret", "tls.crt"},
		`a\\.b`:                                      {`a\`, "b"},
		`a\\\.b`:                                     {`a\.b`},
		"größe.ключ":                                 {"größe", "ключ"},
		"a b.c:d":                                    {"a b", "c:d"},
	} {
		r := parse(t, text)
		assert.Equal(t, want, append([]string{r.Name}, r.Path...), text)
		assert.Equal(t, text, r.String())
	}
	for text, want := range map[string]string{
		"": "empty name", ".": "empty name", "a.": "empty name", ".a": "empty name", "a..b": "empty name",
		`a\b`: "not before a dot", `a\`: "not before a dot",
	} {
		_, err := ref.Parse(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestValues(t *testing.T) {
	for text, want := range map[string]string{
		"s":                        secret,
		"s.cocaCola.data.username": "root-hunter2",
		"s.cocaCola.data.password": `a"b<éhunter2`,
		`s.cocaCola.tls\.crt`:      "certificate-hunter2",
		`s.cocaCola.back\\slash`:   "b-hunter2",
		"s.million":                "1234567", "s.big": "21474836470", "s.small": "1e-5", "s.exact": "0.10", "s.huge": "12345678901234567890123",
		"s.yes": "true", "s.no": "false", "s.nothing": "null", "s.none": "", "s.empty": "{}",
		"s.object":        `{"z":0.10,"a":["<hunter2>"]}`,
		"s.cocaCola.list": `[1,{"a":"hunter2"}]`,
	} {
		got, err := parse(t, text).Value(secret)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, plain := range []string{"no JSON: " + canary, "", `{"a"`, "[1]", `"text"`} {
		got, err := parse(t, "s").Value(plain)
		require.NoError(t, err)
		assert.Equal(t, plain, got, "a name alone is the whole value, whatever it is")
	}
}

func TestWaysThatLeadNowhere(t *testing.T) {
	many := `{"k00":"hunter2","k01":1,"k02":1,"k03":1,"k04":1,"k05":1,"k06":1,"k07":1,"k08":1,"k09":1,"k10":1,"k11":1}`
	for name, c := range map[string]struct {
		ref, secret string
		missing     bool
		want        string
	}{
		"no such key":             {"s.cocaCola.data.user", secret, true, "ref s.cocaCola.data.user: s.cocaCola.data has no user: it has password, username"},
		"no such key at the top":  {"s.x", `{"a":"hunter2"}`, true, "ref s.x: secret s has no x: it has a"},
		"keys are told by case":   {"s.A", `{"a":"hunter2"}`, true, "ref s.A: secret s has no A: it has a"},
		"an empty object":         {"s.empty.x", secret, true, "ref s.empty.x: s.empty has no x: it is empty"},
		"many keys":               {"s.x", many, true, "ref s.x: secret s has no x: it has k00, k01, k02, k03, k04, k05, k06, k07, k08, k09 and 2 more"},
		"a long key":              {"s.x", `{"` + strings.Repeat("ä", 50) + `":1}`, true, "ref s.x: secret s has no x: it has " + strings.Repeat("ä", 31) + "…"},
		"through a text":          {"s.cocaCola.data.username.x", secret, false, "ref s.cocaCola.data.username.x: s.cocaCola.data.username is a text, and a ref leads through objects only"},
		"through JSON in a text":  {"s.inside.x", secret, false, "ref s.inside.x: s.inside is a text, and a ref leads through objects only"},
		"through a list":          {"s.cocaCola.list.0", secret, false, "ref s.cocaCola.list.0: s.cocaCola.list is a list, and a ref leads through objects only"},
		"through a number":        {"s.huge.x", secret, false, "ref s.huge.x: s.huge is a number, and a ref leads through objects only"},
		"through null":            {"s.nothing.x", secret, false, "ref s.nothing.x: s.nothing is null, and a ref leads through objects only"},
		"through true":            {"s.yes.x", secret, false, "ref s.yes.x: s.yes is true or false, and a ref leads through objects only"},
		"a secret that is a list": {"s.x", `[{"x":"hunter2"}]`, false, "ref s.x: secret s is a list, and a ref leads through objects only"},
		"a secret that is a text": {"s.x", `"hunter2"`, false, "ref s.x: secret s is a text, and a ref leads through objects only"},
		"no JSON":                 {"s.x", "hunter2", false, "ref s.x: the value of secret s is no JSON: only its name alone can be a ref"},
		"broken JSON":             {"s.x", `{"x":"hunter2"`, false, "ref s.x: the value of secret s is no JSON: only its name alone can be a ref"},
		"more after it":           {"s.x", `{"x":"hunter2"} {"x":1}`, false, "ref s.x: the value of secret s is no JSON: only its name alone can be a ref"},
		"an empty secret":         {"s.x", "", false, "ref s.x: the value of secret s is no JSON: only its name alone can be a ref"},
	} {
		_, err := parse(t, c.ref).Value(c.secret)
		var e *ref.Error
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, c.want, err.Error(), name)
		assert.Equal(t, c.missing, e.Missing, name)
		assert.NotContains(t, err.Error(), canary, name)
	}
}

func TestAllValuesOfAnObject(t *testing.T) {
	all, err := parse(t, "s.cocaCola.data").All(secret)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"username": "root-hunter2", "password": `a"b<éhunter2`}, all)
	all, err = parse(t, "s").All(`{"a": 0.10, "b": {"c": null}}`)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "0.10", "b": `{"c":null}`}, all)

	for text, want := range map[string]string{
		"s.inside":        "s.inside is a text",
		"s.cocaCola.list": "s.cocaCola.list is a list",
		"s.x":             "secret s has no x",
	} {
		_, err := parse(t, text).All(secret)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), canary)
	}
	_, err = parse(t, "s").All(canary)
	require.EqualError(t, err, "ref s: the value of secret s is no JSON: only its name alone can be a ref")
}

// FuzzValue checks that each value that can be found is what the library of Go finds, and that no error holds a value.
func FuzzValue(f *testing.F) {
	f.Add("s.cocaCola.data.username", secret)
	f.Add("s.a.b", `{"a":{"b":[1,2,{"c":1e400}]}}`)
	f.Add(`s.a\.b`, `{"a.b":"\ud800"}`)
	f.Add("s.a", `{"a":"1","a":2}`)
	f.Fuzz(func(t *testing.T, text, secret string) {
		r, err := ref.Parse(text)
		if err != nil {
			return
		}
		got, err := r.Value(secret)
		if len(r.Path) == 0 {
			require.NoError(t, err)
			require.Equal(t, secret, got)
			return
		}
		var want any
		decoder := json.NewDecoder(strings.NewReader(secret))
		decoder.UseNumber()
		decodes := json.Valid([]byte(secret)) && decoder.Decode(&want) == nil
		for _, name := range r.Path {
			object, ok := want.(map[string]any)
			if !ok {
				decodes = false
				break
			}
			if want, ok = object[name]; !ok {
				decodes = false
				break
			}
		}
		require.Equal(t, decodes, err == nil, "%v", err)
		if err != nil {
			return
		}
		switch want := want.(type) {
		case string:
			require.Equal(t, want, got)
		case json.Number:
			require.Equal(t, want.String(), got)
		default:
			encoded, err := json.Marshal(want)
			require.NoError(t, err)
			// Maps of the library are in the order of their keys.
			var again any
			decoder := json.NewDecoder(strings.NewReader(got))
			decoder.UseNumber()
			require.NoError(t, decoder.Decode(&again))
			back, err := json.Marshal(again)
			require.NoError(t, err)
			require.Equal(t, string(encoded), string(back))
		}
	})
}
