// Package disk tells whether there is room on the disk of a directory.
package disk

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/litestash/litestash/internal/human"
)

// A SpaceError says that the disk of a directory has no room for what should go there. It matches
// [syscall.ENOSPC].
type SpaceError struct {
	Dir        string
	Need, Free int64 // bytes; Need is 0 if it is not known how much is missing
	Err        error // what the operating system said, nil if it was not tried
}

func (e *SpaceError) Error() string {
	if e.Need == 0 {
		return fmt.Sprintf("%s: not enough room: %v", e.Dir, e.Err)
	}
	return fmt.Sprintf("%s: not enough room: %s needed, %s free", e.Dir, human.Bytes(e.Need), human.Bytes(e.Free))
}

// Is reports whether target is [syscall.ENOSPC]. It is so too where the operating system said that a quota is used up.
func (e *SpaceError) Is(target error) bool { return target == syscall.ENOSPC }

// Unwrap returns what the operating system said, or nil.
func (e *SpaceError) Unwrap() error { return e.Err }

// Reserve returns a [SpaceError] if this process cannot write need bytes to the disk of the directory dir. It keeps
// nothing free: that is for whoever would otherwise find out when much has been written. Where the disk does not
// tell, it returns nil, and writing will.
func Reserve(dir string, need int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return nil
	}
	if free := int64(s.Bavail) * int64(s.Bsize); free < need {
		return &SpaceError{Dir: dir, Need: need, Free: free}
	}
	return nil
}
