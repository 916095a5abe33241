// Package flock locks open files against other processes with flock(2). A lock belongs to the open
// file and ends when that is closed, at the latest with its process.
package flock

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Lock waits until nobody else has the file with the descriptor fd locked, and locks it. On a disk
// without locks the error is [errors.ErrUnsupported].
func Lock(fd uintptr) error { return flock(fd, unix.LOCK_EX) }

// TryLock locks the file with the descriptor fd, or reports false if somebody else has it locked.
// On a disk without locks the error is [errors.ErrUnsupported].
func TryLock(fd uintptr) (bool, error) {
	err := flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// Unlock ends the lock of the file with the descriptor fd. Closing the file does it too, but not at once if
// this process is just starting another one, which has the descriptor as well until it executes its program.
func Unlock(fd uintptr) error { return flock(fd, unix.LOCK_UN) }

// flock repeats what a signal interrupts. Disks that have no locks say so in several ways.
func flock(fd uintptr, how int) error {
	for {
		err := unix.Flock(int(fd), how)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOLCK):
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
		return err
	}
}
