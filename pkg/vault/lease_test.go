package vault

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubernetes "k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"
)

const creds = "database/creds/x"

// leases lets the path creds make a lease.
func (f *fake) leases() {
	f.on("GET "+creds, says(200, map[string]any{
		"lease_id": creds + "/1", "lease_duration": 60, "renewable": true, "data": map[string]any{"username": "u", "n": 12345678901234567},
	}))
}

func TestParamsAreInTheQueryOrInTheBody(t *testing.T) {
	f, _, s, _ := start(t)
	f.leases()
	got, err := s.Request(t.Context(), http.MethodGet, "/"+creds+"/", nil)
	require.NoError(t, err)
	assert.Equal(t, Answer{
		Data:  map[string]any{"username": "u", "n": json.Number("12345678901234567")},
		Lease: Lease{ID: creds + "/1", Duration: time.Minute, Renewable: true, Holder: "accessor-1"},
	}, got)

	var query, body string
	note := func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		query, body = r.URL.RawQuery, string(content)
		write(w, map[string]any{"data": map[string]any{}, "lease_duration": 60})
	}
	params := map[string]any{"ttl": "1h", "n": 1000000.0, "yes": true, "names": []any{"a b", 2}, "none": nil}
	f.on("GET pki/issue/x", note)
	got, err = s.Request(t.Context(), http.MethodGet, "pki/issue/x", params)
	require.NoError(t, err)
	assert.Equal(t, "n=1000000&names=a+b&names=2&ttl=1h&yes=true", query)
	assert.Empty(t, body)
	assert.Equal(t, Lease{}, got.Lease, "there is no lease without an ID")
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		f.on(method+" pki/issue/x", note)
		_, err = s.Request(t.Context(), method, "pki/issue/x", params)
		require.NoError(t, err)
		assert.Empty(t, query)
		assert.JSONEq(t, `{"ttl":"1h","n":1000000,"yes":true,"names":["a b",2],"none":null}`, body)
		_, err = s.Request(t.Context(), method, "pki/issue/x", nil)
		require.NoError(t, err)
		assert.JSONEq(t, `{}`, body)
	}
}

func TestARequestThatCannotBeSentSaysWhatToWrite(t *testing.T) {
	f, _, s, _ := start(t)
	for _, c := range []struct {
		method, path string
		params       map[string]any
		says         string
	}{
		{"GET", "", nil, "the path is empty: write one such as database/creds/reader"},
		{"GET", "//", nil, "the path is empty"},
		{"POST", "pki/../sys/seal", nil, "the path has .. or an empty part"},
		{"GET", "/auth/token/lookup-self", nil, "what is below auth/ and sys/ is Vault's own"},
		{"PUT", "sys/seal", nil, "what is below auth/ and sys/ is Vault's own"},
		{"GET", "..", nil, "the path has .. or an empty part"},
		{"GET", "a//b", nil, "the path has .. or an empty part"},
		{"GET", "a/./b", nil, "the path has .. or an empty part"},
		{"DELETE", "a/b", nil, "the method has to be GET, POST or PUT"},
		{"GET", "a/b", map[string]any{"deep": map[string]any{}}, "the param deep is no text, number or list of these: use POST"},
		{"POST", "a/b", map[string]any{"x": func() {}}, "cannot be written as JSON"},
	} {
		_, err := s.Request(t.Context(), c.method, c.path, c.params)
		require.ErrorContains(t, err, c.says, "%s %s", c.method, c.path)
		assert.True(t, upstream.IsKind(err, upstream.Invalid))
	}
	_, err := s.RenewLease(t.Context(), "", 0)
	assert.True(t, upstream.IsKind(err, upstream.Invalid))
	assert.True(t, upstream.IsKind(s.RevokeLease(t.Context(), ""), upstream.Invalid))
	assert.Empty(t, f.requests)
}

func TestWhatMakesSomethingIsNotSentTwice(t *testing.T) {
	f, _, s, _ := start(t)
	const issue = "POST pki/issue/x"
	for name, answer := range map[string]http.HandlerFunc{
		"refused":    refuses(403, "permission denied"),
		"failed":     refuses(500, "no"),
		"broken off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		before := f.count(issue)
		f.on(issue, answer)
		_, err := s.Request(t.Context(), http.MethodPost, "pki/issue/x", nil)
		require.Error(t, err, name)
		assert.Equal(t, before+1, f.count(issue), name)
	}
	f.on(issue, says(200, map[string]any{"data": map[string]any{"serial": "1"}}))
	f.revoke("token-1")
	before := f.count(issue)
	_, err := s.Request(t.Context(), http.MethodPost, "pki/issue/x", nil)
	require.NoError(t, err)
	assert.Equal(t, before+2, f.count(issue), "Vault has refused it, for the token had ended")
}

func TestARenewalIsNotShorterForItsFractions(t *testing.T) {
	f, _, s, _ := start(t)
	var asked map[string]any
	f.on("PUT sys/leases/renew", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&asked)
		write(w, map[string]any{"lease_id": asked["lease_id"], "lease_duration": asked["increment"], "renewable": true})
	})
	const increment = 1500 * time.Millisecond
	lease, err := s.RenewLease(t.Context(), "l", increment)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"lease_id": "l", "increment": 2.0}, asked)
	assert.Equal(t, Lease{ID: "l", Duration: 2 * time.Second, Renewable: true}, lease)
}

func TestALeaseThatHasEndedIsMissing(t *testing.T) {
	f, _, s, _ := start(t)
	for words, kind := range map[string]upstream.Kind{
		"lease not found": upstream.Missing, "lease expired": upstream.Missing, "lease is expired and has failed previous revocation attempts": upstream.Missing,
		"lease is not renewable": upstream.Invalid,
	} {
		f.on("PUT sys/leases/renew", refuses(400, words))
		_, err := s.RenewLease(t.Context(), "l", 0)
		assert.True(t, upstream.IsKind(err, kind), words)
	}
	f.on("PUT sys/leases/revoke", refuses(400, "lease not found"))
	require.NoError(t, s.RevokeLease(t.Context(), "l"))
	f.on("PUT sys/leases/revoke", refuses(400, "failed to revoke entry: resp: nil err: password hunter2"))
	err := s.RevokeLease(t.Context(), "l")
	assert.True(t, upstream.IsKind(err, upstream.Unavailable))
	assert.NotContains(t, err.Error(), "hunter2")
	f.on("PUT sys/leases/revoke", refuses(403, "permission denied"))
	assert.True(t, upstream.IsKind(s.RevokeLease(t.Context(), "l"), upstream.Denied))
}

func TestAGivenTokenIsRenewedAndNotRevoked(t *testing.T) {
	f := newFake(t)
	clock := clocktesting.NewFakeClock(time.Now())
	f.tokens["token-given"] = true
	client := kubernetes.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Data: map[string][]byte{
		"token": []byte("token-given\n"), "broken": []byte("token\n-given"),
	}})
	pool := NewPool(clock, Options{})
	session := func(key string) *Session {
		s, err := pool.Session(Connection{Address: f.URL}, Token{Token: SecretKey{Client: client.CoreV1(), Namespace: "n", Name: "s", Key: key}})
		require.NoError(t, err)
		return s
	}
	s := session("token")
	f.leases()
	got, err := s.Request(t.Context(), http.MethodGet, creds, nil)
	require.NoError(t, err)
	assert.Equal(t, "accessor-given", got.Lease.Holder)
	_, err = s.Holder(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, f.count("GET "+lookupSelf), "it is looked up once")
	clock.Step(50 * time.Second)
	require.Eventually(t, func() bool { return f.count("PUT "+renewSelf) == 1 }, 5*time.Second, time.Millisecond)
	require.NoError(t, pool.Close(t.Context()))
	assert.True(t, f.knows("token-given"))
	assert.False(t, clock.HasWaiters())

	_, err = session("broken").Holder(t.Context())
	assert.True(t, upstream.IsKind(err, upstream.Invalid))
	assert.ErrorContains(t, err, "line break")
}
