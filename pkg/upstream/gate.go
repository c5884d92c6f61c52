package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"
)

// FailuresToOpen is how often in a row a server fails until it is left alone for openFor. Then one request tries it.
const (
	FailuresToOpen = 5
	openFor        = 15 * time.Second
)

// paced is the share of the rate limit that is used, one request after the other. A burst would come on top of it in the
// first second, and requests that were held up on their way come closer together at the server.
const paced = 0.9

// errUntold is what the circuit breaker is told of a request that says nothing about the server.
var errUntold = errors.New("nothing is known about the server")

// NewLimit makes a rate limit that no second exceeds.
func NewLimit(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(paced*perSecond), 1)
}

// Gate lets requests to one server through: at a rate, and not while the server fails.
type Gate struct {
	address   string
	limit     *rate.Limiter
	requested func(address string, err error)
	breaker   *gobreaker.TwoStepCircuitBreaker[any]

	mu sync.Mutex
	// failure is the last that has counted for the breaker.
	failure *Error
}

// NewGate makes a Gate for the server at an address. requested is called after each request that was sent, with nil or an
// *Error; it may be nil.
func NewGate(address string, limit *rate.Limiter, requested func(address string, err error)) *Gate {
	return &Gate{address: address, limit: limit, requested: requested, breaker: gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name: address, MaxRequests: 1, Timeout: openFor,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= FailuresToOpen },
		IsExcluded:  func(err error) bool { return errors.Is(err, errUntold) },
	})}
}

// Open says whether the server is left alone now, because it has failed.
func (g *Gate) Open() bool { return g.breaker.State() == gobreaker.StateOpen }

// Do sends one request when limit and breaker let it. The error gets the address. While the server is left alone, it has
// the reason why: an outage has one text, whether it was tried or not.
func (g *Gate) Do(ctx context.Context, request string, send func() *Error) *Error {
	done, err := g.breaker.Allow()
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		return &Error{Kind: Unavailable, Status: g.failure.Status, Request: request, Address: g.address, Reason: g.failure.Reason}
	}
	if err := g.limit.Wait(ctx); err != nil {
		done(errUntold)
		reason := "no time was left to wait for the rate limit"
		if errors.Is(ctx.Err(), context.Canceled) {
			reason = ReasonOf(ctx, err)
		}
		return &Error{Kind: Unavailable, Request: request, Address: g.address, Reason: reason}
	}
	failed := send()
	if failed == nil {
		done(nil)
		g.tell(nil)
		return nil
	}
	failed.Address = g.address
	switch {
	case failed.Kind != Unavailable:
		done(nil)
	case ctx.Err() != nil, failed.Behind:
		done(errUntold)
	default:
		g.mu.Lock()
		g.failure = failed
		g.mu.Unlock()
		done(failed)
	}
	g.tell(failed)
	return failed
}

func (g *Gate) tell(err error) {
	if g.requested != nil {
		g.requested(g.address, err)
	}
}
