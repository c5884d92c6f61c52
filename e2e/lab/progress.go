package lab

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress writes whole lines from several goroutines.
type progress struct {
	mutex  sync.Mutex
	writer io.Writer
}

// Write lets others write their lines in between.
func (p *progress) Write(line []byte) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.writer == nil {
		return len(line), nil
	}
	return p.writer.Write(line)
}

// say writes one line.
func (p *progress) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p, format+"\n", args...) // progress that cannot be shown is no error
}

// since is the time from begin on as people read it.
func since(begin time.Time) time.Duration {
	return time.Since(begin).Round(100 * time.Millisecond)
}
