package wait

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestForTellsWhatItSawLast(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := For(ctx, "a miracle", func(context.Context) error { return io.ErrUnexpectedEOF })
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a miracle") {
		t.Errorf("got %v, want what was awaited, the last answer and the deadline", err)
	}
}
