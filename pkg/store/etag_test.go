package store_test

import (
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func tag(uid, version string) string {
	return store.ETag(&metav1.ObjectMeta{UID: types.UID(uid), ResourceVersion: version})
}

func TestETag(t *testing.T) {
	assert.Regexp(t, `^"[A-Za-z0-9_-]{22}"$`, tag("u", "17"))
	again := tag("u", "17")
	assert.Equal(t, again, tag("u", "17"))
	assert.NotEqual(t, tag("u", "17"), tag("u", "18"))
	assert.NotEqual(t, tag("u", "17"), tag("v", "17"))
	assert.NotEqual(t, tag("u1", "7"), tag("u", "17"))
	assert.Empty(t, tag("u", ""))
	assert.Empty(t, tag("", "17"))
}

func TestPreconditions(t *testing.T) {
	const there, other = `"abc"`, `"xyz"`
	for name, c := range map[string]struct {
		match, noneMatch []string
		there, absent    bool // whether it holds when there is an entry, and when there is none
	}{
		"nothing":                    {nil, nil, true, true},
		"If-Match":                   {[]string{there}, nil, true, false},
		"If-Match of another":        {[]string{other}, nil, false, false},
		"If-Match of several":        {[]string{` "x" ,, "a,b" ,` + there + " "}, nil, true, false},
		"If-Match in two lines":      {[]string{other, there}, nil, true, false},
		"If-Match weak":              {[]string{"W/" + there}, nil, false, false},
		"If-Match any":               {[]string{" * "}, nil, true, false},
		"If-None-Match any":          {nil, []string{"*"}, false, true},
		"If-None-Match":              {nil, []string{there}, false, true},
		"If-None-Match of another":   {nil, []string{other}, true, true},
		"If-None-Match weak":         {nil, []string{"W/" + there}, false, true},
		"both hold":                  {[]string{there}, []string{other}, true, false},
		"both contradict each other": {[]string{there}, []string{there}, false, false},
		"an empty tag":               {[]string{`""`}, nil, false, false},
		"If-None-Match empty tag":    {nil, []string{`""`}, true, true},
	} {
		p, err := store.ParsePrecondition(c.match, c.noneMatch)
		require.NoError(t, err, name)
		for current, want := range map[string]bool{there: c.there, "": c.absent} {
			err := p.Check(current)
			if want {
				require.NoError(t, err, "%s %s", name, current)
			} else {
				require.ErrorIs(t, err, store.ErrPrecondition, "%s %s", name, current)
			}
		}
	}
	require.NoError(t, store.Precondition{}.Check(""))
}

func TestBadPreconditions(t *testing.T) {
	for name, header := range map[string]string{
		"empty": "", "only commas": ", ,", "no quotes": "abc", "one quote": `"abc`, "space inside": `"a b"`, "control character": "\"a\x01\"", "delete": "\"a\x7f\"",
		"* in a list": `"a", *`, "no comma": `"a" "b"`, "weak in lower case": `w/"a"`, "weak with a space": `W/ "a"`, "only weak": "W/",
		"too many": strings.Repeat(`"a",`, 33),
	} {
		_, err := store.ParsePrecondition([]string{header}, nil)
		require.ErrorIs(t, err, store.ErrBadETag, name)
		require.ErrorContains(t, err, "header If-Match: ", name)
		_, err = store.ParsePrecondition(nil, []string{header})
		require.ErrorIs(t, err, store.ErrBadETag, name)
		require.ErrorContains(t, err, "header If-None-Match: ", name)
	}
	_, err := store.ParsePrecondition([]string{strings.Repeat(`"a",`, 32)}, nil)
	require.NoError(t, err)
}
