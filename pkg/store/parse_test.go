package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// at puts global entries into a document.
func at(entries string) string {
	return `{"tenants":{"t":{"clusters":{"c":{"global_secrets":{` + entries + `}}}}}}`
}

// entryPath begins the paths of problems with entry g.
const entryPath = "tenants/t/clusters/c/global_secrets/g"

func TestParse(t *testing.T) {
	tree, err := store.Parse([]byte(`{"tenants": {"acme": {"clusters": {"paris.example": {
	  "namespaces": {"apps": {"secrets": {"db": {"type": "kubernetes", "value": {"user": "u", "password": "p\u00e9\ud83d\ude00\ufffd"},
	    "metadata": {"labels": {"team": "a"}, "annotations": {"example.com/why": "<x>"}, "creationTimestamp": "2026-01-01T00:00:00Z", "lastUpdated": "2026-01-02T00:00:00.5+02:00"},
	    "notBefore": "2027-01-01T00:00:00+01:00", "expirationDate": "2028-01-01T00:00:00Z"}}},
	    "empty": {"secrets": {}}},
	  "global_secrets": {"CA_1": {"type": "raw", "value": "x"}, "id": {"type": "workload", "value": "w", "spiffeId": "spiffe://example.org/web"}}
	}, "none": {}}}}}`), store.Scope{})
	require.NoError(t, err)
	assert.Equal(t, store.Tree{
		{Tenant: "acme", Cluster: "paris.example", Namespace: "apps", Name: "db"}: {
			Type: store.Kubernetes, Value: store.KeysValue(map[string]string{"user": "u", "password": "pé😀\ufffd"}),
			Metadata: store.Metadata{
				Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"example.com/why": "<x>"},
				Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Updated: time.Date(2026, 1, 1, 22, 0, 0, 5e8, time.UTC),
			},
			NotBefore: time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC), ExpirationDate: time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC),
		},
		{Tenant: "acme", Cluster: "paris.example", Name: "CA_1"}: {Type: store.Raw, Value: store.TextValue("x")},
		{Tenant: "acme", Cluster: "paris.example", Name: "id"}:   {Type: store.Workload, Value: store.TextValue("w"), SPIFFEID: "spiffe://example.org/web"},
	}, tree)
}

// TestProblemsOfDocuments has what each bad document is told, without the instruction.
func TestProblemsOfDocuments(t *testing.T) {
	for document, want := range map[string]string{
		"":                                       "the document is no JSON at line 1, column 1",
		"{\n  \"tenants\": {\n  hunter2":         "the document is no JSON at line 3, column 3",
		`{"tenants": {}} hunter2`:                "the document is no JSON at line 1, column 17",
		"{\"tenants\":\n {\"\xffhunter2\": {}}}": "the document is no UTF-8 text at line 2, column 4",
		"\ufeff{}":                               "the document is no JSON at line 1, column 1",
		`["hunter2"]`:                            "the document is a list",
		`null`:                                   "the document is null",
		`{}`:                                     "the document has no tenants",
		`{"Tenants": {}}`:                        "Tenants is no field that is known",
		`{"tenants": {}, "x": 1}`:                "x is no field that is known",
		`{"tenants": {}, "tenants": {}}`:         "tenants is there twice",
		`{"tenants": {}, "\u0074enants": {}}`:    "tenants is there twice",
		`{"tenants": {"a": {"clusters": {}}, "a": {"clusters": {}}}}`:          "tenants/a is there twice",
		`{"tenants": {"\ud800": {}}}`:                                          "tenants has a name with half of a surrogate pair, which is no character",
		`{"tenants": {"a": {}}}`:                                               "tenants/a has no clusters",
		`{"tenants": {"a": 1}}`:                                                "tenants/a is a number",
		`{"tenants": {"a.b": {"hunter2": "hunter2"}}}`:                         "tenants/a.b is no name of a tenant",
		`{"tenants": {"": {}}}`:                                                `tenants/"" is no name of a tenant`,
		`{"tenants": {"A": {}}}`:                                               "tenants/A is no name of a tenant",
		`{"tenants": {"` + strings.Repeat("a", 64) + `": {}}}`:                 `tenants/"` + strings.Repeat("a", 63) + `"... is no name of a tenant`,
		`{"tenants": {"а": {}}}`:                                               `tenants/"\u0430" is no name of a tenant`,
		`{"tenants": {"a\n": {}}}`:                                             `tenants/"a\n" is no name of a tenant`,
		`{"tenants": {"a": {"clusters": {"../b": {}}}}}`:                       `tenants/a/clusters/"../b" is no name of a cluster`,
		`{"tenants": {"a": {"clusters": {"b%2f": {}}}}}`:                       `tenants/a/clusters/"b%2f" is no name of a cluster`,
		`{"tenants": {"a": {"clusters": {"b": true}}}}`:                        "tenants/a/clusters/b is true or false",
		`{"tenants": {"a": {"clusters": {"b": {"namespaces": {"c.d": {}}}}}}}`: "tenants/a/clusters/b/namespaces/c.d is no name of a namespace",
		`{"tenants": {"a": {"clusters": {"b": {"namespaces": {"c": {}}}}}}}`:   "tenants/a/clusters/b/namespaces/c has no secrets",
		`{"tenants": {"a": {"clusters": {"b": {"namespaces": {"c": {"secrets": {"d": ["hunter2", "]"]}}}}}}}}`: "tenants/a/clusters/b/namespaces/c/secrets/d is a list",
		`{"tenants": {"a": {"clusters": {"b": {"global_secrets": {"d": "hunter2"}}}}}}`:                        "tenants/a/clusters/b/global_secrets/d is a string",
	} {
		requireProblem(t, document, want)
	}
}

func requireProblem(t *testing.T, document, want string) {
	t.Helper()
	tree, err := store.Parse([]byte(document), store.Scope{})
	var problems *store.Problems
	require.ErrorAs(t, err, &problems, document)
	assert.Nil(t, tree, document)
	require.Len(t, problems.List, 1, "%s\n%s", document, err)
	p := problems.List[0]
	assert.Equal(t, want, p.Path+" "+p.Reason, document)
	assert.NotEmpty(t, p.Instead, document)
	assert.NotContains(t, err.Error(), canary, document)
}

func TestProblemsOfEntries(t *testing.T) {
	long := strings.Repeat("a", 254)
	for entry, want := range map[string]string{
		`"g": {"type": "raw"}`:                                                                                                                 "/value is missing or empty",
		`"g": {"type": "raw", "value": ""}`:                                                                                                    "/value is missing or empty",
		`"g": {"type": "kubernetes", "value": {}}`:                                                                                             "/value is missing or empty",
		`"g": {"type": "raw", "value": 5}`:                                                                                                     "/value is a number",
		`"g": {"type": "raw", "value": null}`:                                                                                                  "/value is null",
		`"g": {"type": "raw", "value": ["hunter2"]}`:                                                                                           "/value is a list",
		`"g": {"type": "raw", "value": "hunter2\ud800"}`:                                                                                       "/value has half of a surrogate pair, which is no character",
		`"g": {"type": "raw", "value": "\\\udc00\ud800 hunter2"}`:                                                                              "/value has half of a surrogate pair, which is no character",
		`"g": {"type": "raw", "value": {"a": {"b": "hunter2"}}}`:                                                                               "/value/a is an object",
		`"g": {"type": "raw", "value": {"a": "hunter2", "a": "hunter2"}}`:                                                                      "/value/a is there twice",
		`"g": {"type": "kubernetes", "value": {"a b": "hunter2"}}`:                                                                             `/value/"a b" is a key that no Kubernetes Secret can have`,
		`"g": {"type": "raw", "value": {"..a": "hunter2"}}`:                                                                                    `/value/..a is a key that no Kubernetes Secret can have`,
		`"g": {"type": "raw", "value": {"": "hunter2"}}`:                                                                                       `/value/"" is a key that no Kubernetes Secret can have`,
		`"g": {"type": "raw", "value": {"` + long[:248] + `": "hunter2"}}`:                                                                     `/value/"` + long[:63] + `"... is a key that no Kubernetes Secret can have`,
		`"g": {"type": "raw", "value": "` + strings.Repeat("hunter2", 150e3) + `"}`:                                                            "/value has 1026 KiB with its keys, and a Secret takes 1024",
		`"g": {"value": "hunter2"}`:                                                                                                            "/type is missing",
		`"g": {"type": "hunter2", "value": "x"}`:                                                                                               "/type is no type",
		`"g": {"type": 1, "value": "x"}`:                                                                                                       "/type is a number",
		`"g": {"type": "raw", "value": "x", "value": "hunter2"}`:                                                                               "/value is there twice",
		`"g": {"type": "raw", "value": "x", "Value": "hunter2"}`:                                                                               "/Value is no field that is known",
		`"g": {"type": "raw", "value": "x", "expiresAfter": "hunter2"}`:                                                                        "/expiresAfter is no field that is known",
		`"g": {"type": "workload", "value": "x"}`:                                                                                              "/spiffeId is missing",
		`"g": {"type": "raw", "value": "x", "spiffeId": "spiffe://a/b"}`:                                                                       "/spiffeId is for entries of type workload only",
		`"g": {"type": "raw", "value": "x", "spiffeId": ""}`:                                                                                   "/spiffeId is empty",
		`"g": {"type": "workload", "value": "x", "spiffeId": "https://hunter2"}`:                                                               "/spiffeId is no SPIFFE ID of a workload",
		`"g": {"type": "workload", "value": "x", "spiffeId": "spiffe://hunter2"}`:                                                              "/spiffeId is no SPIFFE ID of a workload",
		`"g": {"type": "workload", "value": "x", "spiffeId": "spiffe://e/` + strings.Repeat("a", 2048) + `"}`:                                  "/spiffeId is no SPIFFE ID of a workload",
		`"g": {"type": "raw", "value": "x", "notBefore": "hunter2"}`:                                                                           "/notBefore is no date",
		`"g": {"type": "raw", "value": "x", "notBefore": ""}`:                                                                                  "/notBefore is no date",
		`"g": {"type": "raw", "value": "x", "notBefore": null}`:                                                                                "/notBefore is null",
		`"g": {"type": "raw", "value": "x", "notBefore": "2027-01-31"}`:                                                                        "/notBefore is no date",
		`"g": {"type": "raw", "value": "x", "notBefore": "2027-01-31T8:00:00Z"}`:                                                               "/notBefore is no date",
		`"g": {"type": "raw", "value": "x", "notBefore": "2027-01-31T08:00:00,5Z"}`:                                                            "/notBefore is no date",
		`"g": {"type": "raw", "value": "x", "notBefore": "2027-01-31T08:00:00.1234567891Z"}`:                                                   "/notBefore is no date",
		`"g": {"type": "raw", "value": "x", "notBefore": "2027-02-29T08:00:00Z"}`:                                                              "/notBefore is no date",
		`"g": {"type": "raw", "value": "x", "expirationDate": "0001-01-01T00:00:00Z"}`:                                                         "/expirationDate is no date",
		`"g": {"type": "raw", "value": "x", "expirationDate": "1969-12-31T23:59:59Z"}`:                                                         "/expirationDate is no date",
		`"g": {"type": "raw", "value": "x", "expirationDate": "9999-12-31T23:59:59-01:00"}`:                                                    "/expirationDate is no date",
		`"g": {"type": "raw", "value": "x", "expirationDate": 1}`:                                                                              "/expirationDate is a number",
		`"g": {"type": "raw", "value": "x", "notBefore": "2027-01-31T08:00:00Z", "expirationDate": "2027-01-31T09:00:00+01:00"}`:               "/notBefore is not before expirationDate, so that the entry could never be used",
		`"g": {"type": "raw", "value": "x", "metadata": []}`:                                                                                   "/metadata is a list",
		`"g": {"type": "raw", "value": "x", "metadata": {"owner": "hunter2"}}`:                                                                 "/metadata/owner is no field that is known",
		`"g": {"type": "raw", "value": "x", "metadata": {"labels": {"a": 1}}}`:                                                                 "/metadata/labels/a is a number",
		`"g": {"type": "raw", "value": "x", "metadata": {"labels": {"a": "hunter2 x"}}}`:                                                       "/metadata/labels/a has a value that is no value of a label",
		`"g": {"type": "raw", "value": "x", "metadata": {"labels": {"a b": "x"}}}`:                                                             `/metadata/labels/"a b" is no key of a label or annotation`,
		`"g": {"type": "raw", "value": "x", "metadata": {"labels": {"Example.com/a": "x"}}}`:                                                   `/metadata/labels/"Example.com/a" is no key of a label or annotation`,
		`"g": {"type": "raw", "value": "x", "metadata": {"labels": {"fleethandshake.io/never-send": "false"}}}`:                                `/metadata/labels/"fleethandshake.io/never-send" is under a domain that is the operator's own`,
		`"g": {"type": "raw", "value": "x", "metadata": {"annotations": {"x.FleetHandshake.io/a": "x"}}}`:                                      `/metadata/annotations/"x.FleetHandshake.io/a" is under a domain that is the operator's own`,
		`"g": {"type": "raw", "value": "x", "metadata": {"annotations": {"a/b/c": "hunter2"}}}`:                                                `/metadata/annotations/"a/b/c" is no key of a label or annotation`,
		`"g": {"type": "raw", "value": "x", "metadata": {"annotations": {"a": "` + strings.Repeat("hunter2 ", 9000) + `"}}}`:                   "/metadata has 71 KiB of labels and annotations, and an entry takes 64",
		`"g": {"type": "raw", "value": "x", "metadata": {"creationTimestamp": "hunter2"}}`:                                                     "/metadata/creationTimestamp is no date",
		`"g": {"type": "raw", "value": "x", "metadata": {"creationTimestamp": "2027-01-31T08:00:00Z", "lastUpdated": "2026-01-31T08:00:00Z"}}`: "/metadata/lastUpdated is before creationTimestamp",
	} {
		requireProblem(t, at(entry), entryPath+want)
	}
}

func TestNamesOfEntries(t *testing.T) {
	const safe, kubernetes = "is no name of an entry", "is a name that no Kubernetes Secret can have"
	long := strings.Repeat("a", 129)
	for name, want := range map[string][2]string{ // of raw, of kubernetes; empty when it is fine
		"a": {}, "a.b-c": {}, "0": {}, long[:128]: {},
		"A": {"", kubernetes}, "a_b": {"", kubernetes}, "a.-b": {"", kubernetes}, "a.B": {"", kubernetes}, "a-.b": {"", kubernetes}, "a__b": {"", kubernetes},
		long: {safe, ""},
		"":   {safe, kubernetes}, ".": {safe, kubernetes}, "..": {safe, kubernetes}, "a..b": {safe, kubernetes}, ".a": {safe, kubernetes}, "a.": {safe, kubernetes},
		"-a": {safe, kubernetes}, "_a": {safe, kubernetes}, "a_": {safe, kubernetes}, "a/b": {safe, kubernetes}, `a\\b`: {safe, kubernetes}, "a%2fb": {safe, kubernetes},
		"a b": {safe, kubernetes}, "a\\u0000": {safe, kubernetes}, "a\\n": {safe, kubernetes}, "a\\u200bb": {safe, kubernetes}, "ａ": {safe, kubernetes}, "а": {safe, kubernetes},
		"a:b": {safe, kubernetes}, "a~b": {safe, kubernetes}, "a\x7fb": {safe, kubernetes}, "é": {safe, kubernetes},
	} {
		for i, kind := range []string{"raw", "kubernetes"} {
			_, err := store.Parse([]byte(at(fmt.Sprintf(`"%s": {"type": "%s", "value": "x"}`, name, kind))), store.Scope{})
			if want[i] == "" {
				require.NoError(t, err, "%s %q", kind, name)
				continue
			}
			require.ErrorContains(t, err, want[i], "%s %q", kind, name)
			for _, b := range []byte(err.Error()) {
				assert.True(t, b >= ' ' && b < 0x7f, "%s %q", kind, name)
			}
		}
	}
	// Without a type, a name is bad that no type could have.
	requireProblem(t, at(`"`+long+`": {"value": "x"}`), entryPath[:len(entryPath)-1]+`"`+long[:63]+`".../type is missing`)
}

func TestAPlaceThatIsTooLong(t *testing.T) {
	cluster := strings.Repeat("c", 63)
	for length, want := range map[int]string{180: "", 181: "by 1 characters"} {
		_, err := store.Parse([]byte(`{"tenants":{"t":{"clusters":{"`+cluster+`":{"global_secrets":{"`+strings.Repeat("s", length)+`":{"type":"kubernetes","value":"x"}}}}}}}`), store.Scope{})
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := store.Parse([]byte(`{"tenants": {"A": 1, "t": {"clusters": {"c": {"global_secrets": {
	  "x/y": {"value": 1, "type": "x", "notBefore": 1, "spiffeId": 2},
	  "z": {"type": "workload", "value": {"a": 1, " ": "", "b": null}}}}}}}}`), store.Scope{})
	var problems *store.Problems
	require.ErrorAs(t, err, &problems)
	var got []string
	for _, p := range problems.List {
		got = append(got, strings.TrimPrefix(p.Path, "tenants/t/clusters/c/global_secrets/")+" "+p.Reason)
	}
	assert.Equal(t, []string{
		"tenants/A is no name of a tenant",
		`"x/y"/value is a number`, `"x/y"/notBefore is a number`, `"x/y"/spiffeId is a number`, `"x/y"/type is no type`, `"x/y" is no name of an entry`,
		"z/value/a is a number", "z/value/b is null", "z/spiffeId is missing",
	}, got)
	assert.Len(t, strings.Split(err.Error(), "\n"), len(got))
}

func TestProblemsAreBounded(t *testing.T) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf(`"e%d": "hunter2"`, i))
	}
	_, err := store.Parse([]byte(at(strings.Join(many, ","))), store.Scope{})
	var problems *store.Problems
	require.ErrorAs(t, err, &problems)
	assert.Len(t, problems.List, store.MaxProblems)
	assert.Equal(t, 900, problems.More)
	assert.True(t, strings.HasSuffix(err.Error(), "\nand 900 more"))
}

func TestADocumentThatIsTooLarge(t *testing.T) {
	_, err := store.Parse(make([]byte, store.MaxDocument+1), store.Scope{})
	require.EqualError(t, err, "the document has 33 MiB: split it into documents of at most 32 MiB, for example one for each cluster")
	_, err = store.Parse([]byte(strings.Repeat("[", 20000)), store.Scope{})
	require.ErrorContains(t, err, "is no JSON at line 1")
	_, err = store.Parse([]byte(strings.Repeat("[", 9000)+strings.Repeat("]", 9000)), store.Scope{})
	require.ErrorContains(t, err, "is a list")
}

func TestADocumentOutsideOfItsPart(t *testing.T) {
	document := []byte(`{"tenants": {
	  "t": {"clusters": {"c": {"namespaces": {"n": {"secrets": {}}, "o": {"hunter2": "hunter2"}}, "global_secrets": {"hunter": 1}}, "d": 1}},
	  "u": {"clusters": "hunter2"}}}`)
	_, err := store.Parse(document, store.Scope{Tenant: "t", Cluster: "c", Namespace: "n"})
	require.EqualError(t, err, `tenants/t/clusters/c/namespaces/o is outside of the part of the tree that this is about: leave it out: only n may be here
tenants/t/clusters/c/global_secrets/hunter is outside of the part of the tree that this is about: leave it out: only n may be here
tenants/t/clusters/d is outside of the part of the tree that this is about: leave it out: only c may be here
tenants/u is outside of the part of the tree that this is about: leave it out: only t may be here`)
	tree, err := store.Parse([]byte(at(`"g": {"type": "raw", "value": "x"}`)), store.Scope{Tenant: "t", Cluster: "c"})
	require.NoError(t, err)
	assert.Len(t, tree, 1)
}
