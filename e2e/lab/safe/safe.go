// Package safe is a Safe for tests: it speaks the protocol of VMware Secrets
// Manager's server over real mTLS, with its strictness about identities and its
// oddities. It keeps its secrets in memory, and writes none to Kubernetes.
//
// With SVIDs of package spiffetest it needs no SPIRE; with those of a Workload
// API it stands in a real trust domain.
package safe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// DefaultTrustDomain is that of VSecM.
const DefaultTrustDomain = "vsecm.com"

// The names of the workloads that Safe treats in a way of their own.
const (
	SentinelName = "vsecm-sentinel"
	SafeName     = "vsecm-safe"
	ScoutName    = "vsecm-scout"
)

// ID is the SPIFFE ID that VSecM gives to a workload in its own namespace.
func ID(trustDomain, name string) string {
	return fmt.Sprintf("spiffe://%s/workload/%s/ns/vsecm-system/sa/%s/n/%s-7d4b9c8f5-x2x7k", trustDomain, name, name, name)
}

// Source gives the SVID of Safe, and the bundles that those of its clients are
// checked with.
type Source interface {
	x509svid.Source
	x509bundle.Source
}

// Options say what to start.
type Options struct {
	// Source is asked at each connection.
	Source Source
	// TrustDomain is DefaultTrustDomain when it is empty.
	TrustDomain string
	// Listen is where to listen; a free port of this machine when it is empty.
	Listen string
}

// Server is a Safe. It begins with a root key, a database that is ready, and no
// secret.
type Server struct {
	// Address is the URL, with a slash at its end.
	Address string

	source   Source
	domain   string
	http     *http.Server
	listener net.Listener
	cipher   cipherer

	workload, sentinel, safe, scout *regexp.Regexp

	mu       sync.Mutex
	secrets  map[string]Stored
	rootKey  bool
	database bool
	fault    Fault
	requests []Request
	refused  []string
}

// Start starts one.
func Start(options Options) (*Server, error) {
	if options.Source == nil {
		return nil, errors.New("starting Safe: it has no identity; set Options.Source")
	}
	domain := options.TrustDomain
	if domain == "" {
		domain = DefaultTrustDomain
	}
	listen := options.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	role := func(name, namespace, account string) *regexp.Regexp {
		return regexp.MustCompile(fmt.Sprintf("^spiffe://%s/workload/%s/ns/%s/sa/%s/n/[^/]+$", regexp.QuoteMeta(domain), name, namespace, account))
	}
	s := &Server{
		source: options.Source, domain: domain, secrets: map[string]Stored{}, rootKey: true, database: true,
		workload: role("([^/]+)", "[^/]+", "[^/]+"),
		sentinel: role(SentinelName, "vsecm-system", SentinelName),
		safe:     role(SafeName, "vsecm-system", SafeName),
		scout:    role(ScoutName, "vsecm-system", ScoutName),
	}
	var err error
	if s.cipher, err = newCipherer(); err != nil {
		return nil, fmt.Errorf("starting Safe: %w", err)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("starting Safe: %w", err)
	}
	s.listener = listener
	s.Address = "https://" + listener.Addr().String() + "/"
	// A ServeMux answers a path that is not clean, such as one with two slashes,
	// with a redirect, as Safe's does.
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.serve)
	s.http = &http.Server{
		Handler: mux, TLSConfig: tlsconfig.MTLSServerConfig(s.source, s.source, s.authorize),
		ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = s.http.ServeTLS(listener, "", "") }()
	return s, nil
}

// Stop ends it at once.
func (s *Server) Stop() {
	_ = s.listener.Close() // the server does not know it before it has begun to serve
	_ = s.http.Close()
}

// Shutdown ends it when the requests that are under way are answered.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// authorize lets only workloads connect. The roles are told apart later, for
// each route.
func (s *Server) authorize(id spiffeid.ID, _ [][]*x509.Certificate) error {
	if s.isWorkload(id.String()) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, id.String())
	return fmt.Errorf("%s is no workload", id)
}

func (s *Server) isWorkload(id string) bool { return s.workload.MatchString(id) }

func (s *Server) isSentinel(id string) bool { return s.isWorkload(id) && s.sentinel.MatchString(id) }

func (s *Server) isScout(id string) bool { return s.isWorkload(id) && s.scout.MatchString(id) }

// nameOf is the name of a workload.
func (s *Server) nameOf(id string) string {
	if match := s.workload.FindStringSubmatch(id); match != nil {
		return match[1]
	}
	return ""
}

// SetRootKey says whether Safe has its root key. Without it, each route answers
// 400.
func (s *Server) SetRootKey(set bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rootKey = set
}

// SetDatabase says whether Safe's database is ready. Without it, most routes
// answer 503.
func (s *Server) SetDatabase(ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.database = ready
}

// Request is one that has come through the handshake.
type Request struct {
	Method, Path string
	// ID is the SPIFFE ID of who has sent it.
	ID string
}

// Requests gives all that have come, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Refused gives the SPIFFE IDs that were refused in the handshake because they
// are no workloads. Those that no bundle vouches for are not among them.
func (s *Server) Refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.refused...)
}
