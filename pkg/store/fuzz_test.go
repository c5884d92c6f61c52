package store_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// meaningful are texts that decide whether a document is right. All others could be secret.
var meaningful = regexp.MustCompile(`^(workload|kubernetes|raw|\d{4}-.*|(?s:spiffe://.*))$`)

// disguised is the document with other letters and digits in each string that is no name. It is valid where the document
// is, and has equally long values.
func disguised(document []byte) []byte {
	out := append([]byte(nil), document...)
	for i := 0; i < len(out); i++ {
		if out[i] != '"' {
			continue
		}
		start := i + 1
		for i = start; out[i] != '"'; i++ {
			if out[i] == '\\' {
				i++
			}
		}
		rest := strings.TrimLeft(string(out[i+1:]), " \t\r\n")
		other := turned(out[start:i])
		if !strings.HasPrefix(rest, ":") && !meaningful.Match(out[start:i]) && !meaningful.Match(other) {
			copy(out[start:i], other)
		}
	}
	return out
}

// turned replaces letters and digits by others of their kind, but not in escapes.
func turned(text []byte) []byte {
	out := append([]byte(nil), text...)
	for i := 0; i < len(out); i++ {
		switch b := out[i]; {
		case b == '\\' && out[i+1] == 'u':
			i += 5
		case b == '\\':
			i++
		case b >= 'a' && b <= 'z':
			out[i] = 'a' + (b-'a'+1)%26
		case b >= 'A' && b <= 'Z':
			out[i] = 'A' + (b-'A'+1)%26
		case b >= '0' && b <= '9':
			out[i] = '0' + (b-'0'+1)%10
		}
	}
	return out
}

func TestDisguised(t *testing.T) {
	want := `{"type": "raw", "value": {"aZ9" : "bA0\u0061\n", "b": ["é y"]}, "n": "2027-"}`
	got := string(disguised([]byte(`{"type": "raw", "value": {"aZ9" : "aZ9\u0061\n", "b": ["é x"]}, "n": "2027-"}`)))
	assert.Equal(t, []byte(want), []byte(got), got)
}

var noJSON = regexp.MustCompile(`^the document is no (JSON|UTF-8 text) at line \d+, column \d+: [a-zA-Z0-9, -]+$`)

// FuzzParse checks that no problem depends on the letters of a value, so that none can hold some of them, and that what
// is accepted comes back from JSON and from Secrets as it was.
func FuzzParse(f *testing.F) {
	for _, entry := range []string{
		`"g": {"type": "raw", "value": "secret"}`,
		`"g": {"type": "kubernetes", "value": {"k": "secret", "tls.crt": "\ud83d\ude00\u0000"}, "metadata": {"labels": {"a": "b"}, "annotations": {"a/b": "c"}}}`,
		`"g": {"type": "workload", "value": "\ud800secret", "spiffeId": "spiffe://example.org/web", "notBefore": "2027-01-31T08:00:00+02:00", "expirationDate": "2028-01-31T08:00:00.5Z"}`,
		`"g": {"type": "secret", "value": ["secret", {"a": "secret"}], "notBefore": "secret", "spiffeId": "secret", "metadata": {"labels": {"a b": "se cret"}}}`,
		`"A_b": {"value": 1e400, "value": null}, "a..b": "secret", "A_b": {}`,
	} {
		f.Add([]byte(at(entry)))
	}
	f.Add([]byte(`{"tenants": {"a": {"clusters": {"b.c": {"namespaces": {"d": {"secrets": {"e": {"type": "raw", "value": "secret"}}}, "F": "secret"}}}}}}`))
	f.Add([]byte(`{"tenants": {"a": "secret`))
	f.Fuzz(func(t *testing.T, document []byte) {
		tree, err := store.Parse(document, store.Scope{})
		if !json.Valid(document) {
			require.Regexp(t, noJSON, err)
			return
		}
		_, other := store.Parse(disguised(document), store.Scope{})
		require.Equal(t, err == nil, other == nil)
		if err != nil {
			require.Equal(t, err.Error(), other.Error())
			return
		}
		content, err := store.Export(tree, store.Scope{})
		require.NoError(t, err)
		again, err := store.Parse(content, store.Scope{})
		require.NoError(t, err)
		require.Equal(t, tree, again)
		twice, err := store.Export(again, store.Scope{})
		require.NoError(t, err)
		require.Equal(t, content, twice)
		for p, e := range tree {
			r, err := store.New(p, e, now)
			require.NoError(t, err)
			back, err := store.Read(r.Secret(nil))
			require.NoError(t, err)
			require.Equal(t, r, back)
			require.Empty(t, e.Changes(back.Entry))
		}
	})
}
