package vsecm

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBodies(t *testing.T) {
	for text, want := range map[string]error{
		`{"data":"v","created":"\"2026-01-02T03:04:05Z\"","updated":""}`: nil,
		`{"data":"v","created":"","updated":"","err":"","more":1}`:       nil,
		``:                             errNoJSON,
		`<html>hunter2</html>`:         errNoJSON,
		`{"data":"hunter2`:             errNoJSON,
		`{"data":"hunter2"} {}`:        errNoJSON,
		`[]`:                           errShape,
		`"hunter2"`:                    errShape,
		`null`:                         errShape,
		`{}`:                           errShape,
		`{"data":null}`:                errShape,
		`{"data":["hunter2"]}`:         errShape,
		`{"data":1}`:                   errShape,
		`{"data":"v","created":1}`:     errShape,
		`{"data":"","err":""}`:         errNoData,
		`{"data":"v","err":"hunter2"}`: errFailed,
	} {
		b, err := parseBody([]byte(text))
		require.ErrorIs(t, err, want, text)
		if err != nil {
			assert.NotContains(t, err.Error(), canary)
			continue
		}
		assert.Equal(t, "v", *b.Data)
	}
}

const pair = `[{"name":"raw:a","value":"1","valueTransformed":"one","meta":{"namespaces":["default"],"template":"","Format":"json","correlationId":"c"},
"created":"2026-01-02T03:04:05.123Z","updated":"2026-01-02T03:04:06+02:00","notBefore":"2026-01-02T03:04:05Z","expiresAfter":"9999-12-31T23:59:59.999999999Z"},
{"name":"raw:b.c","value":"2","valueTransformed":""}]`

func TestLists(t *testing.T) {
	secrets, alone, err := parseRaw(pair)
	require.NoError(t, err)
	assert.Nil(t, alone)
	a, b := secrets["a"], secrets["b.c"]
	assert.Len(t, secrets, 2)
	assert.Equal(t, "one", a.secret.Value, "what the template has made of it")
	assert.Equal(t, "2", b.secret.Value, "what was stored, where there is nothing else")
	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 123e6, time.UTC), a.secret.Created)
	assert.Equal(t, time.Date(2026, 1, 2, 1, 4, 6, 0, time.UTC), a.secret.Updated.UTC())
	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), a.secret.NotBefore)
	assert.Equal(t, 9999, a.secret.ExpiresAfter.Year())
	assert.True(t, a.secret.Dated)
	assert.True(t, b.secret.NotBefore.IsZero() && b.secret.ExpiresAfter.IsZero())
}

func TestWhatIsTheValueOfASingleSecret(t *testing.T) {
	for _, data := range []string{
		"hunter2", `{"a":1}`, "[", "[1]", "[]", `[{"a":1}]`, `[{"name":"A","value":"b"}]`, `[{"name":1},{"valueTransformed":1}]`, "a: 1\n", " ", `"raw:a"`,
		`{"name":"raw:a","value":"x","valueTransformed":"x"}`, `[["name","raw:a"]]`, `[{"name":"not raw:a","value":"b"},{"name":"c"}]`, "[raw:a]",
	} {
		secrets, alone, err := parseRaw(data)
		require.NoError(t, err, data)
		require.NotNil(t, alone, data)
		assert.Equal(t, data, *alone)
		assert.Nil(t, secrets)
	}
}

func TestWhatOnlyLooksLikeAListIsNobodysValue(t *testing.T) {
	stored := func(name string) string {
		return `{"name":"` + name + `","value":"hunter2","valueTransformed":"hunter2","meta":{}}`
	}
	for name, data := range map[string]string{
		"one in a list":            "[" + stored("raw:a") + "]",
		"one that is not raw":      "[" + stored("raw:a") + "," + stored("b") + "]",
		"none is raw":              "[" + stored("a") + "," + stored("b") + "]",
		"a name of nothing":        "[" + stored("raw:a") + "," + stored("raw:") + "]",
		"a text between":           "[" + stored("raw:a") + `,"hunter2",` + stored("raw:b") + "]",
		"null between":             "[" + stored("raw:a") + `,null,` + stored("raw:b") + "]",
		"a list between":           "[" + stored("raw:a") + `,[],` + stored("raw:b") + "]",
		"no name":                  "[" + stored("raw:a") + `,{"value":"hunter2"}]`,
		"a name that is a number":  "[" + stored("raw:a") + `,{"name":1,"value":"hunter2"}]`,
		"a value that is a number": "[" + stored("raw:a") + `,{"name":"raw:b","value":1}]`,
		"a date that is a number":  "[" + stored("raw:a") + `,{"name":"raw:b","value":"b","notBefore":1}]`,
		"names in capitals":        `[{"Name":"raw:a","Values":["hunter2"],"Meta":{}}]`,
		"only the names":           `[{"name":"raw:a"}]`,
		"broken off":               strings.TrimSuffix("["+stored("raw:a")+"]", "]"),
		"more after it":            "[" + stored("raw:a") + "," + stored("raw:b") + "] x",
		"space before it":          "\n [" + stored("raw:a") + "]",
	} {
		secrets, alone, err := parseRaw(data)
		require.ErrorIs(t, err, errSimilar, name)
		assert.Nil(t, alone, name)
		assert.Nil(t, secrets, name)
	}
}

func TestOneBadSecretIsNoneOfTheOthers(t *testing.T) {
	for problem, element := range map[string]string{
		"has no value":                        `{"name":"raw:b","value":"","valueTransformed":""}`,
		"is there twice":                      `{"name":"raw:b","value":"x"},{"name":"raw:b","value":"y"}`,
		"has a notBefore that is no date":     `{"name":"raw:b","value":"x","notBefore":"never"}`,
		"has an expiresAfter that is no date": `{"name":"raw:b","value":"x","expiresAfter":"now"}`,
	} {
		secrets, _, err := parseRaw(`[{"name":"raw:a","value":"1","valueTransformed":"one"},` + element + `]`)
		require.NoError(t, err)
		raw := Raw{address: "https://safe", secrets: secrets}
		a, err := raw.Secret("a", "")
		require.NoError(t, err)
		assert.Equal(t, "one", a.Value)
		_, err = raw.Secret("b", "")
		require.ErrorContains(t, err, "raw secret b "+problem)
	}
}

func TestDates(t *testing.T) {
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "0001-01-01T00:00:00Z": {}, `""`: {}, "now": {}, `"now"`: {}, " Now ": {}, "2026-01-02T03:04:05Z": date, `"2026-01-02T03:04:05Z"`: date,
		` "2026-01-02T03:04:05Z" `: date, "2026-01-02T05:04:05+02:00": date, "2026-01-02T03:04:05.000000000Z": date,
	} {
		got, err := bound(text, "now")
		require.NoError(t, err, text)
		assert.True(t, want.Equal(got), "%s: %s", text, got)
	}
	for _, text := range []string{"never", "soon", "2026-01-02", "1767323045", "2026-13-02T03:04:05Z"} {
		_, err := bound(text, "now")
		require.Error(t, err, text)
	}
	assert.True(t, date.Equal(told(`"2026-01-02T03:04:05Z"`)))
	assert.True(t, told("soon").IsZero(), "a date that is only shown fails nothing")
}

// FuzzAnswer checks that no answer makes a panic, that what is no list is the value itself, and that each value in a list
// is one of its texts.
func FuzzAnswer(f *testing.F) {
	for _, data := range []string{pair, "v", "[]", `[{"name":"raw:a","valueTransformed":"x"},{"NAME":"raw:b","value":"y","notBefore":"\"now\""}]`} {
		content, err := json.Marshal(body{Data: &data, Created: `"2026-01-02T03:04:05Z"`})
		require.NoError(f, err)
		f.Add(content)
	}
	f.Add([]byte(`{"data":"x","err":"y"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		own := answer{name: "app"}
		if own.read(content) != nil {
			require.Nil(t, own.own)
			return
		}
		require.NotEmpty(t, own.own.Value)
		data := own.own.Value
		raw := answer{name: ScoutName}
		if err := raw.read(content); err != nil {
			require.ErrorIs(t, err, errSimilar)
			require.Nil(t, raw.secrets)
			require.Nil(t, raw.alone)
			return
		}
		if raw.alone != nil {
			require.Equal(t, data, *raw.alone)
			require.Nil(t, raw.secrets)
			return
		}
		var parts []map[string]any
		require.NoError(t, json.Unmarshal([]byte(data), &parts))
		require.GreaterOrEqual(t, len(parts), 2)
		texts := map[string]bool{}
		for _, part := range parts {
			for _, value := range part {
				if text, ok := value.(string); ok {
					texts[text] = true
				}
			}
		}
		for name, s := range raw.secrets {
			require.NotEmpty(t, name)
			require.True(t, texts[rawPrefix+name], name)
			if s.problem == "" {
				require.True(t, texts[s.secret.Value])
				require.Equal(t, name, s.secret.Name)
			}
		}
	})
}
