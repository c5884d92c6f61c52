package vsecm

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/flight"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"k8s.io/utils/clock"
)

// The only request to Safe.
const (
	path    = "/workload/v1/secrets"
	request = http.MethodGet + " " + path
)

const (
	// maxBody bounds what is read of an answer, which holds all raw secrets of a Safe.
	maxBody = 8 << 20
	// failureFor is how long an answer that a person has to do something about is given to all who ask. Safe is not asked
	// anew for each of them.
	failureFor = 30 * time.Second
	// requestsPerSecond bounds the requests to one Safe. One answer serves all, so few are needed.
	requestsPerSecond = 5
)

// safe is one server.
type safe struct {
	address string
	clock   clock.PassiveClock
	ids     identities
	timeout time.Duration
	gate    *upstream.Gate
	reads   flight.Group[answer]

	mu   sync.Mutex
	used time.Time
	// good are the last answers by our name, failed the last failures that a person has to do something about.
	good, failed map[string]answer
}

// answer is what Safe has given to a workload with a name.
type answer struct {
	name string
	at   time.Time
	// secrets and alone are those of Raw; own is that of an ordinary workload.
	secrets map[string]stored
	alone   *string
	own     *Secret
	err     *upstream.Error
}

func newSafe(c *Client, address string) *safe {
	return &safe{
		address: address, clock: c.clock, ids: c.ids, timeout: c.options.Timeout,
		good: map[string]answer{}, failed: map[string]answer{},
		gate: upstream.NewGate(address, upstream.NewLimit(requestsPerSecond), c.options.Requested),
	}
}

func (s *safe) use() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = s.clock.Now()
}

func (s *safe) unusedFor(long time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.Since(s.used) >= long
}

func (s *safe) problem(kind upstream.Kind, reason string) *upstream.Error {
	return &upstream.Error{Kind: kind, Request: request, Address: s.address, Reason: reason}
}

// fetch gives the answer for our name. The error is an *upstream.Error.
func (s *safe) fetch(ctx context.Context, me identity, age time.Duration) (answer, error) {
	if a, known := s.recent(me.name, age); known {
		return a.given()
	}
	a, err := s.reads.Do(ctx, me.name, func() (answer, error) {
		if a, known := s.recent(me.name, age); known {
			return a.given()
		}
		a := answer{name: me.name, at: s.clock.Now()}
		a.err = s.send(ctx, me, &a)
		s.note(a)
		return a.given()
	})
	var asked *upstream.Error
	if err != nil && !errors.As(err, &asked) {
		return answer{}, s.problem(upstream.Unavailable, upstream.ReasonOf(ctx, err))
	}
	return a, err
}

// given is the answer or its error.
func (a answer) given() (answer, error) {
	if a.err != nil {
		return answer{}, a.err
	}
	return a, nil
}

// recent gives what was read at most age ago.
func (s *safe) recent(name string, age time.Duration) (answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	young := func(a answer, age time.Duration) bool {
		return age > 0 && !a.at.IsZero() && s.clock.Since(a.at) <= age
	}
	good, failed := s.good[name], s.failed[name]
	switch {
	case young(good, age): // a failure before it is older, and so of no interest
		return good, true
	case young(failed, min(age, failureFor)):
		return failed, true
	}
	return answer{}, false
}

func (s *safe) note(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case a.err == nil:
		s.good[a.name] = a
	case a.err.Kind != upstream.Unavailable:
		s.failed[a.name] = a
	}
}

// send asks Safe, when the gate lets it.
func (s *safe) send(ctx context.Context, me identity, into *answer) *upstream.Error {
	leaf := me.svid.Certificates[0]
	if now := s.clock.Now(); now.After(leaf.NotAfter) {
		return s.problem(upstream.Unavailable, fmt.Sprintf("our SVID %s has expired, and the SPIRE agent on this node has given no other: see its log", me.svid.ID))
	}
	return s.gate.Do(ctx, request, func() *upstream.Error {
		within, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		return s.ask(within, me, into)
	})
}

// ask sends the request. Each has a connection of its own: so the SVID that was checked is the one that is shown, and
// Safe's is checked with the bundle of now.
func (s *safe) ask(ctx context.Context, me identity, into *answer) *upstream.Error {
	fail := func(kind upstream.Kind, status int, reason string) *upstream.Error {
		return &upstream.Error{Kind: kind, Status: status, Request: request, Reason: reason}
	}
	config := tlsconfig.MTLSClientConfig(me.svid, bundles{me.source, s.ids.domain}, s.authorize)
	verify := config.VerifyPeerCertificate
	config.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error { //nolint:gosec // no session is kept that could be resumed
		if err := verify(raw, chains); err != nil {
			return &distrust{err}
		}
		return nil
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address+path, nil)
	if err != nil {
		return fail(upstream.Invalid, 0, "this is no URL: write one such as "+DefaultAddress)
	}
	response, err := client.Do(r)
	if err != nil {
		kind, reason := s.unanswered(ctx, err, me)
		return fail(kind, 0, reason)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		kind, reason := refusal(response, me)
		if kind == upstream.Missing {
			return nil // that there is none is an answer
		}
		return fail(kind, response.StatusCode, reason)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return fail(upstream.Unavailable, 0, upstream.ReasonOf(ctx, ctx.Err()))
	case err != nil:
		return fail(upstream.Unavailable, 0, "the answer broke off")
	case len(content) > maxBody:
		return fail(upstream.Invalid, response.StatusCode, fmt.Sprintf("the answer has more than %d bytes: keep fewer or smaller secrets in this Safe", maxBody))
	}
	if err := into.read(content); err != nil {
		kind := upstream.Invalid
		if errors.Is(err, errNoJSON) || errors.Is(err, errFailed) {
			kind = upstream.Unavailable
		}
		return fail(kind, response.StatusCode, err.Error())
	}
	return nil
}

// read takes the secrets out of an answer.
func (a *answer) read(content []byte) error {
	b, err := parseBody(content)
	if err != nil {
		return err
	}
	if a.name == ScoutName {
		a.secrets, a.alone, err = parseRaw(*b.Data)
		return err
	}
	a.own = &Secret{Name: a.name, Value: *b.Data, Created: told(b.Created), Updated: told(b.Updated), At: a.at}
	return nil
}

// refusal says what a status means. Words are read of none: they could be anything.
func refusal(response *http.Response, me identity) (upstream.Kind, string) {
	status := response.StatusCode
	switch {
	case status == http.StatusNotFound:
		if _, err := io.ReadFull(response.Body, make([]byte, 1)); errors.Is(err, io.EOF) {
			return upstream.Missing, ""
		}
		return upstream.Invalid, "Safe says that there is no secret with an empty answer, and this one is not: see whether the URL is that of Safe"
	case status == http.StatusBadRequest:
		return upstream.Unavailable, fmt.Sprintf("Safe has no root key yet, or its patterns do not take our SPIFFE ID %s for a workload: see its log", me.svid.ID)
	case status == http.StatusServiceUnavailable:
		return upstream.Unavailable, "Safe is not ready, for example because its database is not: see its log"
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
		return upstream.Unavailable, http.StatusText(status) + ": see the log of Safe"
	}
	return upstream.Invalid, http.StatusText(status) + ": this is no answer of Safe, see whether the URL is that of Safe"
}

// distrust is why the certificate of a server is not believed.
type distrust struct{ err error }

func (d *distrust) Error() string { return d.err.Error() }

func (d *distrust) Unwrap() error { return d.err }

// stranger is a server that is not Safe.
type stranger struct{ reason string }

func (s *stranger) Error() string { return s.reason }

// authorize says whether a server is Safe.
func (s *safe) authorize(id spiffeid.ID, _ [][]*x509.Certificate) error {
	if s.ids.isSafe(id) {
		return nil
	}
	return &stranger{fmt.Sprintf("the server has the SPIFFE ID %s, which is not that of Safe", id)}
}

// bundles gives the bundle of one trust domain only. Those of federated ones are in the source, too.
type bundles struct {
	source x509bundle.Source
	domain spiffeid.TrustDomain
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (b bundles) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if domain != b.domain {
		return nil, &stranger{fmt.Sprintf("the server is of the trust domain %s, and not of %s", domain, b.domain)}
	}
	return b.source.GetX509BundleForTrustDomain(domain)
}

// unanswered says why there was no answer.
func (s *safe) unanswered(ctx context.Context, err error, me identity) (upstream.Kind, string) {
	const correct = ": correct the URL of Safe, or the operator's pattern for it"
	var wrong *stranger
	var bad *distrust
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var remote *net.OpError
	switch {
	case errors.As(err, &wrong):
		return upstream.Denied, wrong.reason + correct
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return upstream.Unavailable, upstream.ReasonOf(ctx, err)
	case errors.As(err, &unknown):
		return upstream.Denied, fmt.Sprintf("the certificate of the server is not signed by the trust bundle of %s: see whether it is of the same SPIRE server", s.ids.domain)
	case errors.As(err, &bad):
		return upstream.Denied, "the certificate of the server is no SVID" + correct
	case errors.As(err, &remote) && remote.Op == "remote error" && strings.Contains(err.Error(), "certificate"):
		return upstream.Denied, fmt.Sprintf("the server refuses our SVID %s: see whether it has the same trust domain and takes this for a workload", me.svid.ID)
	}
	return upstream.Unavailable, upstream.ReasonOf(ctx, err)
}
