package tools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// reportInterval is how often a running build says that it is alive.
const reportInterval = 30 * time.Second

// build compiles the programs and moves them into folder when all is done.
func (g group) build(ctx context.Context, progress io.Writer, module, folder string, programs []program) error {
	// The lock is held: whatever an interrupted build left is nobody's.
	leftovers, err := filepath.Glob(filepath.Join(folder, "unfinished-*"))
	if err != nil {
		return fmt.Errorf("looking for interrupted builds: %w", err)
	}
	for _, leftover := range leftovers {
		if err := os.RemoveAll(leftover); err != nil {
			return fmt.Errorf("removing an interrupted build: %w", err)
		}
	}
	unfinished, err := os.MkdirTemp(folder, "unfinished-")
	if err != nil {
		return fmt.Errorf("making a folder to build in: %w", err)
	}
	defer os.RemoveAll(unfinished) //nolint:errcheck // a leftover is harmless and named as such

	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", g.ldflags, "-gcflags", g.gcflags, "-tags", g.tags, "-o", unfinished + "/"}
	for _, p := range programs {
		args = append(args, p.path)
	}
	err = reporting(progress, func() error {
		_, err := runGo(ctx, module, g.env(), args...)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range programs {
		from, to := filepath.Join(unfinished, p.output), filepath.Join(folder, string(p.name))
		if err := os.Rename(from, to); err != nil {
			return fmt.Errorf("moving %s into the cache: %w", p.name, err)
		}
	}
	return nil
}

// reporting runs f and says every now and then how long it has been going on.
func reporting(progress io.Writer, f func() error) error {
	begin := time.Now()
	ticker := time.NewTicker(reportInterval)
	defer ticker.Stop()

	result := make(chan error, 1)
	go func() { result <- f() }()
	for {
		select {
		case err := <-result:
			return err
		case <-ticker.C:
			say(progress, "… still building after %s", time.Since(begin).Round(time.Second))
		}
	}
}

// env is what the build needs in its environment beside the usual. Parts in C
// are built in a hurry, too.
func (g group) env() []string {
	if !g.cgo {
		return nil
	}
	return []string{"CGO_ENABLED=1", "CGO_CFLAGS=-O0"}
}

// runGo runs the go command in a pinned module and returns what it printed.
// Flags and workspaces of the user's own do not apply there; the module proxy
// and the checksum database do.
func runGo(ctx context.Context, module string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOOS=", "GOARCH=")
	cmd.Env = append(cmd.Env, env...)
	// The compilers belong to the go command: all end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs

	err := cmd.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("the go command is needed; install Go from https://go.dev/dl: %w", err)
	}
	if err != nil {
		return "", fmt.Errorf("go %s in %s: %w\n%s", args[0], module, err, lastLines(errs.String(), 20))
	}
	return strings.TrimSpace(out.String()), nil
}

// lastLines shortens what a failed command printed.
func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
