package proc

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// pauseLimit bounds how long the kernel may take to stop every thread.
const pauseLimit = 5 * time.Second

// Pause stops the process where it stands, as if its machine hung: connections
// stay open and nothing answers. It returns when every thread has stopped. The
// time limit goes on. Resume undoes it, and End works all the same.
func (r Record) Pause() error {
	pids, err := r.toProgram(syscall.SIGSTOP)
	if err != nil {
		return fmt.Errorf("pausing %s: %w", r.Name, err)
	}
	for deadline := time.Now().Add(pauseLimit); !stopped(pids); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("pausing %s: it goes on after %s", r.Name, pauseLimit)
		}
	}
	return nil
}

// Resume lets a paused process go on.
func (r Record) Resume() error {
	if _, err := r.toProgram(syscall.SIGCONT); err != nil {
		return fmt.Errorf("resuming %s: %w", r.Name, err)
	}
	return nil
}

// toProgram sends to all of the session but its leader, which keeps the time.
// It returns whom it sent to.
func (r Record) toProgram(sig syscall.Signal) ([]int, error) {
	var sent []int
	for _, pid := range r.members() {
		if pid == r.PID {
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil {
			return nil, err
		}
		sent = append(sent, pid)
	}
	if len(sent) == 0 {
		return nil, errors.New("it does not run")
	}
	return sent, nil
}

// stopped reports whether every thread of the processes has stopped.
func stopped(pids []int) bool {
	for _, pid := range pids {
		tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*"))
		if err != nil {
			return false
		}
		for _, task := range tasks {
			thread, err := strconv.Atoi(filepath.Base(task))
			if err != nil {
				return false
			}
			if stat, err := readStat(thread); err == nil && stat.state != "T" && !stat.dead() {
				return false
			}
		}
	}
	return true
}
