package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/litestash/litestash/internal/tempfile"
)

// tempDir holds files while they are written, and begins the names of the store's other files
// that are no objects. List shows none of them.
const tempDir = ".litestash-tmp"

// createTemp makes a file in the folder dir, for the owner alone. Nothing of the folder has to outlive
// a crash.
func createTemp(dir string) (*os.File, error) {
	return tempfile.New(func() (*os.File, error) { return createIn(dir) }, os.Remove)
}

func createIn(dir string) (*os.File, error) {
	for try := 0; ; try++ {
		if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err := os.CreateTemp(dir, "*")
		if !errors.Is(err, fs.ErrNotExist) || try == 100 {
			return f, err
		}
		// Another Create has just ended and removed the folder.
	}
}

// discardTemp discards f, and the folder if nobody else has a file there.
func discardTemp(f *os.File) error {
	err := tempfile.Discard(f, os.Remove)
	// Rmdir fails on a directory that is not empty, and then all is as it should be. On NFS one is
	// not before the file is closed.
	syscall.Rmdir(filepath.Dir(f.Name()))
	return err
}

// DropUnfinished removes what killed processes have left of files that they wrote. Of which keys nobody can tell: it is
// all, and the number that is returned is 0.
func (d *Dir) DropUnfinished(ctx context.Context, _ Query, _ func(key string) bool) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := tempfile.Sweep(d.temp(), ""); err != nil {
		return 0, err
	}
	syscall.Rmdir(d.temp()) // as in discardTemp
	return 0, nil
}
