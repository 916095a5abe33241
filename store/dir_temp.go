package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/litestash/litestash/internal/tempfile"
)

// tempDir holds files while they are written, and begins the names of the store's other files
// that are no objects. List shows none of them.
const tempDir = ".litestash-tmp"

// createTemp makes a file in the folder dir, for the owner alone, and locks it, so that
// [tempfile.Sweep] leaves it alone. Nothing of the folder has to outlive a crash.
func createTemp(dir string) (*os.File, error) {
	for try := 0; ; try++ {
		if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err := os.CreateTemp(dir, "*")
		if errors.Is(err, fs.ErrNotExist) && try < 100 {
			continue // another Create has just ended and removed the folder
		}
		if err != nil {
			return nil, err
		}
		// A sweep holds the lock only for the moment in which it removes the file.
		if err := tempfile.Lock(f.Fd()); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), discardTemp(f))
		}
		if _, err := os.Lstat(f.Name()); err == nil || try == 100 {
			return f, nil
		}
		f.Close()
	}
}

// discardTemp closes f and removes the name it was created with, which a rename may have taken, and
// the folder if nobody else has a file there.
func discardTemp(f *os.File) error {
	err := os.Remove(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, f.Close())
	// Rmdir fails on a directory that is not empty, and then all is as it should be. On NFS one is
	// not before the file is closed.
	syscall.Rmdir(filepath.Dir(f.Name()))
	return err
}
