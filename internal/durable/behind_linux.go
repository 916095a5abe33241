package durable

import "golang.org/x/sys/unix"

// StartWriting lets the disk begin with a range of a file that was written, so that a sync later has less to wait for. It promises
// nothing: what goes wrong that sync will tell.
func StartWriting(fd uintptr, off, n int64) {
	_ = unix.SyncFileRange(int(fd), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
