// Package tempfile leaves no temporary files behind. Those without a name vanish with their
// process, see [Unlinked]. Those that need one are locked, see [New], and a lock ends with its
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

// A File is what [New] makes.
type File interface {
	Name() string
	Fd() uintptr
	Close() error
}

// New returns a file that create has made under a name of its own, and that no [Sweep] removes until it is closed. Before
// it is locked one may do so, and then create is called again. The caller discards the file, see [Discard], for which
// remove is here too.
func New[F File](create func() (F, error), remove func(name string) error) (F, error) {
	var none F
	for range 100 { // sweeps are rare and short: so many of them do not happen by chance
		f, err := create()
		if err != nil {
			return none, err
		}
		// This waits for a sweep, which holds the lock only for the moment in which it removes the file.
		if err := lock(f.Fd()); err != nil {
			return none, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), Discard(f, remove))
		}
		if _, err := os.Lstat(f.Name()); err == nil {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return none, err
		}
	}
	return none, errors.New("each of 100 files was removed as it was made")
}

// lock marks a file as being written, until it is closed. On disks without locks it does nothing; [Sweep] cannot get one
// there either, and removes nothing.
func lock(fd uintptr) error {
	if err := flock.Lock(fd); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// Discard removes, with remove, the name that f was made with, which a rename may have taken, and closes f.
func Discard(f File, remove func(name string) error) error {
	err := remove(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.Close())
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
