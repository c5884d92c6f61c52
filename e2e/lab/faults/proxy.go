package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Options of a Proxy.
type Options struct {
	// Seed makes all decisions. The same seed gives the same decisions one after the other; which request meets which
	// of them is up to the order in which requests come.
	Seed uint64
	// Kinds that are injected; nil is All.
	Kinds []Kind
	// Patience is how long Silence lasts.
	Patience time.Duration
	// Spare picks requests that always go through; nil is none.
	Spare func(*http.Request) bool
}

// Proxy hands requests on to an API server. It begins calm.
type Proxy struct {
	options  Options
	server   *http.Server
	address  string
	upstream *url.URL
	next     http.RoundTripper

	mu       sync.Mutex
	random   *rand.Rand
	share    float64
	counts   map[Kind]Count
	requests int
}

// New starts a Proxy on loopback that acts as the user of a config. Whoever can reach its port is that user.
func New(cfg *rest.Config, options Options) (*Proxy, error) {
	upstream, err := url.Parse(cfg.Host)
	if err != nil {
		return nil, fmt.Errorf("starting the fault proxy: %w", err)
	}
	next, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("starting the fault proxy: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the fault proxy: %w", err)
	}
	if options.Kinds == nil {
		options.Kinds = All
	}
	p := &Proxy{
		options: options, address: listener.Addr().String(), upstream: upstream, next: next,
		random: rand.New(rand.NewPCG(options.Seed, 0)), counts: map[Kind]Count{},
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = p.server.Serve(listener) }() // ends with Close
	return p, nil
}

// Config is what the program under test connects with.
func (p *Proxy) Config() *rest.Config {
	return &rest.Config{Host: "http://" + p.address, QPS: -1}
}

// Close cuts all connections.
func (p *Proxy) Close() error { return p.server.Close() }

// Storm lets a share of the requests go wrong from now on, from 0 to 1. Of a watch it is the share of the events.
func (p *Proxy) Storm(share float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.share = share
}

// Calm lets everything through from now on. What has begun to go wrong still does.
func (p *Proxy) Calm() { p.Storm(0) }

// Counts says how many faults there were.
func (p *Proxy) Counts() map[Kind]Count {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// Requests is how many requests there were, without watches.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	watch := r.URL.Query().Get("watch")
	if watch == "true" || watch == "1" {
		response := p.forward(r)
		defer response.Body.Close()
		p.hand(w, response, p.cutsWatch)
		return
	}
	f, hit := p.decide(r)
	if hit && !f.after {
		p.count(f)
		p.inject(f, w, r)
		return
	}
	response := p.forward(r)
	defer response.Body.Close()
	if hit && response.StatusCode < http.StatusMultipleChoices {
		p.count(f)
		p.inject(f, w, r)
		return
	}
	p.hand(w, response, nil)
}

// decide draws what becomes of a request that is no watch.
func (p *Proxy) decide(r *http.Request) (f fault, hit bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	if p.share == 0 || p.random.Float64() >= p.share || p.options.Spare != nil && p.options.Spare(r) {
		return fault{}, false
	}
	kinds, write := forReads, false
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		kinds, write = forWrites, true
	}
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(k Kind) bool { return !slices.Contains(p.options.Kinds, k) })
	if len(kinds) == 0 {
		return fault{}, false
	}
	f.kind = kinds[p.random.IntN(len(kinds))]
	f.after = f.kind == LostAnswer || write && slices.Contains(eitherSide, f.kind) && p.random.IntN(2) == 0
	return f, true
}

// cutsWatch draws whether a watch ends in the middle of an event.
func (p *Proxy) cutsWatch() bool {
	p.mu.Lock()
	cut := p.share > 0 && p.random.Float64() < p.share && slices.Contains(p.options.Kinds, CutWatch)
	p.mu.Unlock()
	if cut {
		p.count(fault{kind: CutWatch})
	}
	return cut
}

func (p *Proxy) count(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts[f.kind]
	if f.after {
		c.After++
	} else {
		c.Before++
	}
	p.counts[f.kind] = c
}

// inject lets a request go wrong.
func (p *Proxy) inject(f fault, w http.ResponseWriter, r *http.Request) {
	switch f.kind {
	case Silence:
		select {
		case <-time.After(p.options.Patience):
		case <-r.Context().Done():
		}
		cut()
	case LostAnswer:
		cut()
	}
	f.answer(w, r)
}

// forward sends a request on. When there is no answer, there is none for the client either.
func (p *Proxy) forward(r *http.Request) *http.Response {
	onward := r.Clone(r.Context())
	onward.URL.Scheme, onward.URL.Host = p.upstream.Scheme, p.upstream.Host
	onward.Host, onward.RequestURI = "", ""
	response, err := p.next.RoundTrip(onward)
	if err != nil {
		cut()
	}
	return response
}

// hand gives an answer to the client as it comes in. Before each piece but the first, cuts may say that only the half
// of it arrives.
func (p *Proxy) hand(w http.ResponseWriter, response *http.Response, cuts func() bool) {
	maps.Copy(w.Header(), response.Header)
	w.WriteHeader(response.StatusCode)
	flusher := http.NewResponseController(w)
	_ = flusher.Flush() // a client that has gone is noticed below
	piece := make([]byte, 32*1024)
	for first := true; ; first = false {
		n, err := response.Body.Read(piece)
		broken := cuts != nil && !first && n > 1 && cuts()
		if broken {
			n /= 2
		}
		_, lost := w.Write(piece[:n])
		lost = errors.Join(lost, flusher.Flush())
		switch {
		case broken, lost != nil, err != nil && !errors.Is(err, io.EOF):
			cut()
		case err != nil:
			return
		}
	}
}

// cut ends the connection to the client without another byte.
func cut() { panic(http.ErrAbortHandler) }
