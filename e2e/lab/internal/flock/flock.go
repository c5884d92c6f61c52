// Package flock takes exclusive locks on files, which end with the program
// that holds them however it ends.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// ErrTaken is returned by Try while another holds the lock.
var ErrTaken = errors.New("locked by another program")

// Try takes the lock on a file, which is made if need be, or returns ErrTaken
// at once.
func Try(file string) (unlock func(), err error) {
	handle, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	err = syscall.Flock(int(handle.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { _ = handle.Close() }, nil // closing gives the lock back
	}
	_ = handle.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrTaken
	}
	return nil, fmt.Errorf("locking %s: %w", file, err)
}

// Wait takes the lock on a file as soon as it is free. It calls waiting once
// when that is not at once.
func Wait(ctx context.Context, file string, waiting func()) (unlock func(), err error) {
	for told := false; ; told = true {
		unlock, err := Try(file)
		if !errors.Is(err, ErrTaken) {
			return unlock, err
		}
		if !told {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %s: %w", file, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
