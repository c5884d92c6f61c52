// Command bench measures the operator as a separate process on a real API server: its memory on a hub full of foreign
// Secrets, and what it does for a simulated fleet. Arguments name what to measure, "memory" or "fleet"; none is both.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

var measurements = []struct {
	name string
	run  func(context.Context, *bench) error
}{
	{"memory", measureMemory},
	{"fleet", measureFleet},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(names []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var known []string
	for _, m := range measurements {
		known = append(known, m.name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no measurement %q: choose of %q, or none for all", name, known)
		}
	}
	for _, m := range measurements {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		if err := onHub(ctx, m.name, m.run); err != nil {
			return fmt.Errorf("measuring %s: %w", m.name, err)
		}
	}
	return nil
}

// workers is how many requests the benchmark has on the way at a time.
const workers = 16

// bench is a hub of its own to measure on: etcd and an API server, with the definitions of Fleet and ours.
type bench struct {
	root  string
	lab   *lab.Lab
	hub   *install.Hub
	began time.Time
}

// onHub starts a hub, runs f on it, and ends it.
func onHub(ctx context.Context, name string, f func(context.Context, *bench) error) error {
	root, err := lab.Root()
	if err != nil {
		return err
	}
	l, err := lab.Start(ctx, lab.Options{Dir: filepath.Join(root, ".lab", "bench-"+name), Progress: os.Stdout, Lifetime: time.Hour})
	if err != nil {
		return err
	}
	defer func() { _ = l.Stop() }()
	hub, err := install.On(ctx, l.Hub)
	if err != nil {
		return err
	}
	return f(ctx, &bench{root: root, lab: l, hub: hub, began: time.Now()})
}

// say prints a line with the time since the hub was ready.
func (b *bench) say(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// parallel calls f for 0 to n-1, many at a time, and returns one of the errors.
func parallel(ctx context.Context, n int, f func(int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wait sync.WaitGroup
	jobs := make(chan int)
	for range workers {
		wait.Go(func() {
			for i := range jobs {
				if err := f(i); err != nil {
					stop(err)
				}
			}
		})
	}
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		jobs <- i
	}
	close(jobs)
	wait.Wait()
	return context.Cause(ctx)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
