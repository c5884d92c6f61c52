// Package wait waits for servers.
package wait

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/proc"
)

// pollInterval is the first pause of a wait; it doubles up to pollMax.
const (
	pollInterval = 50 * time.Millisecond
	pollMax      = 500 * time.Millisecond
)

// ErrNotYet is what a condition returns when it has nothing better to say.
var ErrNotYet = errors.New("not yet")

// For polls until condition returns nil. It gives up when ctx ends or when
// one of the processes it depends on ends, and then tells the condition's last
// answer. What is awaited should read well behind "waiting for".
func For(ctx context.Context, what string, condition func(context.Context) error, needs ...*proc.Process) error {
	pause := pollInterval
	var last error
	for {
		for _, process := range needs {
			if err := process.Failure(); err != nil {
				return fmt.Errorf("waiting for %s: %w", what, err)
			}
		}
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // a condition cut short has less to say than the one before
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s (last seen: %w): %w%s", what, last, ctx.Err(), logsOf(needs))
		case <-time.After(pause):
			pause = min(2*pause, pollMax)
		}
	}
}

// logsOf shows where the reason may be found.
func logsOf(processes []*proc.Process) string {
	text := ""
	for _, process := range processes {
		text += fmt.Sprintf("\nthe end of %s:\n%s", process.LogFile(), proc.Tail(process.LogFile(), 5))
	}
	return text
}
