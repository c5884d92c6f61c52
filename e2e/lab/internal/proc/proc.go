// Package proc starts processes that can be ended again with certainty: each
// runs in a session of its own under a hard time limit, and is recorded in a
// file by process id and start time, so that another program can end exactly
// these processes after the starter crashed. Nothing is ever ended by name.
// It reads /proc and so works on Linux only.
package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Spec says what to start.
type Spec struct {
	// Name names the process, its record and its log file.
	Name string
	// Dir is the folder for the record and the log file; it must exist.
	Dir string
	// Path is the program and Args are its arguments.
	Path string
	Args []string
	// Env is the whole environment, without Mark.
	Env []string
	// Lifetime is the hard bound after which the process is ended.
	Lifetime time.Duration
	// Detached lets the process outlive its starter. Otherwise the kernel ends
	// it when the starter dies, even when that was killed.
	Detached bool
}

// Process is a process this program started.
type Process struct {
	Record
	exited chan struct{}
	err    error
}

// Start starts the process and records it. An existing log is continued.
func Start(spec Spec) (*Process, error) {
	dir, err := filepath.Abs(spec.Dir)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	record := Record{Name: spec.Name, Dir: dir}
	log, err := os.OpenFile(record.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	defer log.Close()

	seconds := strconv.FormatFloat(spec.Lifetime.Seconds(), 'f', -1, 64)
	args := append([]string{"--kill-after=10s", seconds, spec.Path}, spec.Args...)
	cmd := exec.Command("timeout", args...)
	cmd.Dir = dir
	cmd.Env = append(append([]string{}, spec.Env...), Mark+"="+dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !spec.Detached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	if err := onLastingThread(cmd.Start); err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}

	process := &Process{Record: record, exited: make(chan struct{})}
	process.PID = cmd.Process.Pid
	stat, err := readStat(process.PID)
	if err == nil {
		process.Started = stat.start
		err = process.save()
	}
	if err != nil {
		_ = syscall.Kill(-process.PID, syscall.SIGKILL)
		_ = cmd.Wait()
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	go func() {
		process.err = cmd.Wait()
		close(process.exited)
	}()
	return process, nil
}

// Exited is closed once the process ended.
func (p *Process) Exited() <-chan struct{} {
	return p.exited
}

// Failure describes why a process that should have gone on has ended, with the
// end of its log. It returns nil while the process runs.
func (p *Process) Failure() error {
	select {
	case <-p.exited:
	default:
		return nil
	}
	how := "ended without an error"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s ended early (%s); the end of its log %s:\n%s",
		p.Name, how, p.LogFile(), Tail(p.LogFile(), 15))
}

// Tail returns the last lines of a text file, or a remark why it cannot.
func Tail(file string, lines int) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

var (
	lastingOnce sync.Once
	lasting     chan func()
)

// onLastingThread runs f on an operating system thread that lives as long as
// this program. The kernel's parent-death signal follows the thread that made
// the child, and the Go runtime may end any thread it likes but a locked one.
func onLastingThread(f func() error) error {
	lastingOnce.Do(func() {
		lasting = make(chan func())
		go func() {
			runtime.LockOSThread()
			for job := range lasting {
				job()
			}
		}()
	})
	result := make(chan error, 1)
	lasting <- func() { result <- f() }
	return <-result
}
