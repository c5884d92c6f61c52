package proc

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
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
	for deadline := time.Now().Add(pauseLimit); ; {
		pids, err := r.toProgram(syscall.SIGSTOP)
		if err != nil {
			return fmt.Errorf("pausing %s: %w", r.Name, err)
		}
		for range 50 {
			// A child that was made meanwhile is seen in the next round.
			if stopped(pids) && slices.Equal(pids, r.program()) {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pausing %s: it goes on after %s", r.Name, pauseLimit)
		}
		// A parent that waits in vfork for a stopped child cannot stop: both go on.
		if err := r.Resume(); err != nil {
			return err
		}
	}
}

// Resume lets a paused process go on.
func (r Record) Resume() error {
	if _, err := r.toProgram(syscall.SIGCONT); err != nil {
		return fmt.Errorf("resuming %s: %w", r.Name, err)
	}
	return nil
}

// toProgram sends to the program, and returns whom it sent to.
func (r Record) toProgram(sig syscall.Signal) ([]int, error) {
	pids := r.program()
	if len(pids) == 0 {
		return nil, errors.New("it does not run")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) { // it may have ended by itself
			return nil, err
		}
	}
	return pids, nil
}

// program is all of the session but its leader, which keeps the time.
func (r Record) program() []int {
	return slices.DeleteFunc(r.members(), func(pid int) bool { return pid == r.PID })
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
