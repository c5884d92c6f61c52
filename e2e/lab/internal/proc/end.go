package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// EndAll ends every process recorded below root, as End does.
func EndAll(grace time.Duration, root string) ([]Record, error) {
	records, err := Records(root)
	if err != nil {
		return nil, err
	}
	return End(grace, records...)
}

// End ends the recorded processes, all at the same time: it asks politely,
// waits up to grace, then insists. Records of processes that are gone already
// are fine. The record files are removed. It returns those that were alive.
func End(grace time.Duration, records ...Record) ([]Record, error) {
	var alive []Record
	for _, record := range records {
		if record.Alive() {
			alive = append(alive, record)
		}
	}

	signal(alive, syscall.SIGTERM)
	if !gone(alive, grace) {
		signal(alive, syscall.SIGKILL)
		// What the kernel does not end in this time hangs in a system call.
		gone(alive, 10*time.Second)
	}

	var problems []error
	for _, record := range alive {
		if record.Alive() {
			problems = append(problems, fmt.Errorf("%s (process %d) did not end; end it by hand: kill -9 -- -%d",
				record.Name, record.PID, record.PID))
		}
	}
	if len(problems) > 0 {
		return alive, errors.Join(problems...)
	}
	for _, record := range records {
		if err := os.Remove(record.File()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("removing the record of %s: %w", record.Name, err))
		}
	}
	return alive, errors.Join(problems...)
}

// signal sends to every live process of the records, one by one: a process
// that is not provably ours is never in that list.
func signal(records []Record, sig syscall.Signal) {
	for _, record := range records {
		for _, pid := range record.members() {
			_ = syscall.Kill(pid, sig) // gone in between is what we want
		}
	}
}

// gone waits until none of the records is alive, for at most limit.
func gone(records []Record, limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for {
		alive := false
		for _, record := range records {
			alive = alive || record.Alive()
		}
		if !alive {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
}
