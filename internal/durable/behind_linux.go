package durable

import "golang.org/x/sys/unix"

// StartWriting lets the disk begin with what was written to a file, so that a sync later has less to wait for. It promises nothing:
// what goes wrong that sync will tell.
func StartWriting(fd uintptr) {
	_ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}
