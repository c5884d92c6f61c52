package vsecmsource

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatNamespacesMayHave(t *testing.T) {
	allow, err := parseAllow([]string{"team-a/database", "team-a/shared*", "team-b/*", "team-c/a/b"})
	require.NoError(t, err)
	for _, c := range []struct {
		namespace, name string
		want            bool
	}{
		{"team-a", "database", true},
		{"team-a", "database2", false},
		{"team-a", "data", false},
		{"team-a", "shared", true},
		{"team-a", "shared-key", true},
		{"team-a", "share", false},
		{"team-a", "", false},
		{"team-b", "anything", true},
		{"team-b", "", true},
		{"team-c", "a/b", true},
		{"team-c", "a", false},
		{"team", "database", false},
		{"", "database", false},
	} {
		assert.Equal(t, c.want, allow.may(c.namespace, c.name), "%s/%s", c.namespace, c.name)
	}
	assert.True(t, allow.mayAll("team-b"))
	assert.False(t, allow.mayAll("team-a"), "a beginning is not all")
	assert.False(t, allowed{}.may("team-a", "database"), "nobody may have anything by default")
}

func TestEntriesThatAllowNothing(t *testing.T) {
	const form = `: write a namespace and the name of a secret in Safe, for example team-a/database or team-a/*`
	const star = `: write * at the end only, for example team-a/database*`
	for entry, want := range map[string]string{
		"":                  `--vsecm-allow has ""` + form,
		"database":          `--vsecm-allow has "database"` + form,
		"team-a/":           `--vsecm-allow has "team-a/"` + form,
		"/database":         `--vsecm-allow has "/database"` + form,
		"*/database":        `--vsecm-allow has "*/database"` + form,
		"team-*/database":   `--vsecm-allow has "team-*/database"` + form,
		"team a/database":   `--vsecm-allow has "team a/database"` + form,
		"Team/database":     `--vsecm-allow has "Team/database"` + form,
		"team-a/*base":      `--vsecm-allow has "team-a/*base"` + star,
		"team-a/data*base*": `--vsecm-allow has "team-a/data*base*"` + star,
		"team-a/**":         `--vsecm-allow has "team-a/**"` + star,
	} {
		allow, err := parseAllow([]string{entry, "team-b/x"})
		require.EqualError(t, err, want)
		assert.Equal(t, allowed{"team-b": {"x"}}, allow)
	}
	_, err := parseAllow([]string{"a", "b/x", "c"})
	assert.EqualError(t, err, `--vsecm-allow has "a"`+form+"\n"+`--vsecm-allow has "c"`+form, "all are told")
}
