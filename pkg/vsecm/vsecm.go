// Package vsecm reads the secrets of VMware Secrets Manager from its server, Safe, over mTLS with SPIFFE identities. Each
// Safe is read once for all who want the same.
//
// Safe decides by the SPIFFE ID alone what it answers, and takes no name. The workload vsecm-scout gets all raw secrets,
// every other one the secret of its own name.
package vsecm

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"k8s.io/utils/clock"
)

// DefaultTimeout bounds each request to a Safe, and to the Workload API.
const DefaultTimeout = 10 * time.Second

// Options of a Client. The zero value has the defaults of VSecM.
type Options struct {
	// TrustDomain is the only one that is believed; empty is DefaultTrustDomain.
	TrustDomain string
	// EndpointSocket is the address of the Workload API; empty is DefaultEndpointSocket.
	EndpointSocket string
	// SafePattern and WorkloadPattern match SPIFFE IDs: a regular expression that begins with ^spiffe://<TrustDomain>/, or
	// else the beginning of an ID. NamePattern is a regular expression, and its first group the name of a workload. Empty
	// are those of VSecM, with TrustDomain.
	SafePattern, WorkloadPattern, NamePattern string
	// Timeout bounds each request; 0 is DefaultTimeout.
	Timeout time.Duration
	// Requested is called after each request that was sent to a Safe, with its address. err is nil or an *upstream.Error.
	Requested func(address string, err error)
	// Open opens the Source when it is wanted for the first time; nil takes the Workload API.
	Open func(context.Context) (Source, error)
}

// Client reads from any number of Safes with one identity.
type Client struct {
	clock   clock.PassiveClock
	options Options
	ids     identities
	source  *opener

	mu    sync.Mutex
	safes map[string]*safe
}

// New makes a Client, and asks nobody for anything yet. The error says which option is wrong.
func New(c clock.PassiveClock, options Options) (*Client, error) {
	if options.TrustDomain == "" {
		options.TrustDomain = DefaultTrustDomain
	}
	if options.EndpointSocket == "" {
		options.EndpointSocket = DefaultEndpointSocket
	}
	if options.Timeout == 0 {
		options.Timeout = DefaultTimeout
	}
	if err := workloadapi.ValidateAddress(options.EndpointSocket); err != nil {
		return nil, fmt.Errorf("the address of the Workload API, %q, cannot be used: write it as unix:///path/of/the.sock: %w", options.EndpointSocket, err)
	}
	ids, err := newIdentities(options)
	if err != nil {
		return nil, err
	}
	if options.Open == nil {
		options.Open = workloadAPI(options.EndpointSocket)
	}
	return &Client{
		clock: c, options: options, ids: ids, safes: map[string]*safe{},
		source: &opener{clock: c, socket: options.EndpointSocket, timeout: options.Timeout, open: options.Open},
	}, nil
}

// Raw gives all raw secrets of the Safe at an address. One of our workloads has to be called ScoutName. What was read at
// most age ago is taken as it is; 0 always reads. That there is none is no error. The error is an *upstream.Error.
func (c *Client) Raw(ctx context.Context, address string, age time.Duration) (Raw, error) {
	s, me, err := c.at(ctx, address, ScoutName)
	if err != nil {
		return Raw{}, err
	}
	a, err := s.fetch(ctx, me, age)
	return Raw{At: a.at, address: s.address, secrets: a.secrets, alone: a.alone}, err
}

// Own gives the secret of one of our workloads in the Safe at an address. No workload is given that of another one. age is
// as in Raw. The error is an *upstream.Error, Missing when there is none; the Secret has nothing but At then.
func (c *Client) Own(ctx context.Context, address, workload string, age time.Duration) (Secret, error) {
	s, me, err := c.at(ctx, address, workload)
	if err != nil {
		return Secret{}, err
	}
	if workload == ScoutName {
		return Secret{}, s.problem(upstream.Invalid, fmt.Sprintf("the workload %s has no secret of its own, for Safe gives it all raw ones: read a raw secret, or that of another workload", ScoutName))
	}
	a, err := s.fetch(ctx, me, age)
	switch {
	case err != nil:
		return Secret{}, err
	case a.own == nil:
		return Secret{At: a.at}, s.problem(upstream.Missing, fmt.Sprintf("there is no secret for the workload %s: write %s in Safe", workload, workload))
	}
	return *a.own, nil
}

// identity is ours for one request.
type identity struct {
	source Source
	svid   *x509svid.SVID
	name   string
}

// at finds the Safe at an address, and the SVID of our workload with a name.
func (c *Client) at(ctx context.Context, address, workload string) (*safe, identity, error) {
	base, err := BaseOf(address)
	if err != nil {
		return nil, identity{}, &upstream.Error{Kind: upstream.Invalid, Request: request, Address: "the given URL", Reason: err.Error()}
	}
	s := c.safeAt(base)
	source, err := c.source.get(ctx)
	if err != nil {
		return nil, identity{}, err
	}
	svid, problem := c.ids.pick(source.SVIDs(), workload)
	if problem != nil {
		return nil, identity{}, s.problem(problem.Kind, problem.Reason)
	}
	return s, identity{source: source, svid: svid, name: workload}, nil
}

func (c *Client) safeAt(base string) *safe {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.safes[base]
	if s == nil {
		s = newSafe(c, base)
		c.safes[base] = s
	}
	s.use()
	return s
}

// BaseOf is the address without a slash at its end. The error says what to write instead, and nothing of what is written:
// it could have a password.
func BaseOf(address string) (string, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "":
		return "", fmt.Errorf("this is no URL: write one such as %s", DefaultAddress)
	case u.Scheme != "https":
		return "", fmt.Errorf("the URL has to begin with https://: write one such as %s", DefaultAddress)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "", fmt.Errorf("the URL has more than host and port: write one such as %s", DefaultAddress)
	}
	return "https://" + strings.ToLower(u.Host), nil
}

// Sweep forgets the Safes that nobody has asked for so long, and the secrets that were read there.
func (c *Client) Sweep(unused time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for base, s := range c.safes {
		if s.unusedFor(unused) {
			delete(c.safes, base)
		}
	}
}

// Open gives the addresses, in order, of the Safes that are left alone now because they have failed.
func (c *Client) Open() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var open []string
	for base, s := range c.safes {
		if s.gate.Open() {
			open = append(open, base)
		}
	}
	slices.Sort(open)
	return open
}

// Close forgets all that was read, and closes the Source.
func (c *Client) Close() error {
	c.mu.Lock()
	c.safes = map[string]*safe{}
	c.mu.Unlock()
	return c.source.close()
}
