package vault

import (
	"context"
	"sync"
)

// flights do for all who want the same at the same time what one of them does.
type flights[T any] struct {
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

// do waits for whoever does the same already, or does it. Each waits no longer than its own context: when that of the one
// who does it ends, another one does it anew. The error of one who has not waited is that of its context.
func (f *flights[T]) do(ctx context.Context, key string, do func() (T, error)) (T, error) {
	for {
		f.mu.Lock()
		other := f.under[key]
		if other == nil {
			return f.fly(ctx, key, do)
		}
		f.mu.Unlock()
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
func (f *flights[T]) fly(ctx context.Context, key string, do func() (T, error)) (T, error) {
	mine := &flight[T]{done: make(chan struct{}), left: true}
	if f.under == nil {
		f.under = map[string]*flight[T]{}
	}
	f.under[key] = mine
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.under, key)
		f.mu.Unlock()
		close(mine.done)
	}()
	mine.out, mine.err = do()
	mine.left = mine.err != nil && ctx.Err() != nil
	return mine.out, mine.err
}
