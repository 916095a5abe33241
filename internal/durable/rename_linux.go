package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// RenameNew moves the file old to new unless that name is taken, which is [fs.ErrExist]. It is
// [errors.ErrUnsupported] or EINVAL where the system or the file system cannot do it.
func RenameNew(old, new string) error {
	var err error = unix.EINTR
	for err == unix.EINTR { // as of a file system in user space; package os does the same
		err = unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, new, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: old, New: new, Err: err}
	}
	return nil
}
