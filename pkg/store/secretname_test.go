package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSecretNames(t *testing.T) {
	for want, p := range map[string]Place{
		"entry-n1.paris.apps.db":            {"t", "paris", "apps", "db"},
		"entry-g1.paris.db":                 {"t", "paris", "", "db"},
		"entry-g2.paris.apps.db":            {"t", "paris.apps", "", "db"},
		"entry-g1.paris.apps.db":            {"t", "paris", "", "apps.db"},
		"entry-n2.a.b.c.d":                  {"t", "a.b", "c", "d"},
		"entry-n1.a.b.c.d":                  {"t", "a", "b", "c.d"},
		"entry-n1.c.global.db":              {"t", "c", "global", "db"},
		"entry-nx1.paris.apps.qcdbqu1":      {"t", "paris", "apps", "Db_1"},
		"entry-gx1.paris.aqd-bqqqcq":        {"t", "paris", "", "a.-bqQ"},
		"entry-g1.paris.aqd-bq":             {"t", "paris", "", "aqd-bq"},
		"entry-n10.0.0.0.0.0.0.0.0.0.0.a.1": {"t", "0.0.0.0.0.0.0.0.0.0", "a", "1"},
	} {
		require.Equal(t, want, p.SecretName())
		got, ok := placeOf("t", want)
		assert.True(t, ok, want)
		assert.Equal(t, p, got)
	}
	for _, name := range []string{
		"", "entry-", "entry-n1", "entry-n1.a", "entry-n1.a.b", "entry-g1", "entry-g1.a", "entry-n0.a.b", "entry-n01.a.b.c", "entry-n+1.a.b.c", "entry-n-1.a.b.c",
		"entry-n4.a.b.c", "entry-gn1.a.b.c", "entry-1.a.b.c", "entry-xn1.a.b.c", "n1.a.b.c", "entry-nx1.a.b.c", "entry-gx1.a.q", "entry-gx1.a.qz", "entry-gx1.a.qc", "entry-gx1.a.qc-",
		"entry-gx1.a.qda.b", "entry-g1.a.A", "entry-n99999999999999999999.a.b.c",
	} {
		_, ok := placeOf("t", name)
		assert.False(t, ok, name)
	}
}

// TestNoTwoPlacesHaveOneName tries all places that short names of odd parts make.
func TestNoTwoPlacesHaveOneName(t *testing.T) {
	var subdomains, safes []string
	parts := []string{"a", "n1", "q", "A", "qa"}
	for _, a := range parts {
		safes = append(safes, a)
		for _, b := range parts {
			for _, between := range []string{".", "-", "_", "", ".-", "-."} {
				safes = append(safes, a+between+b)
			}
		}
	}
	slices.Sort(safes)
	safes = slices.Compact(safes)
	for _, name := range safes {
		require.True(t, isSafe(name), name)
		if isSubdomain(name) {
			subdomains = append(subdomains, name)
		}
	}
	names := map[string]Place{}
	for _, cluster := range subdomains {
		for _, namespace := range []string{"", "a", "n1", "q", "a-a"} {
			for _, name := range safes {
				p := Place{"t", cluster, namespace, name}
				secretName := p.SecretName()
				if other, taken := names[secretName]; taken {
					t.Fatalf("%v and %v are both %s", p, other, secretName)
				}
				names[secretName] = p
				if got, ok := placeOf("t", secretName); !ok || got != p || !isSubdomain(secretName) {
					t.Fatalf("%v is %s, which is %v", p, secretName, got)
				}
			}
		}
	}
	assert.Greater(t, len(names), 20000)
}

func TestLabelValues(t *testing.T) {
	assert.Equal(t, strings.Repeat("a", 63), labelValue(strings.Repeat("a", 63)))
	assert.Equal(t, strings.Repeat("a", 63), labelValue(strings.Repeat("a", 64)))
	assert.Equal(t, strings.Repeat("a", 61), labelValue(strings.Repeat("a", 61)+".-b"))
}

// FuzzSecretName checks that two places have the same name only when they are the same, and that what is read from a name
// has that name.
func FuzzSecretName(f *testing.F) {
	f.Add("a.b", "", "c", "a", "", "b.c")
	f.Add("a", "global", "s", "a", "", "global.s")
	f.Add("a", "b", "qd", "a", "b", "q.d")
	f.Add("a", "b", "A", "a", "b", "qca")
	f.Add("entry-g1.a.b", "n", "x", "a", "b", "c")
	f.Fuzz(func(t *testing.T, c1, ns1, n1, c2, ns2, n2 string) {
		for _, p := range []Place{{"t", c1, ns1, n1}, {"t", c2, ns2, n2}} {
			if !isSubdomain(p.Cluster) || !p.Global() && !isLabel(p.Namespace) || !isSafe(p.Name) && !isSubdomain(p.Name) {
				return // such a place cannot be
			}
			got, ok := placeOf("t", p.SecretName())
			require.True(t, ok)
			require.Equal(t, p, got)
			require.True(t, len(p.SecretName()) > maxSecretName || isSubdomain(p.SecretName()))
		}
		same := c1 == c2 && ns1 == ns2 && n1 == n2
		require.Equal(t, same, Place{"t", c1, ns1, n1}.SecretName() == Place{"t", c2, ns2, n2}.SecretName())
		if p, ok := placeOf("t", c1); ok {
			require.Equal(t, c1, p.SecretName())
		}
	})
}
