package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clocktesting "k8s.io/utils/clock/testing"
)

// fake answers in the place of Vault what no Vault answers when it is asked to. What Vault really does is tested in
// e2e, with a real one.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	requests map[string]int
	answer   map[string]http.HandlerFunc
	// tokens are those that are known, and counts those that were made.
	tokens map[string]bool
	logins int
	// life is that of a token at its login, and cut what a renewal gives it, in seconds; 0 is a renewal that is not cut.
	life, cut int
	// fixed tokens cannot be renewed.
	fixed bool
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{requests: map[string]int{}, answer: map[string]http.HandlerFunc{}, tokens: map[string]bool{}, life: 100}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1/")
	f.mu.Lock()
	f.requests[key]++
	answer := f.answer[key]
	known := f.tokens[r.Header.Get("X-Vault-Token")]
	f.mu.Unlock()
	switch {
	case key == "POST auth/kubernetes/login":
		f.mu.Lock()
		f.logins++
		token := fmt.Sprintf("token-%d", f.logins)
		f.tokens[token] = true
		life := f.life
		f.mu.Unlock()
		write(w, map[string]any{"auth": map[string]any{
			"client_token": token, "accessor": accessorOf(token), "lease_duration": life, "renewable": !f.fixed, "policies": []string{"default"},
		}})
	case !known:
		w.WriteHeader(http.StatusForbidden)
		write(w, map[string]any{"errors": []string{"permission denied"}})
	case answer != nil:
		answer(w, r)
	case key == "GET auth/token/lookup-self":
		write(w, map[string]any{"data": map[string]any{
			"accessor": accessorOf(r.Header.Get("X-Vault-Token")), "ttl": f.life, "creation_ttl": f.life, "renewable": true,
		}})
	case key == "PUT auth/token/renew-self":
		f.mu.Lock()
		life := f.life
		if f.cut > 0 {
			life = f.cut
		}
		f.mu.Unlock()
		write(w, map[string]any{"auth": map[string]any{"client_token": r.Header.Get("X-Vault-Token"), "lease_duration": life, "renewable": true}})
	case key == "PUT auth/token/revoke-self":
		f.revoke(r.Header.Get("X-Vault-Token"))
		w.WriteHeader(http.StatusNoContent)
	case strings.HasPrefix(key, "GET sys/internal/ui/mounts/"):
		write(w, map[string]any{"data": map[string]any{"path": "kv/", "options": map[string]any{"version": "2"}}})
	case strings.HasPrefix(key, "GET kv/data/"):
		write(w, map[string]any{"data": map[string]any{"data": map[string]any{"k": "v"}, "metadata": map[string]any{"version": 4}}})
	default:
		w.WriteHeader(http.StatusNotFound)
		write(w, map[string]any{"errors": []string{}})
	}
}

func accessorOf(token string) string { return strings.Replace(token, "token", "accessor", 1) }

func write(w http.ResponseWriter, body any) { _ = json.NewEncoder(w).Encode(body) }

// says makes an answer with a status.
func says(status int, body any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		write(w, body)
	}
}

// refuses makes an answer with an error of Vault.
func refuses(status int, words string) http.HandlerFunc {
	return says(status, map[string]any{"errors": []string{words}})
}

func (f *fake) revoke(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.tokens, token)
}

func (f *fake) on(key string, answer http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer[key] = answer
}

func (f *fake) knows(token string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokens[token]
}

func (f *fake) made() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logins
}

// set changes how long tokens live.
func (f *fake) set(life, cut int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.life, f.cut = life, cut
}

func (f *fake) count(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[key]
}

// role logs in at auth/kubernetes.
type role struct{ asked atomic.Int32 }

func (*role) ID() string { return "role" }

func (r *role) Credentials(context.Context) (Credentials, error) {
	r.asked.Add(1)
	return Credentials{Path: LoginPath("kubernetes"), Body: map[string]any{"role": "r", "jwt": "j"}}, nil
}

func start(t *testing.T) (*fake, *Pool, *Session, *clocktesting.FakeClock) {
	t.Helper()
	f := newFake(t)
	clock := clocktesting.NewFakeClock(time.Now())
	pool, s := join(t, f, clock, Options{})
	return f, pool, s, clock
}

// join is what another process does at the same Vault.
func join(t *testing.T, f *fake, clock *clocktesting.FakeClock, options Options) (*Pool, *Session) {
	t.Helper()
	pool := NewPool(clock, options)
	s, err := pool.Session(Connection{Address: f.URL, RequestsPerSecond: 1000, Timeout: time.Second}, &role{})
	require.NoError(t, err)
	return pool, s
}
