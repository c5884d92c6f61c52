package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/sirupsen/logrus"
)

// saveAgain is how long after a failure the Keeper is asked again to save a token.
const saveAgain = 30 * time.Second

// Keeper keeps tokens when the process ends: Vault revokes the leases of a token that ends. The id is Session.ID. Whoever
// can read it can do what the identity can do.
type Keeper interface {
	// Load says whether there is one.
	Load(ctx context.Context, id string) (Kept, bool, error)
	// Save overwrites what there is.
	Save(ctx context.Context, id string, kept Kept) error
	// Delete is no error when there is none.
	Delete(ctx context.Context, id string) error
}

// Kept is a token that leases hang on. The token is never printed, and is not in its JSON either: a Keeper has to take the
// field.
type Kept struct {
	Token string `json:"-"`
	// Accessor names the token, and is no secret.
	Accessor string
	// Expires is when it ends unless it is renewed; zero is never. While a process renews the token, it is in the future.
	Expires time.Time
}

// String hides the token.
func (k Kept) String() string { return "the token with the accessor " + k.Accessor }

// GoString hides the token.
func (k Kept) GoString() string { return k.String() }

// Format hides the token, whatever the verb is.
func (k Kept) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// Keep says that leases hang on the token of this session from now on. The token is taken from the Keeper when Vault still
// knows the one that is there, and saved there. Pool.Close does not give it back, and when its greatest age is near, it is
// replaced in time. Call it before the first Request that makes a lease; calling it again changes nothing.
//
// The token has to be allowed to look itself up and to renew itself, as Vault's policy default allows.
func (s *Session) Keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep, s.used = true, s.clock.Now()
}

// Holder is the accessor of the token that the next lease would hang on, after a login if there is none. A lease with
// another Lease.Holder is not renewed for ever: its token is not renewed any more. It is empty for a token without an
// accessor, and for a given one that may not look itself up.
func (s *Session) Holder(ctx context.Context) (string, error) {
	t, err := s.ensure(ctx)
	if err != nil {
		return "", err
	}
	return t.accessor, nil
}

// load gives the token of the Keeper, when there is one that Vault still knows. An error means that this is not known: a
// login would end the leases of that token.
func (s *Session) load(ctx context.Context, certificate *tls.Certificate) (*token, error) {
	var t *token
	found := false
	if s.options.Keeper != nil {
		kept, ok, err := s.options.Keeper.Load(ctx, s.id)
		if err != nil {
			return nil, fmt.Errorf("loading the token that leases hang on: %w", err)
		}
		if found = ok && kept.Token != ""; found {
			t, err = s.look(ctx, kept.Token, certificate)
			switch {
			case upstream.IsKind(err, upstream.Unavailable):
				return nil, err
			case err != nil:
				t = nil // it has ended
			default:
				t.saved, t.savedEnd = true, kept.Expires
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
	s.owed = s.owed || found && t == nil
	return t, nil
}

// save saves a kept token, if what the Keeper has is more than a little wrong. When it cannot be saved, that is logged,
// and tried again with a later request.
func (s *Session) save(ctx context.Context, t *token) {
	if !s.unsaved(t) {
		return
	}
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if !s.unsaved(t) {
		return
	}
	s.mu.Lock()
	kept := Kept{Token: t.client.Token(), Accessor: t.accessor, Expires: t.expires}
	s.mu.Unlock()
	// Also when nobody waits any more: a lease may hang on it soon.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.server.connection.Timeout)
	defer cancel()
	err := s.options.Keeper.Save(ctx, s.id, kept)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		t.saveAgain = s.clock.Now().Add(saveAgain)
		logrus.WithField("vault", s.server.connection.Address).WithError(errors.New(strings.ReplaceAll(err.Error(), kept.Token, "…"))).
			Warn("the token that leases hang on cannot be saved: after a restart, new leases are made")
		return
	}
	t.saved, t.savedEnd = true, kept.Expires
}

// unsaved says whether the Keeper has something to do. Vault itself says how long a token lives, so an end that is too
// early does no harm as long as it is not over: it is moved when half a life is left, with every second renewal.
func (s *Session) unsaved(t *token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if s.options.Keeper == nil || !s.keep || s.token != t || !t.kept || t.given || now.Before(t.saveAgain) {
		return false
	}
	if !t.saved || t.expires.IsZero() != t.savedEnd.IsZero() {
		return true
	}
	return t.savedEnd.Before(t.expires) && t.savedEnd.Sub(now) < t.life/2
}

// forget deletes the token from the Keeper. It gives the one to revoke: t or, when this session has not asked for it yet,
// that of the Keeper.
func (s *Session) forget(ctx context.Context, t *token) (*token, error) {
	if s.options.Keeper == nil || t != nil && t.given {
		return t, nil
	}
	s.keeping.Lock()
	defer s.keeping.Unlock()
	var errs []error
	if t == nil {
		kept, ok, err := s.options.Keeper.Load(ctx, s.id)
		if err == nil && ok {
			t, err = s.tokenOf(kept)
		}
		errs = append(errs, err)
	}
	errs = append(errs, s.options.Keeper.Delete(ctx, s.id))
	if err := errors.Join(errs...); err != nil {
		return t, fmt.Errorf("deleting the token that leases hang on: %w", err)
	}
	return t, nil
}

func (s *Session) tokenOf(kept Kept) (*token, error) {
	client, err := s.server.client(nil)
	if err != nil {
		return nil, err
	}
	client.SetToken(kept.Token)
	return &token{client: client, accessor: kept.Accessor}, nil
}
