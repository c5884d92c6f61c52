package vault

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/flight"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"k8s.io/utils/clock"
)

// Session reads with one identity from one server, and has leases made. It logs in when it has to.
type Session struct {
	clock   clock.WithDelayedExecution
	server  *server
	id      string
	options Options
	tokens  flight.Group[*token]
	reads   flight.Group[KV]
	// keeping is held while the Keeper is at work, so that no older token overwrites a newer one.
	keeping sync.Mutex

	mu    sync.Mutex
	auth  Auth
	used  time.Time
	token *token
	// known is what was read last.
	known map[string]KV
	// keep means that leases hang on the token.
	keep bool
	// asked means that the Keeper has said what it has.
	asked bool
	// owed means that the kept token of a former process has ended, and nobody knows yet.
	owed bool
	// leased is until when a lease lives that this session knows of.
	leased time.Time
	// released means that the Pool has forgotten it.
	released bool
}

func newSession(c clock.WithDelayedExecution, s *server, id string, options Options) *Session {
	return &Session{clock: c, server: s, id: id, options: options, known: map[string]KV{}}
}

// ID is made of hex digits. It is the same in every process for the same address, Vault namespace and ID of the Auth, and
// different for others. It can be part of the name of an object in Kubernetes.
func (s *Session) ID() string { return s.id }

func (s *Session) use(auth Auth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth, s.used = auth, s.clock.Now()
}

// unusedFor says whether the session may be forgotten. 0 is always.
func (s *Session) unusedFor(long time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if long <= 0 {
		return true
	}
	inUse := s.clock.Since(s.used) < long || s.keep && s.clock.Now().Before(s.leased)
	return !inUse
}

// do sends a request with the token of the session. When it is denied because the token has ended before its time, it is
// sent once more with a new one.
func (s *Session) do(ctx context.Context, r request) (*response, error) {
	out, _, err := s.doAs(ctx, r)
	return out, err
}

// doAs is do, and gives the token that the answer was for.
func (s *Session) doAs(ctx context.Context, r request) (*response, *token, error) {
	t, err := s.ensure(ctx)
	if err != nil {
		return nil, nil, err
	}
	out, err := s.server.do(ctx, t.client, r)
	if !upstream.IsKind(err, upstream.Denied) || s.lives(ctx, t) {
		return out, t, err
	}
	s.mu.Lock()
	s.lose(t)
	s.mu.Unlock()
	if t, err = s.ensure(ctx); err != nil {
		return nil, nil, err
	}
	out, err = s.server.do(ctx, t.client, r)
	return out, t, err
}

// lives says whether Vault still knows a token. Its policy default lets a token ask for itself. One that may not would
// seem to have ended with each request that is denied, so it is believed to live when leases hang on it.
func (s *Session) lives(ctx context.Context, t *token) bool {
	if t.kept && t.mute {
		return true
	}
	_, err := s.server.do(ctx, t.client, request{method: http.MethodGet, path: lookupSelf})
	return !upstream.IsKind(err, upstream.Denied)
}

// ensure gives the token of the session, after a login if there is none. When leases hang on the session, it is one that
// is kept: another request may have begun to log in before that was known.
func (s *Session) ensure(ctx context.Context) (*token, error) {
	for {
		s.mu.Lock()
		s.used = s.clock.Now()
		t := s.current()
		ready := t != nil && t.kept == s.keep
		s.mu.Unlock()
		if ready {
			s.save(ctx, t)
			return t, nil
		}
		t, err := s.tokens.Do(ctx, "", func() (*token, error) { return s.obtain(ctx) })
		if err != nil && ctx.Err() != nil && !upstream.IsKind(err, upstream.Unavailable) {
			return nil, s.unasked(ctx, "waiting for a token")
		}
		if err != nil || s.fits(t) {
			return t, err
		}
	}
}

// fits says whether a lease may hang on a token, when that is wanted.
func (s *Session) fits(t *token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.kept || !s.keep
}

// current is the token of the session, unless its time is over. The lock is held.
func (s *Session) current() *token {
	if t := s.token; t != nil && t.over(s.clock.Now()) {
		s.lose(t)
	}
	return s.token
}

// unasked is the error of what was not even sent before the context has ended.
func (s *Session) unasked(ctx context.Context, what string) error {
	return &upstream.Error{Kind: upstream.Unavailable, Request: what, Address: s.server.connection.Address, Reason: upstream.ReasonOf(ctx, ctx.Err())}
}

// release stops the renewal, and gives the token back if it may. Leases hang on a kept one, which is given back only when
// nobody wants them any more.
func (s *Session) release(ctx context.Context, unwanted bool) error {
	s.mu.Lock()
	t, keep := s.token, s.keep
	s.drop(t)
	s.released = true
	s.known = map[string]KV{}
	if unwanted {
		s.keep = false
	}
	s.mu.Unlock()
	if keep && !unwanted {
		return nil
	}
	var err error
	if keep {
		// First this: whoever asks the Keeper from here on does not get a token that ends.
		t, err = s.forget(ctx, t)
	}
	return errors.Join(err, s.revoke(ctx, t))
}
