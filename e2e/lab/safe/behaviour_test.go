package safe_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe/spiffetest"
)

const domain = safe.DefaultTrustDomain

// app is an ordinary workload.
const app = "spiffe://vsecm.com/workload/app/ns/team/sa/app/n/app-1"

type world struct {
	*safe.Server
	ca  *spiffetest.CA
	own *spiffetest.Identity
}

func start(t *testing.T) world {
	t.Helper()
	ca, err := spiffetest.New(domain)
	require.NoError(t, err)
	own, err := ca.Identity(safe.ID(domain, safe.SafeName), time.Hour)
	require.NoError(t, err)
	s, err := safe.Start(safe.Options{Source: own})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return world{s, ca, own}
}

type answer struct {
	status int
	body   string
}

// as sends a request with a SPIFFE ID of the authority of this Safe.
func (w world) as(t *testing.T, id, method, path, body string) (answer, error) {
	t.Helper()
	identity, err := w.ca.Identity(id, time.Hour)
	require.NoError(t, err)
	return w.with(t, identity, method, path, body)
}

func (w world) with(t *testing.T, identity *spiffetest.Identity, method, path, body string) (answer, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(identity, identity, tlsconfig.AuthorizeAny())}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(w.Address, "/")+path, strings.NewReader(body))
	require.NoError(t, err)
	response, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(content)}, err
}

func (w world) must(t *testing.T, id, method, path, body string) answer {
	t.Helper()
	a, err := w.as(t, id, method, path, body)
	require.NoError(t, err)
	return a
}

var (
	sentinel = safe.ID(domain, safe.SentinelName)
	scout    = safe.ID(domain, safe.ScoutName)
)

const secretsPath = "/sentinel/v1/secrets"

// TestRoutes has a line for each route and each who may not use it.
func TestRoutes(t *testing.T) {
	for name, c := range map[string]struct {
		id, method, path, body string
		want                   answer
	}{
		"keystone pending":              {sentinel, "GET", "/sentinel/v1/keystone", "", answer{200, `{"status":"pending"}`}},
		"keystone not for scout":        {scout, "GET", "/sentinel/v1/keystone", "", answer{400, ""}},
		"list of none":                  {sentinel, "GET", secretsPath, "", answer{200, `{"secrets":[]}`}},
		"list not for scout":            {scout, "GET", secretsPath, "", answer{400, ""}},
		"list not for a workload":       {app, "GET", secretsPath, "", answer{400, ""}},
		"reveal":                        {sentinel, "GET", secretsPath + "%3Freveal=true", "", answer{200, `{"algorithm":"age","secrets":[]}`}},
		"reveal not for scout":          {scout, "GET", secretsPath + "%3Freveal=true", "", answer{400, ""}},
		"a query is no reveal":          {sentinel, "GET", secretsPath + "?reveal=true", "", answer{200, `{"secrets":[]}`}},
		"upsert by sentinel":            {sentinel, "POST", secretsPath, `{"workloads":["a","b"],"value":"v"}`, answer{200, "OKOK"}},
		"upsert by scout":               {scout, "POST", secretsPath, `{"workloads":["a"],"value":"v"}`, answer{200, "OK"}},
		"upsert not by a workload":      {app, "POST", secretsPath, `{"workloads":["a"],"value":"v"}`, answer{400, ""}},
		"upsert of no JSON":             {sentinel, "POST", secretsPath, `{`, answer{400, ""}},
		"upsert for nobody":             {sentinel, "POST", secretsPath, `{"value":"v"}`, answer{200, ""}},
		"upsert of what is not sealed":  {sentinel, "POST", secretsPath, `{"workloads":["a"],"value":"v","encrypt":true}`, answer{500, ""}},
		"encrypt not for scout":         {scout, "POST", secretsPath, `{"value":"v","encrypt":true}`, answer{400, ""}},
		"delete":                        {sentinel, "DELETE", secretsPath, `{"workloads":["a"]}`, answer{200, "OK"}},
		"delete of nothing":             {sentinel, "DELETE", secretsPath, `{}`, answer{200, ""}},
		"delete of no JSON":             {sentinel, "DELETE", secretsPath, ``, answer{400, ""}},
		"delete not by scout":           {scout, "DELETE", secretsPath, `{"workloads":["a"]}`, answer{400, ""}},
		"keys":                          {sentinel, "POST", "/sentinel/v1/keys", `{"ageSecretKey":"a","agePublicKey":"b","aesCipherKey":"c"}`, answer{200, "OK"}},
		"keys with one missing":         {sentinel, "POST", "/sentinel/v1/keys", `{"ageSecretKey":"a","agePublicKey":"b"}`, answer{200, ""}},
		"keys not by scout":             {scout, "POST", "/sentinel/v1/keys", `{}`, answer{400, ""}},
		"no secret for a workload":      {app, "GET", "/workload/v1/secrets", "", answer{404, ""}},
		"no raw secret for scout":       {scout, "GET", "/workload/v1/secrets", "", answer{404, ""}},
		"another path":                  {app, "GET", "/", "", answer{400, ""}},
		"another method":                {app, "PUT", "/workload/v1/secrets", "", answer{400, ""}},
		"a slash at the end":            {app, "GET", "/workload/v1/secrets/", "", answer{400, ""}},
		"a query changes nothing":       {app, "GET", "/workload/v1/secrets?name=x", "", answer{404, ""}},
		"a path that is not clean":      {app, "GET", "//workload/v1/secrets", "", answer{307, "<a href=\"/workload/v1/secrets\">Temporary Redirect</a>.\n\n"}},
		"sentinel is a workload itself": {sentinel, "GET", "/workload/v1/secrets", "", answer{404, ""}},
	} {
		w := start(t)
		a := w.must(t, c.id, c.method, c.path, c.body)
		assert.Equal(t, c.want, a, name)
	}
}

func TestReadiness(t *testing.T) {
	for name, c := range map[string]struct {
		id, method, path, body string
		noRootKey, noDatabase  answer
	}{
		"workload": {app, "GET", "/workload/v1/secrets", "", answer{400, ""}, answer{503, "NOK!"}},
		"keystone": {sentinel, "GET", "/sentinel/v1/keystone", "", answer{400, ""}, answer{503, "NOK!"}},
		"list":     {sentinel, "GET", secretsPath, "", answer{400, ""}, answer{200, `{"secrets":[]}`}},
		"upsert":   {sentinel, "POST", secretsPath, `{"workloads":["a"],"value":"v"}`, answer{400, "NOK!"}, answer{503, "NOK!"}},
		"of Safe":  {sentinel, "POST", secretsPath, `{"workloads":["vsecm-safe"],"value":"v"}`, answer{400, "NOK!"}, answer{200, "OK"}},
		"delete":   {sentinel, "DELETE", secretsPath, `{"workloads":["a"]}`, answer{400, ""}, answer{503, "NOK!"}},
		"keys":     {sentinel, "POST", "/sentinel/v1/keys", `{"ageSecretKey":"a","agePublicKey":"b","aesCipherKey":"c"}`, answer{200, "OK"}, answer{503, "NOK!"}},
		"fallback": {sentinel, "GET", "/", "", answer{400, ""}, answer{400, ""}},
	} {
		w := start(t)
		w.SetRootKey(false)
		assert.Equal(t, c.noRootKey, w.must(t, c.id, c.method, c.path, c.body), "%s without a root key", name)
		w.SetRootKey(true)
		w.SetDatabase(false)
		assert.Equal(t, c.noDatabase, w.must(t, c.id, c.method, c.path, c.body), "%s without a database", name)
	}
}

func TestKeysGiveTheRootKey(t *testing.T) {
	w := start(t)
	w.SetRootKey(false)
	w.must(t, sentinel, "POST", "/sentinel/v1/keys", `{"ageSecretKey":"a","agePublicKey":" ","aesCipherKey":"c"}`)
	assert.Equal(t, 400, w.must(t, app, "GET", "/workload/v1/secrets", "").status)
	w.must(t, sentinel, "POST", "/sentinel/v1/keys", `{"ageSecretKey":"a","agePublicKey":"b","aesCipherKey":"c"}`)
	assert.Equal(t, 404, w.must(t, app, "GET", "/workload/v1/secrets", "").status)
}

func TestPostOfAWorkloadClosesTheConnection(t *testing.T) {
	w := start(t)
	_, err := w.as(t, app, "POST", "/workload/v1/secrets", `{}`)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, 404, w.must(t, app, "GET", "/workload/v1/secrets", "").status, "the server goes on")
}

func TestWhoMayConnect(t *testing.T) {
	w := start(t)
	for _, id := range []string{
		"spiffe://vsecm.com/other", "spiffe://vsecm.com/workload/app/ns/team/sa/app", "spiffe://vsecm.com/workload/app/ns/team/sa/app/n/a/b",
		"spiffe://vsecmxcom/workload/app/ns/team/sa/app/n/app-1",
	} {
		identity, err := w.ca.Identity(id, time.Hour)
		require.NoError(t, err)
		_, err = w.with(t, identity, "GET", "/workload/v1/secrets", "")
		require.Error(t, err, id)
	}
	assert.Equal(t, []string{"spiffe://vsecm.com/other", "spiffe://vsecm.com/workload/app/ns/team/sa/app", "spiffe://vsecm.com/workload/app/ns/team/sa/app/n/a/b"}, w.Refused(),
		"no bundle vouches for another trust domain")

	federated, err := spiffetest.New("vsecmxcom")
	require.NoError(t, err)
	w.own.Believe(w.ca, federated)
	guest, err := federated.Identity("spiffe://vsecmxcom/workload/app/ns/team/sa/app/n/app-1", time.Hour)
	require.NoError(t, err)
	guest.Believe(w.ca)
	_, err = w.with(t, guest, "GET", "/workload/v1/secrets", "")
	require.Error(t, err, "a workload of a federated trust domain")

	stranger, err := spiffetest.New(domain)
	require.NoError(t, err)
	identity, err := stranger.Identity(app, time.Hour)
	require.NoError(t, err)
	identity.Believe(w.ca)
	_, err = w.with(t, identity, "GET", "/workload/v1/secrets", "")
	require.Error(t, err, "an SVID of another authority")

	late, err := w.ca.Identity(app, -time.Minute)
	require.NoError(t, err)
	_, err = w.with(t, late, "GET", "/workload/v1/secrets", "")
	require.Error(t, err, "an SVID that has expired")

	transport := &http.Transport{TLSClientConfig: tlsconfig.TLSClientConfig(identity, tlsconfig.AuthorizeAny())}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Address, nil)
	require.NoError(t, err)
	_, err = transport.RoundTrip(r) //nolint:bodyclose // there is none
	require.Error(t, err, "no SVID at all")
	assert.Empty(t, w.Requests())
}

func TestRolesNeedTheWholeIDButScoutOnlyItsName(t *testing.T) {
	w := start(t)
	w.Put(safe.Stored{Name: "raw:a", Value: "v", Meta: safe.Meta{Format: "raw"}})
	elsewhere := "spiffe://vsecm.com/workload/vsecm-scout/ns/team/sa/app/n/app-1"
	assert.Equal(t, answer{200, `{"data":"v","created":"","updated":""}`}, w.must(t, elsewhere, "GET", "/workload/v1/secrets", ""))
	assert.Equal(t, answer{400, ""}, w.must(t, elsewhere, "POST", secretsPath, `{"workloads":["a"],"value":"v"}`))
	assert.Equal(t, answer{400, ""}, w.must(t, "spiffe://vsecm.com/workload/vsecm-sentinel/ns/team/sa/vsecm-sentinel/n/x", "GET", secretsPath, ""))
}

func TestASafeThatIsNotItselfAnswersNobody(t *testing.T) {
	w := start(t)
	svid, err := w.ca.SVID(app, time.Hour)
	require.NoError(t, err)
	w.own.Rotate(svid)
	_, err = w.as(t, app, "GET", "/workload/v1/secrets", "")
	require.ErrorIs(t, err, io.EOF)
}

func TestAWorkloadGetsTheSecretOfItsName(t *testing.T) {
	w := start(t)
	w.must(t, sentinel, "POST", secretsPath, `{"workloads":["app"],"value":" {\"a\":1} ","template":"{\"b\":{{.a}}}","format":"json"}`)
	w.must(t, sentinel, "POST", secretsPath, `{"workloads":["raw:other","k8s:app"],"value":"x","format":"raw"}`)
	a := w.must(t, app, "GET", "/workload/v1/secrets?name=other", "")
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &got))
	assert.Equal(t, `{"b":1}`, got["data"])
	assert.Equal(t, []string{"created", "data", "updated"}, slices.Sorted(maps.Keys(got)), "err is left out when it is empty")
	for _, key := range []string{"created", "updated"} {
		text, _ := got[key].(string)
		_, err := time.Parse(`"`+time.RFC3339+`"`, text)
		require.NoError(t, err, "quotes are in the text itself")
	}
}

func TestWhatScoutGets(t *testing.T) {
	w := start(t)
	w.Put(safe.Stored{Name: "app", Value: "not raw", Meta: safe.Meta{Format: "raw"}})
	w.Put(safe.Stored{Name: "k8s:raw:app", Value: "not raw", Meta: safe.Meta{Format: "raw"}})
	assert.Equal(t, answer{404, ""}, w.must(t, scout, "GET", "/workload/v1/secrets", ""))
	w.must(t, scout, "POST", secretsPath, `{"workloads":["raw:one"],"value":"{\"a\":1}","format":"yaml"}`)
	assert.Equal(t, answer{200, `{"data":"a: 1\n","created":"","updated":""}`}, w.must(t, scout, "GET", "/workload/v1/secrets", ""), "a single one has no name and no dates")

	w.must(t, scout, "POST", secretsPath, `{"workloads":["raw:two"],"value":"v","format":"raw","template":"t","namespaces":["a","b"],"notBefore":"2026-01-02T03:04:05Z","expires":"2027-01-02T03:04:05Z"}`)
	a := w.must(t, scout, "GET", "/workload/v1/secrets", "")
	var outer struct{ Data, Created, Updated string }
	require.NoError(t, json.Unmarshal([]byte(a.body), &outer))
	assert.Empty(t, outer.Created+outer.Updated)
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(outer.Data), &list), "data is a text that holds a list")
	require.Len(t, list, 2)
	slices.SortFunc(list, func(a, b map[string]any) int {
		return bytes.Compare([]byte(a["name"].(string)), []byte(b["name"].(string)))
	})
	two := list[1]
	assert.Equal(t, []string{"created", "expiresAfter", "meta", "name", "notBefore", "updated", "value", "valueTransformed"}, slices.Sorted(maps.Keys(two)))
	assert.Equal(t, "raw:two", two["name"])
	assert.Equal(t, "2026-01-02T03:04:05Z", two["notBefore"])
	assert.Equal(t, "2027-01-02T03:04:05Z", two["expiresAfter"])
	assert.Equal(t, map[string]any{"namespaces": []any{"a", "b"}, "template": "t", "Format": "raw", "correlationId": "test"}, two["meta"])
	one := list[0]
	assert.Equal(t, `{"a":1}`, one["value"])
	assert.Equal(t, "a: 1\n", one["valueTransformed"])
	assert.Equal(t, []any{"default"}, one["meta"].(map[string]any)["namespaces"])
	assert.Equal(t, "9999-12-31T23:59:59.999999999Z", one["expiresAfter"], "never")
}

func TestDatesAreKeptAndNotEnforced(t *testing.T) {
	w := start(t)
	w.must(t, sentinel, "POST", secretsPath, `{"workloads":["app"],"value":"v","format":"raw","notBefore":"2999-01-01T00:00:00Z","expires":"2000-01-01T00:00:00Z"}`)
	assert.Equal(t, 200, w.must(t, app, "GET", "/workload/v1/secrets", "").status)
	w.must(t, sentinel, "POST", secretsPath, `{"workloads":["broken"],"value":"v","notBefore":"soon","expires":"later"}`)
	secret, _ := w.Get("broken")
	assert.WithinDuration(t, time.Now(), secret.NotBefore, time.Minute, "what is no date is now")
	assert.Equal(t, safe.Never, secret.ExpiresAfter, "and never")
	created := secret.Created
	w.must(t, sentinel, "POST", secretsPath, `{"workloads":["broken"],"value":"w"}`)
	secret, _ = w.Get("broken")
	assert.Equal(t, created, secret.Created)
	assert.True(t, secret.Updated.After(created))
	w.must(t, sentinel, "POST", secretsPath, `{"workloads":["broken"],"value":""}`)
	secret, _ = w.Get("broken")
	assert.Equal(t, "w", secret.Value, "an empty value is not stored")
	w.must(t, sentinel, "DELETE", secretsPath, `{"workloads":["broken"]}`)
	_, there := w.Get("broken")
	assert.False(t, there)
}

func TestTransformFailsOpen(t *testing.T) {
	w := start(t)
	for name, c := range map[string]struct{ value, template, format, want string }{
		"as it is":                       {" v ", "", "raw", "v"},
		"a template":                     {`{"a":"x"}`, `{"b":"{{.a}}"}`, "json", `{"b":"x"}`},
		"a broken template":              {`{"a":"x"}`, `{{.a`, "raw", `{"a":"x"}`},
		"a template that fails":          {`{"a":"x"}`, `{{template "no"}}`, "raw", `{"a":"x"}`},
		"a template of no JSON":          {`x`, `{{.a}}`, "raw", `x`},
		"a result that is no JSON":       {`{"a":"x"}`, `{{.a}}`, "json", `{"a":"x"}`},
		"a result that is no JSON, YAML": {`{"a":"x"}`, `{{.a}}`, "yaml", `x`},
		"YAML":                           {`{"a":"x"}`, ``, "yaml", "a: x\n"},
		"another format":                 {`{"a":"x"}`, ``, "toml", `{"a":"x"}`},
	} {
		w.Put(safe.Stored{Name: "app", Value: c.value, Meta: safe.Meta{Template: c.template, Format: c.format}})
		var got struct{ Data string }
		require.NoError(t, json.Unmarshal([]byte(w.must(t, app, "GET", "/workload/v1/secrets", "").body), &got))
		assert.Equal(t, c.want, got.Data, name)
	}
}

func TestListsShowNamesAndDates(t *testing.T) {
	w := start(t)
	w.Put(safe.Stored{Name: "vsecm-keystone", Value: "hunter2"})
	assert.JSONEq(t, `{"status":"ready"}`, w.must(t, sentinel, "GET", "/sentinel/v1/keystone", "").body)
	var masked struct{ Secrets []map[string]any }
	a := w.must(t, sentinel, "GET", secretsPath, "")
	require.NoError(t, json.Unmarshal([]byte(a.body), &masked))
	assert.Equal(t, []string{"created", "expiresAfter", "name", "notBefore", "updated"}, slices.Sorted(maps.Keys(masked.Secrets[0])))

	// As the path is joined by Go's own library, the question mark is escaped.
	path, err := url.JoinPath("/", "sentinel/v1/secrets?reveal=true")
	require.NoError(t, err)
	a = w.must(t, sentinel, "GET", path, "")
	assert.NotContains(t, a.body, "hunter2")
	var revealed struct {
		Secrets []struct{ Value []string }
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &revealed))
	w.must(t, sentinel, "POST", secretsPath, `{"workloads":["app"],"encrypt":true,"value":"`+revealed.Secrets[0].Value[0]+`"}`)
	secret, _ := w.Get("app")
	assert.Equal(t, "hunter2", secret.Value, "what was encrypted can be written")
	sealed := w.must(t, sentinel, "POST", secretsPath, `{"workloads":[],"encrypt":true,"value":"hunter2"}`).body
	assert.NotContains(t, sealed, "hunter2")
	w.must(t, sentinel, "POST", secretsPath, `{"workloads":["again"],"encrypt":true,"value":"`+sealed+`"}`)
	secret, _ = w.Get("again")
	assert.Equal(t, "hunter2", secret.Value)
}

func TestRequestsAreNoted(t *testing.T) {
	w := start(t)
	w.must(t, app, "GET", "/workload/v1/secrets", "")
	w.must(t, sentinel, "DELETE", secretsPath, `{}`)
	assert.Equal(t, []safe.Request{{Method: "GET", Path: "/workload/v1/secrets", ID: app}, {Method: "DELETE", Path: secretsPath, ID: sentinel}}, w.Requests())
}

func TestFaults(t *testing.T) {
	w := start(t)
	w.Break(safe.Fault{Status: 418, Body: "tea"})
	assert.Equal(t, answer{418, "tea"}, w.must(t, app, "GET", "/workload/v1/secrets", ""))
	w.Break(safe.Fault{Status: 302, Location: "/"})
	assert.Equal(t, answer{302, ""}, w.must(t, app, "GET", "/workload/v1/secrets", ""))
	w.Break(safe.Fault{Body: `{"data":1}`})
	assert.Equal(t, answer{200, `{"data":1}`}, w.must(t, app, "GET", "/workload/v1/secrets", ""))
	w.Break(safe.Fault{Body: "half of it", Truncated: true})
	a, err := w.as(t, app, "GET", "/workload/v1/secrets", "")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, answer{200, "half "}, a)
	w.Break(safe.Fault{Closed: true})
	_, err = w.as(t, app, "GET", "/workload/v1/secrets", "")
	require.ErrorIs(t, err, io.EOF)
	w.Break(safe.Fault{Delay: 50 * time.Millisecond})
	began := time.Now()
	assert.Equal(t, answer{404, ""}, w.must(t, app, "GET", "/workload/v1/secrets", ""))
	assert.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond)
	w.Break(safe.Fault{})
	assert.Equal(t, answer{404, ""}, w.must(t, app, "GET", "/workload/v1/secrets", ""))
}
