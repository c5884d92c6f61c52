// Package vault reads from HashiCorp Vault for many objects at once: each server has one rate limit and one circuit
// breaker, each identity one token, and each path is read once for all who want it.
package vault

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// What holds when a Connection does not say otherwise.
const (
	DefaultTimeout           = 10 * time.Second
	DefaultRequestsPerSecond = 20
)

// A server that fails this often in a row is left alone for a while. Then one request tries it.
const (
	failuresToOpen = 5
	openFor        = 15 * time.Second
)

// Connection says how to reach a server.
type Connection struct {
	// Address is a URL, such as https://vault.example.com:8200.
	Address string
	// Namespace is one of Vault's own; empty is the root.
	Namespace string
	// CA holds certificates as PEM; empty are those of the system.
	CA []byte
	// ServerName is the name in the server's certificate; empty is that of the Address.
	ServerName string
	// Timeout bounds each request; 0 is DefaultTimeout.
	Timeout time.Duration
	// RequestsPerSecond bounds all requests to the server together; 0 is DefaultRequestsPerSecond.
	RequestsPerSecond float64
}

// key is different for connections that are.
func (c Connection) key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []any{c.Address, c.Namespace, c.CA, c.ServerName, c.Timeout, c.RequestsPerSecond}))
	return hex.EncodeToString(sum[:])
}

// Pool shares servers and tokens. The zero value is not ready; use NewPool.
type Pool struct {
	clock clock.WithDelayedExecution

	mu       sync.Mutex
	servers  map[string]*server
	sessions map[string]*Session
}

// NewPool makes a Pool without any server.
func NewPool(c clock.WithDelayedExecution) *Pool {
	return &Pool{clock: c, servers: map[string]*server{}, sessions: map[string]*Session{}}
}

// Session is what reads with one identity from one server. Whoever asks with an equal connection and an Auth of the same
// ID gets the same. The error says what is wrong with the connection.
func (p *Pool) Session(connection Connection, auth Auth) (*Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := connection.key()
	s := p.servers[key]
	if s == nil {
		var err error
		if s, err = newServer(connection); err != nil {
			return nil, err
		}
		p.servers[key] = s
	}
	key += "/" + auth.ID()
	if p.sessions[key] == nil {
		p.sessions[key] = newSession(p.clock, s, auth)
	}
	p.sessions[key].use(auth)
	return p.sessions[key], nil
}

// Sweep gives back the tokens that nobody has used for so long, and forgets what was read with them.
func (p *Pool) Sweep(ctx context.Context, unused time.Duration) error {
	p.mu.Lock()
	var old []*Session
	for key, s := range p.sessions {
		if p.clock.Since(s.lastUse()) >= unused {
			old = append(old, s)
			delete(p.sessions, key)
		}
	}
	p.mu.Unlock()
	var errs []error
	for _, s := range old {
		errs = append(errs, s.release(ctx))
	}
	return errors.Join(errs...)
}

// Close gives all tokens back. A token that was given to the operator, and not got by a login, stays.
func (p *Pool) Close(ctx context.Context) error { return p.Sweep(ctx, 0) }

// server is one Vault.
type server struct {
	connection Connection
	limit      *rate.Limiter
	breaker    *gobreaker.TwoStepCircuitBreaker[any]

	mu     sync.Mutex
	mounts map[string]mount
	// looking has a lock for the first segment of each path, so that a mount is looked up once.
	looking map[string]*sync.Mutex
}

func newServer(c Connection) (*server, error) {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.RequestsPerSecond == 0 {
		c.RequestsPerSecond = DefaultRequestsPerSecond
	}
	s := &server{
		connection: c,
		limit:      rate.NewLimiter(rate.Limit(c.RequestsPerSecond), max(1, int(c.RequestsPerSecond))),
		breaker: gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
			Name: c.Address, MaxRequests: 1, Timeout: openFor,
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= failuresToOpen },
		}),
		mounts: map[string]mount{}, looking: map[string]*sync.Mutex{},
	}
	_, err := s.client(nil)
	return s, err
}

// client makes a client of Vault's own library that never retries: whoever asks does that.
func (s *server) client(certificate *tls.Certificate) (*api.Client, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.connection.ServerName}
	if len(s.connection.CA) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(s.connection.CA) {
			return nil, fmt.Errorf("the CA for %s has no certificate: it has to be PEM, with a line -----BEGIN CERTIFICATE-----", s.connection.Address)
		}
	}
	if certificate != nil {
		tlsConfig.Certificates = []tls.Certificate{*certificate}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tlsConfig
	// Not api.DefaultConfig: it reads the environment, where a token could be.
	client, err := api.NewClient(&api.Config{
		Address: s.connection.Address, HttpClient: &http.Client{Transport: transport}, Timeout: s.connection.Timeout,
	})
	if err != nil {
		return nil, fmt.Errorf("the address %s cannot be used: %w", s.connection.Address, err)
	}
	client.ClearToken()
	client.SetMaxRetries(0)
	client.SetNamespace(s.connection.Namespace)
	return client, nil
}

// do sends one request when limit and breaker let it. The error is an *Error.
func (s *server) do(ctx context.Context, client *api.Client, request request) (*response, error) {
	done, err := s.breaker.Allow()
	if err != nil {
		return nil, &Error{Kind: Unavailable, Request: request.String(), Address: s.connection.Address, Reason: "the last requests have failed, and it is left alone for a while"}
	}
	if err := s.limit.Wait(ctx); err != nil {
		done(nil)
		return nil, &Error{Kind: Unavailable, Request: request.String(), Address: s.connection.Address, Reason: "no time was left to wait for the rate limit"}
	}
	out, failed := request.send(ctx, client)
	if failed == nil {
		done(nil)
		return out, nil
	}
	failed.Address = s.connection.Address
	if failed.Kind == Unavailable && ctx.Err() == nil {
		done(failed)
	} else {
		done(nil)
	}
	return nil, failed
}
