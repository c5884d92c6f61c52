package vault

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/hashicorp/vault/api"
	"k8s.io/utils/clock"
)

// renewFrom and renewTo are the share of its life after which a token is renewed.
const (
	renewFrom = 0.4
	renewTo   = 0.5
)

// What a token asks and does about itself. Vault's policy default allows all three.
const (
	lookupSelf = "auth/token/lookup-self"
	renewSelf  = "auth/token/renew-self"
	revokeSelf = "auth/token/revoke-self"
)

// token is a token of a login, of the Keeper, or one that was given.
type token struct {
	client *api.Client
	// accessor names the token, and is no secret. A batch token has none.
	accessor string
	// expires is zero for a token without end.
	expires time.Time
	// life is how long it lives when Vault does not cut it.
	life      time.Duration
	renewable bool
	// renewal is what comes next: a renewal or, for a kept token that cannot be renewed, its replacement.
	renewal clock.Timer
	// given is true for one that no login has made.
	given bool
	// batch tokens cannot be revoked.
	batch bool
	// mute means that no policy lets it ask for itself.
	mute bool
	// kept means that leases may hang on it.
	kept bool
	// saved means that the Keeper has it, with the end savedEnd. When that fails, it is tried again after saveAgain.
	saved               bool
	savedEnd, saveAgain time.Time
}

func (t *token) over(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// obtain gets a token: that of the Keeper when leases hang on it, or that of a login.
func (s *Session) obtain(ctx context.Context) (*token, error) {
	s.mu.Lock()
	auth, keep, ask, former := s.auth, s.keep, s.keep && !s.asked, s.current()
	s.mu.Unlock()
	if former != nil && former.kept == keep {
		return former, nil // another one has got it in between
	}
	credentials, err := auth.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	if ask && credentials.Token == "" {
		t, err := s.load(ctx, credentials.Certificate)
		if err != nil {
			return nil, err
		}
		if t != nil {
			s.adopt(ctx, t, keep)
			// No lease hangs on the former one. A request that is under way is sent again.
			_ = s.revoke(ctx, former)
			return t, nil
		}
	}
	if former != nil {
		s.adopt(ctx, former, keep)
		return former, nil
	}
	return s.enter(ctx, credentials, keep)
}

// enter makes a token with credentials, or takes the one that was given.
func (s *Session) enter(ctx context.Context, credentials Credentials, keep bool) (*token, error) {
	made := s.logIn
	if credentials.Token != "" {
		made = s.take
	}
	t, err := made(ctx, credentials)
	if err != nil {
		return nil, err
	}
	s.adopt(ctx, t, keep)
	return t, nil
}

// take uses a token that was given.
func (s *Session) take(ctx context.Context, credentials Credentials) (*token, error) {
	t, err := s.look(ctx, credentials.Token, nil)
	if upstream.IsKind(err, upstream.Denied) {
		// It has ended, or no policy lets it ask for itself. The next request tells.
		t.mute, err = true, nil
	}
	if err != nil {
		return nil, err
	}
	t.given = true
	return t, nil
}

// logIn makes a new token.
func (s *Session) logIn(ctx context.Context, credentials Credentials) (*token, error) {
	client, err := s.server.client(credentials.Certificate)
	if err != nil {
		return nil, err
	}
	out, err := s.server.do(ctx, client, request{method: http.MethodPost, path: credentials.Path, body: credentials.Body})
	if err != nil {
		return nil, fmt.Errorf("logging in: %w", err)
	}
	if out.Auth == nil || out.Auth.ClientToken == "" {
		return nil, &upstream.Error{Kind: upstream.Invalid, Request: "POST " + credentials.Path, Address: s.server.connection.Address, Reason: "the answer has no token: is this the path of a login?"}
	}
	client.SetToken(out.Auth.ClientToken)
	t := &token{
		client: client, accessor: out.Auth.Accessor, renewable: out.Auth.Renewable, batch: out.Auth.TokenType == "batch",
		life: time.Duration(out.Auth.LeaseDuration) * time.Second,
		mute: len(out.Auth.Policies) > 0 && !slices.Contains(out.Auth.Policies, "default") && !slices.Contains(out.Auth.Policies, "root"),
	}
	t.livesFor(t.life, s.clock.Now())
	return t, nil
}

// look asks Vault about a token. When that is denied, there is a token beside the error.
func (s *Session) look(ctx context.Context, text string, certificate *tls.Certificate) (*token, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return nil, &upstream.Error{Kind: upstream.Invalid, Request: "GET " + lookupSelf, Address: s.server.connection.Address, Reason: "the token has a line break or another character that no token has: write it anew"}
	}
	client, err := s.server.client(certificate)
	if err != nil {
		return nil, err
	}
	client.SetToken(text)
	t := &token{client: client}
	out, err := s.server.do(ctx, client, request{method: http.MethodGet, path: lookupSelf})
	if err != nil {
		return t, err
	}
	t.accessor, _ = out.Data["accessor"].(string)
	t.renewable, _ = out.Data["renewable"].(bool)
	t.batch = out.Data["type"] == "batch"
	left := seconds(out.Data["ttl"])
	t.life = max(left, seconds(out.Data["period"]))
	if seconds(out.Data["period"]) == 0 {
		t.life = max(left, seconds(out.Data["creation_ttl"]))
	}
	t.livesFor(left, s.clock.Now())
	return t, nil
}

func seconds(value any) time.Duration {
	number, _ := value.(json.Number)
	n, _ := number.Int64()
	return time.Duration(n) * time.Second
}

// livesFor notes how long the token lives from now on. 0 is a life without end.
func (t *token) livesFor(left time.Duration, now time.Time) {
	t.expires = time.Time{}
	if left > 0 {
		t.expires = now.Add(left)
	}
	t.life = max(t.life, left)
}

// adopt makes a token that of the session. keep says that leases may hang on it. Whoever has leases of a former one is told.
func (s *Session) adopt(ctx context.Context, t *token, keep bool) {
	s.mu.Lock()
	former := s.token
	if former != nil && former != t {
		s.drop(former)
		s.owed = s.owed || former.kept
	}
	s.token = t
	t.kept = keep
	s.schedule(t)
	if s.owed {
		s.announce()
	}
	s.mu.Unlock()
	s.save(ctx, t)
}

// schedule plans what is done about a token before it ends. The lock is held.
func (s *Session) schedule(t *token) {
	if t.renewal != nil {
		t.renewal.Stop()
	}
	if t.expires.IsZero() || s.released {
		return
	}
	share := renewFrom + rand.Float64()*(renewTo-renewFrom) //nolint:gosec // jitter is no secret
	after := time.Duration(float64(t.expires.Sub(s.clock.Now())) * share)
	switch {
	case t.renewable:
		s.after(t, after, s.renew)
	case t.kept && !t.given:
		s.after(t, after, s.replace)
	}
}

// after plans one thing. The lock is held.
func (s *Session) after(t *token, wait time.Duration, do func(*token)) {
	t.renewal = s.clock.AfterFunc(wait, func() { go do(t) })
}

// drop throws a token away. The lock is held.
func (s *Session) drop(t *token) {
	if t == nil {
		return
	}
	if t.renewal != nil {
		t.renewal.Stop()
	}
	if s.token == t {
		s.token = nil
	}
}

// lose drops a token that has ended, and tells whoever has leases of it. The lock is held.
func (s *Session) lose(t *token) {
	if s.token != t {
		return
	}
	s.drop(t)
	if t.kept {
		s.announce()
	}
}

// announce tells that the leases of a token end or have ended. The lock is held.
func (s *Session) announce() {
	s.owed = false
	if s.options.Replaced != nil {
		go s.options.Replaced(s.id)
	}
}

// revoke gives a token back.
func (s *Session) revoke(ctx context.Context, t *token) error {
	if t == nil || t.given || t.batch {
		return nil
	}
	_, err := s.server.do(ctx, t.client, request{method: http.MethodPut, path: revokeSelf, body: map[string]any{}})
	if upstream.IsKind(err, upstream.Denied) {
		return nil // it had ended
	}
	return err
}
