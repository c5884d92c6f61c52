package vsecm

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// watchAgain is how long after a failure or its end a watch is begun anew. The library would wait up to 30 seconds, and then
// go on with an old SVID for as long.
const watchAgain = time.Second

// watched is a Source that follows the Workload API, and keeps the last SVIDs while the agent restarts. It is in the place
// of X509Source of go-spiffe 2.6.0, which reads its bundles without a lock while a rotation writes them, ends for ever
// when an agent cancels the watch, and does not say why there is no first SVID.
type watched struct {
	client *workloadapi.Client
	stop   context.CancelFunc
	// ended is closed when the watch has.
	ended chan struct{}
	// now has what came last, and first takes what comes first: nil, or why there is nothing.
	now   atomic.Pointer[workloadapi.X509Context]
	first chan error
}

// workloadAPI opens a Source at the Workload API, and waits for the first SVID.
func workloadAPI(socket string) func(context.Context) (Source, error) {
	return func(ctx context.Context) (Source, error) {
		client, err := workloadapi.New(ctx, workloadapi.WithAddr(socket), workloadapi.WithBackoffStrategy(steady{}))
		if err != nil {
			return nil, err
		}
		life, stop := context.WithCancel(context.WithoutCancel(ctx))
		w := &watched{client: client, stop: stop, ended: make(chan struct{}), first: make(chan error, 1)}
		go w.watch(life)
		select {
		case err = <-w.first:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			_ = w.Close()
			return nil, err
		}
		return w, nil
	}
}

func (w *watched) watch(ctx context.Context) {
	defer close(w.ended)
	for ctx.Err() == nil {
		w.tell(w.client.WatchX509Context(ctx, w))
		select {
		case <-time.After(watchAgain):
		case <-ctx.Done():
		}
	}
}

// tell is heard by who has opened it, once.
func (w *watched) tell(err error) {
	select {
	case w.first <- err:
	default:
	}
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (w *watched) OnX509ContextUpdate(c *workloadapi.X509Context) {
	w.now.Store(c)
	w.tell(nil)
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (w *watched) OnX509ContextWatchError(err error) { w.tell(err) }

// SVIDs implements Source.
func (w *watched) SVIDs() []*x509svid.SVID { return w.now.Load().SVIDs }

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (w *watched) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return w.now.Load().Bundles.GetX509BundleForTrustDomain(domain)
}

// Close ends the watch.
func (w *watched) Close() error {
	w.stop()
	<-w.ended
	return w.client.Close()
}

// steady waits as long after each failure: the agent is on the same node.
type steady struct{}

// NewBackoff implements workloadapi.BackoffStrategy.
func (steady) NewBackoff() workloadapi.Backoff { return steady{} }

// Next implements workloadapi.Backoff.
func (steady) Next() time.Duration { return watchAgain }

// Reset implements workloadapi.Backoff.
func (steady) Reset() {}
