package vsecm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canary is in values, and may be in no error and no print.
const canary = "hunter2"

func TestState(t *testing.T) {
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	to := from.Add(time.Hour)
	var zero time.Time
	for name, c := range map[string]struct {
		notBefore, expiresAfter, now time.Time
		want                         State
	}{
		"no bounds":             {zero, zero, from, Active},
		"before":                {from, to, from.Add(-1), NotYet},
		"at the beginning":      {from, to, from, Active},
		"at the end":            {from, to, to, Active},
		"after the end":         {from, to, to.Add(1), Expired},
		"only a beginning":      {from, zero, to, Active},
		"only an end":           {zero, to, from, Active},
		"only an end, and over": {zero, from, to, Expired},
		"never":                 {zero, time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), to, Active},
		"the end is first":      {to, from, to.Add(1), Expired},
		"neither has come":      {to, to, from, NotYet},
		"another time zone":     {from.In(time.FixedZone("", 7200)), zero, from, Active},
	} {
		assert.Equal(t, c.want, Secret{NotBefore: c.notBefore, ExpiresAfter: c.expiresAfter}.State(c.now), name)
	}
	assert.Equal(t, "active not yet expired", fmt.Sprint(Active, " ", NotYet, " ", Expired))
}

func TestARawSecretIsTakenForNoOther(t *testing.T) {
	alone := canary
	single := Raw{address: "https://safe:8443", alone: &alone}
	none := Raw{address: "https://safe:8443"}
	many := Raw{address: "https://safe:8443", secrets: map[string]stored{
		"a": {secret: Secret{Name: "a", Value: canary}}, "b": {secret: Secret{Name: "b", Value: "b"}}, "c": {problem: "is there twice"},
	}}
	const at = "GET /workload/v1/secrets at https://safe:8443: "
	for name, c := range map[string]struct {
		raw            Raw
		want, expected string
		kind           upstream.Kind
		err            string
	}{
		"one of many": {many, "a", "", 0, ""},
		"of many, the expected name says nothing": {many, "a", "b", 0, ""},
		"not one of many":                         {many, "x", "", upstream.Missing, at + "there is no raw secret x: write raw:x in Safe, or correct the name"},
		"not one of many, though expected":        {many, "x", "x", upstream.Missing, at + "there is no raw secret x: write raw:x in Safe, or correct the name"},
		"one that cannot be used":                 {many, "c", "", upstream.Invalid, at + "raw secret c is there twice: write it anew in Safe"},
		"none":                                    {none, "a", "", upstream.Missing, at + "there is no raw secret a: write raw:a in Safe, or correct the name"},
		"none, though expected":                   {none, "a", "a", upstream.Missing, at + "there is no raw secret a: write raw:a in Safe, or correct the name"},
		"the single one as expected":              {single, "a", "a", 0, ""},
		"the single one, and nobody says whose":   {single, "a", "", upstream.Invalid, at + "there is only one raw secret, and Safe does not tell the name of a single one: keep a second raw secret in Safe, such as raw:marker, or say that a is the only one"},
		"another than the single one":             {single, "b", "a", upstream.Missing, at + "there is only one raw secret, which is expected to be a: write raw:b in Safe, or correct the name"},
	} {
		secret, err := c.raw.Secret(c.want, c.expected)
		if c.err == "" {
			require.NoError(t, err, name)
			assert.Equal(t, c.want, secret.Name, name)
			assert.Equal(t, canary, secret.Value, name)
			continue
		}
		require.EqualError(t, err, c.err, name)
		assert.True(t, upstream.IsKind(err, c.kind), name)
		assert.Empty(t, secret, name)
	}
	_, err := single.Secret("", "")
	require.Error(t, err, "no name is no expectation")
	names, known := many.Names()
	assert.Equal(t, []string{"a", "b", "c"}, names)
	assert.True(t, known)
	names, known = single.Names()
	assert.Empty(t, names)
	assert.False(t, known)
	_, known = none.Names()
	assert.True(t, known)
}

func TestValuesAreNotPrinted(t *testing.T) {
	alone := canary
	secret := Secret{Name: "a", Value: canary}
	raw := Raw{alone: &alone, secrets: map[string]stored{"a": {secret: secret}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, value := range []any{secret, &secret, raw, &raw, []Secret{secret}, map[string]Raw{"x": raw}} {
			assert.NotContains(t, strings.ToLower(fmt.Sprintf(verb, value)), canary, verb)
			assert.NotContains(t, fmt.Sprintf(verb, value), fmt.Sprintf("%x", canary), verb)
		}
	}
	for _, value := range []any{secret, raw} {
		content, err := json.Marshal(value)
		require.NoError(t, err)
		assert.NotContains(t, string(content), canary)
	}
}
