// Command demo shows Fleet Handshake at work: a hub and three downstream clusters, real Fleet, and one Secret that
// travels, is rotated, survives tampering and is withdrawn. It exits 0 only if every step really happened: it reads the
// downstream clusters.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

func main() {
	if err := run(); errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; everything that was started has been ended")
		os.Exit(130)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	root, err := lab.Root()
	if err != nil {
		return err
	}
	fmt.Println("== Starting a hub and three downstream clusters with real Fleet (nothing leaves this machine)")
	downstream, groups := lab.Fleet3()
	l, err := lab.Start(ctx, lab.Options{
		Dir: filepath.Join(root, ".lab", "demo"), Downstream: downstream, Groups: groups, Fleet: true, Progress: os.Stdout,
	})
	if err != nil {
		return err
	}
	defer func() {
		fmt.Println("== Ending the clusters")
		if stopErr := l.Stop(); err == nil {
			err = stopErr
		}
		if err == nil {
			fmt.Printf("\nEvery step happened. %s in all.\n", time.Since(began).Round(time.Second))
		}
	}()
	operator, err := startOperator(ctx, root, l)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := operator.stop(); err == nil {
			err = stopErr
		}
	}()
	s, err := newStory(ctx, l)
	if err != nil {
		return err
	}
	if err := s.tell(); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return fmt.Errorf("%w\nlog of the operator:\n%s", err, operator.tail())
	}
	return nil
}
