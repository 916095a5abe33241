// Package tempfile leaves no temporary files behind. Those without a name vanish with their
// process, see [Unlinked]. Of those that need one, writers [Lock] theirs, and a lock ends with its
// process: what [Sweep] finds unlocked was left by one that was killed.
package tempfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/litestash/litestash/internal/flock"
)

// Lock marks the file with the descriptor fd as being written, until it is closed. A [Sweep] may
// have removed it before: whoever made the file looks afterwards whether it still has its name. On
// disks without locks it does nothing; [Sweep] cannot get one there either, and removes nothing.
func Lock(fd uintptr) error {
	if err := flock.Lock(fd); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// Sweep removes the files in dir whose names begin with prefix and that no living process is
// writing, as far as this process may. A directory that does not exist has none.
func Sweep(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.Type().IsRegular() {
			continue
		}
		if err := sweepFile(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	return nil
}

func sweepFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil // gone, or another user's, who will sweep it
	}
	defer f.Close()
	if ok, err := flock.TryLock(f.Fd()); !ok || err != nil {
		return nil // being written, or on a disk where nobody can tell
	}
	err = os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
