// Package faults tests that the operator gets over what goes wrong around it: answers that are lost, an API server and an
// etcd that go away, a leader that is killed, clocks that are wrong. It runs on a real API server with the real
// definitions of Fleet. A named fake answers for Fleet's controller and the clusters.
package faults

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
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

const (
	workspace = "fleet-default"
	// patience is how long to wait for what has to come.
	patience = 60 * time.Second
)

var (
	world *lab.Lab
	// hub is what the tests go by; no fault proxy is on the way.
	hub *install.Hub
	// logs is everything that the operators have logged, and client-go for them.
	logs clients.Buffer
)

func TestMain(m *testing.M) {
	if os.Getenv(replica) != "" {
		os.Exit(runReplica())
	}
	harness.Main("a real API server", func() (int, error) { return run(m) })
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	root, err := lab.Root()
	if err != nil {
		return 1, err
	}
	world, err = lab.Start(ctx, lab.Options{
		Dir: filepath.Join(root, ".lab", "faults"), ControllerManager: true, Progress: os.Stdout, Lifetime: 30 * time.Minute,
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.Stop()) }()
	if hub, err = install.On(ctx, world.Hub); err != nil {
		return 1, err
	}
	if err := keepLogs(); err != nil {
		return 1, err
	}
	code = m.Run()
	if code != 0 {
		world.Keep = true
		file := filepath.Join(world.Dir, "operator.log")
		fmt.Println("the operators' log:", file)
		err = os.WriteFile(file, []byte(logs.String()), 0o600)
	}
	return code, err
}

// keepLogs puts into logs what operators and client-go log.
func keepLogs() error {
	logrus.SetOutput(&logs)
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "one_output": "true", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			return err
		}
	}
	klog.SetOutput(&logs)
	return nil
}

// running is an operator in this process.
type running struct {
	stop func() error
	done chan error
}

// startOperator runs the operator until it is stopped, at the latest when the test ends.
func startOperator(t *testing.T, cfg *rest.Config, change ...func(*operator.Options)) *running {
	t.Helper()
	opts := operator.Defaults()
	opts.LeaderElect, opts.ListenAddress, opts.OfflineAfter = false, "0", 10*time.Minute
	for _, c := range change {
		c(&opts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{done: make(chan error, 1)}
	go func() { r.done <- operator.Run(ctx, cfg, opts) }()
	ended := false
	r.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-r.done
	}
	t.Cleanup(func() { require.NoError(t, r.stop()) })
	return r
}

// lives fails when the operator has ended by itself.
func (r *running) lives(t *testing.T) {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		require.Fail(t, "the operator has ended", "%v", err)
	default:
	}
}

func eventually(t *testing.T, condition func(context.Context) error) {
	t.Helper()
	require.NoError(t, clients.Until(context.Background(), patience, condition))
}
