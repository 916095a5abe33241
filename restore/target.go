package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A target is where a database is restored to.
type target struct {
	path, dir, base string
	old             os.FileInfo // what is there; nil if nothing is
	opts            *FileOptions
}

// sideSuffixes are of the files that SQLite keeps beside a database.
var sideSuffixes = []string{"-wal", "-shm", "-journal"}

func findTarget(path string, opts *FileOptions) (*target, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("restore to %s: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real // a link to a database stays one
	} else if _, lerr := os.Lstat(abs); lerr == nil {
		return nil, fmt.Errorf("restore to %s: %w", path, err)
	}
	t := &target{path: abs, dir: filepath.Dir(abs), base: filepath.Base(abs), opts: opts}
	if err := t.look(); err != nil {
		return nil, fmt.Errorf("restore to %s: %w", path, err)
	}
	return t, nil
}

// look finds out what is at the target and whether that may be replaced.
func (t *target) look() error {
	var err error
	t.old, err = os.Lstat(t.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		t.old = nil
		if _, err := os.Stat(t.dir); err != nil && !(t.opts.MakeParents && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	for _, s := range sideSuffixes {
		database, isSide := strings.CutSuffix(t.path, s)
		if !isSide {
			continue
		}
		if _, err := os.Lstat(database); err == nil {
			return ErrSideFile
		}
	}
	switch {
	case t.old != nil && !t.old.Mode().IsRegular():
		return ErrNotFile
	case t.opts.Replace:
		return nil
	case t.old != nil:
		return ErrExists
	}
	for _, s := range sideSuffixes {
		if _, err := os.Lstat(t.path + s); err == nil {
			return fmt.Errorf("%w: %s is there", ErrExists, t.path+s)
		}
	}
	return nil
}

// newTemp makes a file beside the target. One that will replace a database is its owner's alone
// until it takes after that; any other is what the process makes of new files.
func (t *target) newTemp() (*temp, error) {
	perm := fs.FileMode(0o666)
	if t.old != nil {
		perm = 0o600
	}
	return newTemp(t.opts.on, t.dir, "."+t.base+".restore-", perm)
}
