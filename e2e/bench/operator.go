package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
)

// operator is bin/fleet-handshake as a process.
type operator struct {
	cmd     *exec.Cmd
	log     clients.Buffer
	address string
}

var servingAt = regexp.MustCompile(`address="?([0-9.:]+)`)

// startOperator returns when the operator works.
func startOperator(ctx context.Context, b *bench) (*operator, error) {
	o := &operator{cmd: exec.Command(filepath.Join(b.root, "bin", "fleet-handshake"), "--kubeconfig", b.hub.Kubeconfig, "--listen-address", "127.0.0.1:0", "--leader-elect=false")}
	o.cmd.Stdout, o.cmd.Stderr = &o.log, &o.log
	// It must not get the terminal's Ctrl-C, and must not outlive the benchmark.
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := o.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the operator: %w", err)
	}
	err := clients.Until(ctx, time.Minute, func(context.Context) error {
		address := servingAt.FindStringSubmatch(o.log.String())
		if address == nil || !strings.Contains(o.log.String(), "msg=working") {
			return errors.New("the operator does not work")
		}
		o.address = address[1]
		return nil
	})
	if err != nil {
		o.stop()
		return nil, fmt.Errorf("%w:\n%s", err, o.tail())
	}
	return o, nil
}

// stop ends the operator. Stopping twice is fine.
func (o *operator) stop() {
	if o.cmd.ProcessState != nil {
		return
	}
	_ = o.cmd.Process.Signal(syscall.SIGTERM)
	_ = o.cmd.Wait()
}

// tail is the end of its log.
func (o *operator) tail() string {
	lines := strings.Split(strings.TrimSpace(o.log.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// memory in megabytes.
type memory struct{ now, peak float64 }

func (o *operator) memory() (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.cmd.Process.Pid))
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
