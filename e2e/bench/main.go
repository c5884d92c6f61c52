// Command bench measures the memory of the operator on a hub without Secrets and on one full of foreign Secrets. It
// prints both and their ratio.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	secretCount = 5000
	secretSize  = 20_000
	limit       = 80 // MB
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := lab.Root()
	if err != nil {
		return err
	}
	l, err := lab.Start(ctx, lab.Options{Dir: filepath.Join(root, ".lab", "bench"), Progress: os.Stdout, Lifetime: time.Hour})
	if err != nil {
		return err
	}
	defer func() { _ = l.Stop() }()
	if err := l.Hub.Apply(ctx, filepath.Join(root, "crds")); err != nil {
		return err
	}
	hub, err := clients.New(l.Hub.Config)
	if err != nil {
		return err
	}
	empty, err := measure(ctx, root, l)
	if err != nil {
		return err
	}
	fmt.Printf("making %d Secrets of %d bytes…\n", secretCount, secretSize)
	if err := fill(ctx, hub); err != nil {
		return err
	}
	full, err := measure(ctx, root, l)
	if err != nil {
		return err
	}
	fmt.Printf("\n%-32s %12s %12s\n", "resident memory of the operator", "after 20 s", "at its peak")
	fmt.Printf("%-32s %9.1f MB %9.1f MB\n", "hub without Secrets", empty.now, empty.peak)
	fmt.Printf("%-32s %9.1f MB %9.1f MB\n", fmt.Sprintf("hub with %d foreign Secrets", secretCount), full.now, full.peak)
	fmt.Printf("%-32s %12.2f %12.2f\n\n", "ratio", full.now/empty.now, full.peak/empty.peak)
	if full.peak > limit {
		return fmt.Errorf("the operator takes more than %d MB", limit)
	}
	fmt.Printf("the limit is %d MB\n", limit)
	return nil
}

func fill(ctx context.Context, hub *clients.Hub) error {
	var wait sync.WaitGroup
	jobs := make(chan int)
	failed := make(chan error, 8)
	for range 8 {
		wait.Go(func() {
			for i := range jobs {
				_, err := hub.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("foreign-%d", i), Labels: map[string]string{"app": "foreign"}},
					Data:       map[string][]byte{"data": bytes.Repeat([]byte{byte(i)}, secretSize)},
				}, metav1.CreateOptions{})
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for i := range secretCount {
		jobs <- i
	}
	close(jobs)
	wait.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("making Secrets: %w", err)
	default:
		return nil
	}
}

// memory in megabytes.
type memory struct{ now, peak float64 }

// measure starts the operator and reads its memory when it has worked for 20 seconds.
func measure(ctx context.Context, root string, l *lab.Lab) (memory, error) {
	var log clients.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(root, "bin", "fleet-handshake"), "--kubeconfig", l.Hub.Kubeconfig, "--listen-address", "0", "--leader-elect=false")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return memory{}, fmt.Errorf("starting the operator: %w", err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	err := clients.Until(ctx, time.Minute, func(context.Context) error {
		if !strings.Contains(log.String(), "msg=working") {
			return fmt.Errorf("the operator does not work:\n%s", log.String())
		}
		return nil
	})
	if err != nil {
		return memory{}, err
	}
	select {
	case <-ctx.Done():
		return memory{}, ctx.Err()
	case <-time.After(20 * time.Second):
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		return memory{}, fmt.Errorf("reading the operator's memory: %w", err)
	}
	return memory{now: field(status, "VmRSS:"), peak: field(status, "VmHWM:")}, nil
}

func field(status []byte, name string) float64 {
	for line := range strings.Lines(string(status)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			kib, err := strconv.ParseFloat(words[1], 64)
			if err == nil {
				return kib * 1024 / 1e6
			}
		}
	}
	return 0
}
