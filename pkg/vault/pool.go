// Package vault reads from HashiCorp Vault for many objects at once: each server has one rate limit and one circuit
// breaker, each identity one token, and each path is read once for all who want it. It also has leases made, renewed and
// revoked, and keeps the tokens that they hang on.
package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// idLength is that of the hex digits of Session.ID.
const idLength = 20

// Options of a Pool. All may be nil.
type Options struct {
	// Keeper keeps the tokens of sessions with Session.Keep when the process ends. Without one, they are lost then.
	Keeper Keeper
	// Replaced is called with Session.ID when another token takes the place of the one that leases hang on, or when that
	// one has ended. The leases end with it: whoever has some makes new ones. It is called in a goroutine of its own.
	Replaced func(session string)
	// Requested is called after each request that was sent to the server at an address. err is nil or an *upstream.Error.
	// Requests that the circuit breaker or the rate limit have stopped were not sent.
	Requested func(address string, err error)
}

// Pool shares servers and tokens. The zero value is not ready; use NewPool.
type Pool struct {
	clock   clock.WithDelayedExecution
	options Options

	mu       sync.Mutex
	servers  map[string]*server
	sessions map[string]*Session
	// limits are by address and rate: connections that differ in something else share one.
	limits map[string]*rate.Limiter
}

// NewPool makes a Pool without any server.
func NewPool(c clock.WithDelayedExecution, options Options) *Pool {
	return &Pool{clock: c, options: options, servers: map[string]*server{}, sessions: map[string]*Session{}, limits: map[string]*rate.Limiter{}}
}

// Session is what reads with one identity from one server. Whoever asks with an equal connection and an Auth of the same
// ID gets the same. To ask for it is a use, for Sweep. The error says what is wrong with the connection.
func (p *Pool) Session(connection Connection, auth Auth) (*Session, error) {
	connection = connection.withDefaults()
	p.mu.Lock()
	defer p.mu.Unlock()
	at := connection.key()
	s := p.servers[at]
	if s == nil {
		var err error
		if s, err = newServer(connection, p.limit(connection), p.options.Requested); err != nil {
			return nil, err
		}
		p.servers[at] = s
	}
	key := at + "/" + auth.ID()
	if p.sessions[key] == nil {
		p.sessions[key] = newSession(p.clock, s, connection.idOf(auth), p.options)
	}
	p.sessions[key].use(auth)
	return p.sessions[key], nil
}

// limit is the rate limit of a connection. The lock is held.
func (p *Pool) limit(c Connection) *rate.Limiter {
	key := fmt.Sprintf("%s %g", c.Address, c.RequestsPerSecond)
	if p.limits[key] == nil {
		p.limits[key] = upstream.NewLimit(c.RequestsPerSecond)
	}
	return p.limits[key]
}

// Sweep gives back the tokens that nobody has used for so long, and forgets what was read with them. A kept token goes
// too, and with it all its leases: so it stays while a lease lives that was made or renewed by this process.
func (p *Pool) Sweep(ctx context.Context, unused time.Duration) error {
	p.mu.Lock()
	var old []*Session
	used, wanted := map[string]bool{}, map[string]bool{}
	for key, s := range p.sessions {
		if s.unusedFor(unused) {
			old = append(old, s)
			delete(p.sessions, key)
			continue
		}
		at, _, _ := strings.Cut(key, "/")
		used[at], wanted[s.id] = true, true
	}
	for at := range p.servers {
		if !used[at] {
			delete(p.servers, at)
		}
	}
	p.mu.Unlock()
	var errs []error
	for _, s := range old {
		// The connection may have been changed: then another session has the same identity, and its kept token.
		errs = append(errs, s.release(ctx, unused > 0 && !wanted[s.id]))
	}
	return errors.Join(errs...)
}

// Close gives all tokens back, but for those that leases hang on, which the next process takes over. A token that was
// given to the operator, and not got by a login, stays.
func (p *Pool) Close(ctx context.Context) error { return p.Sweep(ctx, 0) }

// Open gives the addresses, in order, of the servers that are left alone now because they have failed.
func (p *Pool) Open() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var open []string
	for _, s := range p.servers {
		if s.gate.Open() {
			open = append(open, s.connection.Address)
		}
	}
	slices.Sort(open)
	return slices.Compact(open)
}
