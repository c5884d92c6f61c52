package spire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// watchAgain is how long after its end a watch is begun anew.
const watchAgain = 100 * time.Millisecond

// Source gives the SVID with one SPIFFE ID, as the Workload API last said it.
// While the agent is away, and after the last entry of this process is
// removed, that is the last one.
//
// It is in the place of X509Source of go-spiffe 2.6.0, which reads its bundles
// without a lock while a rotation writes them, and which waits longer after
// each failure.
type Source struct {
	id     spiffeid.ID
	client *workloadapi.Client
	stop   context.CancelFunc
	// ended is closed when the watch has, and found when there was an SVID.
	ended, found chan struct{}
	foundOnce    sync.Once
	now          atomic.Pointer[workloadapi.X509Context]
	failure      atomic.Pointer[error]
}

// Source follows the Workload API as this process, and waits for an SVID with a
// SPIFFE ID. ctx bounds the wait only; Close ends it.
func (s *Server) Source(ctx context.Context, id string) (*Source, error) {
	wanted, err := spiffeid.FromString(id)
	if err != nil {
		return nil, fmt.Errorf("the SPIFFE ID %q is none: %w", id, err)
	}
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(s.Socket), workloadapi.WithBackoffStrategy(steady{}))
	if err != nil {
		return nil, fmt.Errorf("opening the Workload API: %w", err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	source := &Source{id: wanted, client: client, stop: stop, ended: make(chan struct{}), found: make(chan struct{})}
	go source.watch(life)
	select {
	case <-source.found:
		return source, nil
	case <-ctx.Done():
	}
	failure := source.failure.Load()
	_ = source.Close()
	err = ctx.Err()
	if failure != nil {
		err = errors.Join(err, *failure)
	}
	return nil, fmt.Errorf("waiting for an SVID of %s: %w", id, err)
}

func (s *Source) watch(ctx context.Context) {
	defer close(s.ended)
	for ctx.Err() == nil {
		_ = s.client.WatchX509Context(ctx, s) // it was told to the watcher
		select {
		case <-time.After(watchAgain):
		case <-ctx.Done():
		}
	}
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (s *Source) OnX509ContextUpdate(c *workloadapi.X509Context) {
	s.now.Store(c)
	if _, err := s.GetX509SVID(); err == nil {
		s.foundOnce.Do(func() { close(s.found) })
	}
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (s *Source) OnX509ContextWatchError(err error) { s.failure.Store(&err) }

// GetX509SVID implements x509svid.Source.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	for _, svid := range s.now.Load().SVIDs {
		if svid.ID == s.id {
			return svid, nil
		}
	}
	return nil, fmt.Errorf("the Workload API gives this process no SVID of %s", s.id)
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (s *Source) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return s.now.Load().Bundles.GetX509BundleForTrustDomain(domain)
}

// Close ends the watch.
func (s *Source) Close() error {
	s.stop()
	<-s.ended
	return s.client.Close()
}

// steady waits as long after each failure.
type steady struct{}

// NewBackoff implements workloadapi.BackoffStrategy.
func (steady) NewBackoff() workloadapi.Backoff { return steady{} }

// Next implements workloadapi.Backoff.
func (steady) Next() time.Duration { return watchAgain }

// Reset implements workloadapi.Backoff.
func (steady) Reset() {}
