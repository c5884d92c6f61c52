// Package suite keeps the promises: every test here runs against a hub and four downstream clusters with real Fleet.
package suite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/harness"
	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/pkg/operator"
	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
)

var (
	// world is the lab that all tests share.
	world *lab.Lab
	hub   *install.Hub
	sites = map[string]*clients.Hub{}
	// logs is everything that operators have logged.
	logs clients.Buffer
)

func TestMain(m *testing.M) {
	if os.Getenv(killAfterWrites) != "" {
		os.Exit(runMortalOperator())
	}
	harness.Main("real clusters", func() (int, error) { return run(m) })
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	root, err := lab.Root()
	if err != nil {
		return 1, err
	}
	_, groups := lab.Fleet3()
	world, err = lab.Start(ctx, lab.Options{
		Dir: filepath.Join(root, ".lab", "suite"), Downstream: lab.Sites(4), Groups: groups,
		Fleet: true, Progress: os.Stdout, Lifetime: time.Hour,
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.Stop()) }()
	if hub, err = install.On(ctx, world.Hub); err != nil {
		return 1, err
	}
	for _, c := range world.Downstream {
		if sites[c.Name], err = clients.New(c.Config); err != nil {
			return 1, err
		}
	}
	logrus.SetOutput(&logs)
	logrus.SetLevel(logrus.TraceLevel)
	klog.LogToStderr(false)
	klog.SetOutput(&logs)
	code = m.Run()
	leaks, err := scan(ctx, marker)
	for _, leak := range leaks {
		fmt.Println("LEAK after all tests:", leak)
		code = 1
	}
	if err != nil || flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" {
		return code, err
	}
	// Only all tests together use all rights.
	wrong, err := misfits()
	for _, misfit := range wrong {
		fmt.Println("RIGHTS after all tests:", misfit)
		code = 1
	}
	return code, err
}

// startOperator runs the operator in this process until the test ends.
func startOperator(t *testing.T, change ...func(*operator.Options)) {
	t.Helper()
	opts := options()
	for _, c := range change {
		c(&opts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- operator.Run(ctx, hub.Operator, opts) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the operator ended with: %v", err)
		}
	})
}

// options are the defaults, without leader election and listener. The lab's agents report every 5 seconds; a busy machine
// must not make them look offline.
func options() operator.Options {
	opts := operator.Defaults()
	opts.LeaderElect, opts.ListenAddress, opts.OfflineAfter = false, "0", 25*time.Second
	return opts
}
