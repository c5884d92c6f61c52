package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/install"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

// operator is the real binary, started as a person would start it.
type operator struct {
	cmd *exec.Cmd
	log string
}

// programOf is the program of the operator.
func programOf(l *lab.Lab) string { return filepath.Join(l.Dir, "fleet-handshake") }

func startOperator(ctx context.Context, root string, l *lab.Lab, d *demo) (*operator, error) {
	fmt.Println("== Starting the operator")
	binary := programOf(l)
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/fleet-handshake")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the operator: %w\n%s", err, out)
	}
	hub, err := install.On(ctx, l.Hub, d.values...)
	if err != nil {
		return nil, err
	}
	o := &operator{log: filepath.Join(l.Dir, "fleet-handshake.log")}
	file, err := os.Create(o.log)
	if err != nil {
		return nil, fmt.Errorf("making the operator's log: %w", err)
	}
	defer file.Close()
	o.cmd = exec.Command(binary, append([]string{"--kubeconfig", hub.Kubeconfig, "--listen-address", "127.0.0.1:0"}, d.flags...)...)
	o.cmd.Stdout, o.cmd.Stderr = file, file
	// It must not get the terminal's Ctrl-C: the demo ends it. It dies with the demo.
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := o.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the operator: %w", err)
	}
	err = clients.Until(ctx, 30*time.Second, func(context.Context) error {
		if content, err := os.ReadFile(o.log); err != nil || !bytes.Contains(content, []byte("msg=working")) {
			return fmt.Errorf("the operator does not say that it works; see %s", o.log)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", errors.Join(err, o.stop()), o.tail())
	}
	return o, nil
}

// stop ends the operator. An error says that it did not end well.
func (o *operator) stop() error {
	if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending the operator: %w", err)
	}
	if err := o.cmd.Wait(); err != nil {
		return fmt.Errorf("the operator did not end well: %w", err)
	}
	return nil
}

// tail is the end of the log.
func (o *operator) tail() string {
	content, err := os.ReadFile(o.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
}
