package vault

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/sirupsen/logrus"
)

const (
	// renewUntil is how long before its end the renewal of a token is tried again.
	renewUntil = 2 * time.Second
	// replaceAgain is the least time until it is tried again to replace a kept token.
	replaceAgain = 10 * time.Second
	// uncut is the share of its life that a renewal has to give a token. Less means that its greatest age is near.
	uncut = 0.9
)

// errNotCurrent means that there is nothing to replace any more.
var errNotCurrent = errors.New("it is not the token of the session")

// renew renews a token, until that makes it live no longer. Then it is used until it ends, and the next request logs in. A
// kept one that gets less than its life is replaced at once: so there is time to make new leases until the old ones end with it.
func (s *Session) renew(t *token) {
	ctx, cancel := context.WithTimeout(context.Background(), s.server.connection.Timeout)
	defer cancel()
	out, err := s.server.do(ctx, t.client, request{method: http.MethodPut, path: renewSelf, body: map[string]any{}})
	s.mu.Lock()
	if s.token != t {
		s.mu.Unlock()
		return
	}
	now := s.clock.Now()
	replaceable := t.kept && !t.given
	whole := false
	switch left := t.expires.Sub(now); {
	case upstream.IsKind(err, upstream.Unavailable) && left > renewUntil:
		s.after(t, left/2, s.renew)
		replaceable = false
	case err == nil && out.Auth != nil && out.Auth.LeaseDuration > 0:
		got := time.Duration(out.Auth.LeaseDuration) * time.Second
		t.renewable = out.Auth.Renewable
		t.livesFor(got, now)
		whole = got >= time.Duration(uncut*float64(t.life))
		if whole || !replaceable && got-left > got/10 {
			s.schedule(t)
		}
	}
	s.mu.Unlock()
	switch {
	case whole:
		s.save(ctx, t)
	case replaceable:
		s.replace(t)
	}
}

// replace logs in anew while a kept token still lives. The old one is not given back: its leases would end with it. When
// there is no new one, it is tried again.
func (s *Session) replace(t *token) {
	// The credentials, the login and the Keeper.
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.server.connection.Timeout)
	defer cancel()
	_, err := s.tokens.Do(ctx, "", func() (*token, error) {
		s.mu.Lock()
		auth, current := s.auth, s.token == t
		s.mu.Unlock()
		if !current {
			return nil, errNotCurrent
		}
		credentials, err := auth.Credentials(ctx)
		if err != nil {
			return nil, err
		}
		return s.enter(ctx, credentials, true)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || s.token != t {
		return
	}
	logrus.WithFields(logrus.Fields{"vault": s.server.connection.Address, "until": t.expires.UTC().Format(time.RFC3339)}).WithError(err).
		Warn("there is no new token for the one that leases hang on: they end with it")
	left := t.expires.Sub(s.clock.Now())
	if left <= 0 && !upstream.IsKind(err, upstream.Unavailable) {
		// A person has to mend it. Whoever has leases asks again from time to time.
		s.lose(t)
		return
	}
	s.after(t, max(left/2, replaceAgain), s.replace)
}
