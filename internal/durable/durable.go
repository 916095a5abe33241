// Package durable makes changes to directories survive a loss of power.
//
// A file that was written and synced can still vanish: its name lives in the directory, and that
// has to be synced as well. See fsync(2), and the papers at https://danluu.com/deconstruct-files/.
// After a failed sync nothing is known about what the disk holds; start over with a new file
// (https://wiki.postgresql.org/wiki/Fsync_Errors).
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// SyncDir makes the names in the directory path durable: those created, renamed and removed.
// File systems that cannot sync a directory say EINVAL or ENOTSUP; they offer no more than that,
// so it is not an error.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// Mkdir makes the directory path in a parent that exists, durably. It is not an error that a
// directory is there already; its name is synced all the same, because whoever made it may not
// have come to that yet.
func Mkdir(path string, perm fs.FileMode) error {
	if err := os.Mkdir(path, perm); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, serr := os.Stat(path)
		if serr != nil {
			return serr
		}
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
	}
	return SyncDir(filepath.Dir(path))
}
