// Package flight does for all who want the same at the same time what one of them does.
package flight

import (
	"context"
	"sync"
)

// Group tells by a key what is the same. The zero value is ready.
type Group[T any] struct {
	mu    sync.Mutex
	under map[string]*flight[T]
}

// flight is under way until done is closed.
type flight[T any] struct {
	done chan struct{}
	out  T
	err  error
	// left means that the one who did it was not waited for.
	left bool
}

// Do waits for whoever does the same already, or does it. Each waits no longer than its own context: when that of the one
// who does it ends, another one does it anew. The error of one who has not waited is that of its context.
func (g *Group[T]) Do(ctx context.Context, key string, do func() (T, error)) (T, error) {
	for {
		g.mu.Lock()
		other := g.under[key]
		if other == nil {
			return g.fly(ctx, key, do)
		}
		g.mu.Unlock()
		select {
		case <-other.done:
			if !other.left {
				return other.out, other.err
			}
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}

// fly does it. The lock is held, and is given away.
func (g *Group[T]) fly(ctx context.Context, key string, do func() (T, error)) (T, error) {
	mine := &flight[T]{done: make(chan struct{}), left: true}
	if g.under == nil {
		g.under = map[string]*flight[T]{}
	}
	g.under[key] = mine
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.under, key)
		g.mu.Unlock()
		close(mine.done)
	}()
	mine.out, mine.err = do()
	mine.left = mine.err != nil && ctx.Err() != nil
	return mine.out, mine.err
}
