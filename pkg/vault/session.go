package vault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/singleflight"
	"k8s.io/utils/clock"
)

// renewFrom and renewTo are the share of its life after which a token is renewed.
const (
	renewFrom = 0.4
	renewTo   = 0.5
)

// Session reads with one identity from one server. It logs in when it has to.
type Session struct {
	clock  clock.WithDelayedExecution
	server *server
	login  singleflight.Group
	reads  singleflight.Group

	mu    sync.Mutex
	auth  Auth
	used  time.Time
	token *token
	// known is what was read last.
	known map[string]KV
}

// token is a token of a login.
type token struct {
	client *api.Client
	// expires is zero for a token without end.
	expires time.Time
	renewal clock.Timer
	// given is true for one that no login has made.
	given bool
}

func newSession(c clock.WithDelayedExecution, s *server, auth Auth) *Session {
	return &Session{clock: c, server: s, auth: auth, known: map[string]KV{}}
}

func (s *Session) use(auth Auth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth, s.used = auth, s.clock.Now()
}

func (s *Session) lastUse() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// do sends a request with the token of the session. When it is denied because the token has ended before its time, it is
// sent once more with a new one.
func (s *Session) do(ctx context.Context, r request) (*response, error) {
	t, err := s.ensure(ctx)
	if err != nil {
		return nil, err
	}
	out, err := s.server.do(ctx, t.client, r)
	if !IsKind(err, Denied) || s.lives(ctx, t) {
		return out, err
	}
	s.mu.Lock()
	s.drop(t)
	s.mu.Unlock()
	if t, err = s.ensure(ctx); err != nil {
		return nil, err
	}
	return s.server.do(ctx, t.client, r)
}

// lives says whether Vault still knows a token. Every policy lets a token ask for itself.
func (s *Session) lives(ctx context.Context, t *token) bool {
	_, err := s.server.do(ctx, t.client, request{method: http.MethodGet, path: "auth/token/lookup-self"})
	return !IsKind(err, Denied)
}

// ensure gives the token of the session, after a login if there is none.
func (s *Session) ensure(ctx context.Context) (*token, error) {
	s.mu.Lock()
	t := s.token
	if t != nil && !t.expires.IsZero() && !s.clock.Now().Before(t.expires) {
		s.drop(t)
		t = nil
	}
	s.mu.Unlock()
	if t != nil {
		return t, nil
	}
	made, err, _ := s.login.Do("", func() (any, error) { return s.logIn(ctx) })
	if err != nil {
		return nil, err
	}
	return made.(*token), nil //nolint:forcetypeassert // logIn gives nothing else
}

func (s *Session) logIn(ctx context.Context) (*token, error) {
	s.mu.Lock()
	auth := s.auth
	s.mu.Unlock()
	credentials, err := auth.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	client, err := s.server.client(credentials.Certificate)
	if err != nil {
		return nil, err
	}
	t := &token{client: client}
	if credentials.Token != "" {
		client.SetToken(credentials.Token)
		t.given = true
		s.mu.Lock()
		defer s.mu.Unlock()
		s.token = t
		return t, nil
	}
	out, err := s.server.do(ctx, client, request{method: http.MethodPost, path: credentials.Path, body: credentials.Body})
	if err != nil {
		return nil, fmt.Errorf("logging in: %w", err)
	}
	if out.Auth == nil || out.Auth.ClientToken == "" {
		return nil, &Error{Kind: Invalid, Request: "POST " + credentials.Path, Address: s.server.connection.Address, Reason: "the answer has no token: is this the path of a login?"}
	}
	client.SetToken(out.Auth.ClientToken)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = t
	s.live(t, out.Auth)
	return t, nil
}

// live notes how long a token lives, and renews it before half of that is over. The lock is held.
func (s *Session) live(t *token, a *auth) {
	if a.LeaseDuration <= 0 {
		return
	}
	life := time.Duration(a.LeaseDuration) * time.Second
	t.expires = s.clock.Now().Add(life)
	if !a.Renewable {
		return
	}
	share := renewFrom + rand.Float64()*(renewTo-renewFrom) //nolint:gosec // jitter is no secret
	t.renewal = s.clock.AfterFunc(time.Duration(float64(life)*share), func() { go s.renew(t, life) })
}

// renew renews a token. When Vault gives it less time than before, its greatest age is near, and the next request logs
// in again once it has ended.
func (s *Session) renew(t *token, life time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), s.server.connection.Timeout)
	defer cancel()
	out, err := s.server.do(ctx, t.client, request{method: http.MethodPut, path: "auth/token/renew-self", body: map[string]any{}})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != t {
		return
	}
	switch {
	case IsKind(err, Unavailable):
		// Once more, as long as it lives.
		if left := t.expires.Sub(s.clock.Now()); left > 2*time.Second {
			t.renewal = s.clock.AfterFunc(left/2, func() { go s.renew(t, life) })
		}
	case err != nil || out.Auth == nil || time.Duration(out.Auth.LeaseDuration)*time.Second < life/2:
		s.drop(t)
	default:
		s.live(t, out.Auth)
	}
}

// drop throws a token away. The lock is held.
func (s *Session) drop(t *token) {
	if t.renewal != nil {
		t.renewal.Stop()
	}
	if s.token == t {
		s.token = nil
	}
}

// release gives the token back.
func (s *Session) release(ctx context.Context) error {
	s.mu.Lock()
	t := s.token
	if t != nil {
		s.drop(t)
	}
	s.known = map[string]KV{}
	s.mu.Unlock()
	if t == nil || t.given {
		return nil
	}
	_, err := s.server.do(ctx, t.client, request{method: http.MethodPut, path: "auth/token/revoke-self", body: map[string]any{}})
	if IsKind(err, Denied) {
		return nil // it had ended
	}
	return err
}
