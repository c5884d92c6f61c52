package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/hashicorp/vault/api"
	"golang.org/x/time/rate"
)

// What holds when a Connection does not say otherwise.
const (
	DefaultTimeout           = 10 * time.Second
	DefaultRequestsPerSecond = 20
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
	// RequestsPerSecond bounds all requests to the Address of connections with the same number together; 0 is
	// DefaultRequestsPerSecond.
	RequestsPerSecond float64
}

func (c Connection) withDefaults() Connection {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.RequestsPerSecond == 0 {
		c.RequestsPerSecond = DefaultRequestsPerSecond
	}
	return c
}

// key is different for connections that are. It has no slash.
func (c Connection) key() string {
	return id(c.Address, c.Namespace, c.CA, c.ServerName, c.Timeout, c.RequestsPerSecond)
}

// idOf is the same for the same identity at the same server, however it is reached.
func (c Connection) idOf(auth Auth) string {
	return id(c.Address, c.Namespace, auth.ID())[:idLength]
}

// server is one Vault.
type server struct {
	connection Connection
	gate       *upstream.Gate
	// walks has a place for each request of recursive reads that may wait for the limit. All others wait for these at most.
	walks chan struct{}

	mu     sync.Mutex
	mounts map[string]mount
	// looking has a lock for the first segment of each path, so that a mount is looked up once.
	looking map[string]chan struct{}
}

func newServer(c Connection, limit *rate.Limiter, requested func(string, error)) (*server, error) {
	s := &server{
		connection: c,
		gate:       upstream.NewGate(c.Address, limit, requested),
		walks:      make(chan struct{}, atOnce),
		mounts:     map[string]mount{}, looking: map[string]chan struct{}{},
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
	// The default of the library takes this from the environment, too.
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	return client, nil
}

// do sends one request when the gate lets it. The error is an *upstream.Error.
func (s *server) do(ctx context.Context, client *api.Client, request request) (*response, error) {
	var out *response
	failed := s.gate.Do(ctx, request.String(), func() (failed *upstream.Error) {
		out, failed = request.send(ctx, client)
		return failed
	})
	if failed != nil {
		return nil, failed
	}
	return out, nil
}

// place waits for one of the places of recursive reads. leave gives it to the next.
func (s *server) place(ctx context.Context) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case s.walks <- struct{}{}:
		return func() { <-s.walks }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lockFor waits for the lock of a first segment.
func (s *server) lockFor(ctx context.Context, segment string) (unlock func(), err error) {
	s.mu.Lock()
	lock := s.looking[segment]
	if lock == nil {
		lock = make(chan struct{}, 1)
		s.looking[segment] = lock
	}
	s.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
