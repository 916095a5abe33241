//go:build linux || darwin

package snapshot

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// canGuard tells whether a [guard] can be had on this system.
const canGuard = true

// The locks of SQLite, https://github.com/sqlite/sqlite/blob/version-3.53.0/src/os.h. A reader
// holds a read lock on the shared range; who wants to write the file for a moment the pending byte
// and the whole range.
const (
	pendingByte  = lockByte
	reservedByte = lockByte + 1
	sharedFirst  = lockByte + 2
	sharedSize   = 510
)

// setLock puts a lock of the given type (F_RDLCK, F_WRLCK, F_UNLCK) on n bytes of f without
// waiting. ok is false if another holds a lock that forbids it. The lock belongs to the open file
// description, so that neither other descriptors of this process nor their closing concern it.
func setLock(f *os.File, typ int16, start, n int64) (ok bool, err error) {
	lk := unix.Flock_t{Type: typ, Start: start, Len: n}
	for {
		err := unix.FcntlFlock(f.Fd(), ofdSetLock, &lk)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return false, nil
		default:
			return false, os.NewSyscallError("fcntl", err)
		}
	}
}

// testLock reports whether a lock of another on n bytes of f forbids one of the given type, and the
// process that holds it, 0 if that is not known.
func testLock(f *os.File, typ int16, start, n int64) (locked bool, pid int, err error) {
	lk := unix.Flock_t{Type: typ, Start: start, Len: n}
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, 0, os.NewSyscallError("fcntl", err)
		}
		return lk.Type != unix.F_UNLCK, max(0, int(lk.Pid)), nil
	}
}

// lockShared takes the lock of a reader, as SQLite does: not while somebody waits to write.
func lockShared(f *os.File) (ok bool, err error) {
	pending, _, err := testLock(f, unix.F_RDLCK, pendingByte, 1)
	if err != nil || pending {
		return false, err
	}
	return setLock(f, unix.F_RDLCK, sharedFirst, sharedSize)
}

// lockExclusive takes every lock there is.
func lockExclusive(f *os.File) (ok bool, err error) {
	return setLock(f, unix.F_WRLCK, pendingByte, 2+sharedSize)
}
