// Command demo shows Fleet Handshake at work: a hub and three downstream clusters, real Fleet, and one Secret that
// travels, is rotated, survives tampering and is withdrawn. "demo vault" shows Secrets that come from a real Vault, and
// "demo vsecm" those of VMware Secrets Manager, with a real SPIRE. It exits 0 only if every step really happened: it reads
// the downstream clusters.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

// demo is a story with what it needs beside the clusters.
type demo struct {
	// values are those of the operator's chart, and flags those of the operator, for this story.
	values, flags []string
	tell          func() error
	end           func() error
}

func main() {
	stories := map[string]func(context.Context, *lab.Lab) (*demo, error){"": beginFleet, "vault": beginVault, "vsecm": beginVSecM}
	begin, known := stories[strings.Join(os.Args[1:], " ")]
	if !known {
		fmt.Fprintln(os.Stderr, "demo: write demo, demo vault or demo vsecm")
		os.Exit(2)
	}
	if err := run(begin); errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; everything that was started has been ended")
		os.Exit(130)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(begin func(context.Context, *lab.Lab) (*demo, error)) (err error) {
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
	d, err := begin(ctx, l)
	if err != nil {
		return err
	}
	defer func() {
		if endErr := d.end(); err == nil {
			err = endErr
		}
	}()
	operator, err := startOperator(ctx, root, l, d)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := operator.stop(); err == nil {
			err = stopErr
		}
	}()
	if err := d.tell(); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return fmt.Errorf("%w\nlog of the operator:\n%s", err, operator.tail())
	}
	return nil
}
