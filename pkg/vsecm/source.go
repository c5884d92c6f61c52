package vsecm

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/flight"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/utils/clock"
)

// openAgain is how long after a failure the Workload API is asked again. Until then, whoever asks gets the same error, so
// that an agent that hangs holds up no worker for long.
const openAgain = 5 * time.Second

// asking is what is said of a request to the Workload API.
const asking = "asking for an SVID"

// Source gives our identities, and the bundle that Safe's is checked with. Both change while the process runs. One that is
// an io.Closer is closed at the end.
type Source interface {
	// SVIDs are ours now, one for each identity.
	SVIDs() []*x509svid.SVID
	x509bundle.Source
}

// opener has one Source, which is opened when it is wanted for the first time.
type opener struct {
	clock   clock.PassiveClock
	socket  string
	timeout time.Duration
	open    func(context.Context) (Source, error)
	opening flight.Group[Source]

	mu     sync.Mutex
	source Source
	closed bool
	// failure is the last one, and failedAt when that was.
	failure  error
	failedAt time.Time
}

// get opens the Source, or gives the open one. The error is an *upstream.Error.
func (o *opener) get(ctx context.Context) (Source, error) {
	if source, err, known := o.known(); known {
		return source, err
	}
	source, err := o.opening.Do(ctx, "", func() (Source, error) {
		if source, err, known := o.known(); known {
			return source, err
		}
		within, cancel := context.WithTimeout(ctx, o.timeout)
		defer cancel()
		source, err := o.open(within)
		if err != nil {
			return nil, o.failed(ctx, err)
		}
		return source, o.keep(source)
	})
	var known *upstream.Error
	if err != nil && !errors.As(err, &known) {
		return nil, o.unavailable(upstream.ReasonOf(ctx, err))
	}
	return source, err
}

// known gives what is there without opening.
func (o *opener) known() (Source, error, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return nil, o.unavailable("the operator ends"), true
	case o.source != nil:
		return o.source, nil, true
	case o.failure != nil && o.clock.Since(o.failedAt) < openAgain:
		return nil, o.failure, true
	}
	return nil, nil, false
}

func (o *opener) keep(source Source) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		_ = shut(source)
		return o.unavailable("the operator ends")
	}
	o.source, o.failure = source, nil
	return nil
}

// failed says what can be done, and notes it unless it is only that nobody has waited.
func (o *opener) failed(ctx context.Context, err error) error {
	var problem *upstream.Error
	if !errors.As(err, &problem) {
		problem = o.unavailable("")
		switch code := status.Code(err); {
		case errors.Is(ctx.Err(), context.Canceled):
			problem.Reason = upstream.ReasonOf(ctx, err)
		case code == codes.PermissionDenied:
			problem.Kind, problem.Reason = upstream.Denied, "the SPIRE agent knows no identity for the operator: make a ClusterSPIFFEID that selects its pod, as docs/sources/vsecm.md says"
		case code == codes.DeadlineExceeded, errors.Is(err, context.DeadlineExceeded):
			problem.Reason = "no answer in time: see the log of the SPIRE agent on this node"
		default:
			problem.Reason = "it cannot be reached: see whether the SPIRE agent runs on this node, and whether its socket is mounted into the pod of the operator"
		}
	}
	if ctx.Err() == nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.failure, o.failedAt = problem, o.clock.Now()
	}
	return problem
}

func (o *opener) unavailable(reason string) *upstream.Error {
	return &upstream.Error{Kind: upstream.Unavailable, Request: asking, Address: o.socket, Reason: reason}
}

func (o *opener) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	source := o.source
	o.source, o.closed = nil, true
	return shut(source)
}

func shut(source Source) error {
	if closer, ok := source.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
