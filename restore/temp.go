package restore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/litestash/litestash/internal/tempfile"
)

// A temp is a file that will either get the name that it is written for, or vanish.
type temp struct {
	file
	on fileSystem
}

// newTemp makes a file in dir whose name begins with prefix, and removes those that begin so and
// were left by a process that was killed. The process's umask is taken off perm.
func newTemp(on fileSystem, dir, prefix string, perm fs.FileMode) (*temp, error) {
	if err := tempfile.Sweep(dir, prefix); err != nil {
		return nil, err
	}
	for {
		f, err := on.Create(filepath.Join(dir, prefix+rand.Text()), perm)
		if err != nil {
			return nil, fmt.Errorf("make a temporary file: %w", err)
		}
		t := &temp{f, on}
		if err := tempfile.Lock(f.Fd()); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), t.discard())
		}
		// Until it was locked it looked as if a killed process had left it.
		if _, err := os.Lstat(f.Name()); err == nil {
			return t, nil
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("make a temporary file: %w", err)
		}
	}
}

// discard closes the file and removes its name, unless that has been renamed away.
func (t *temp) discard() error {
	err := t.on.Remove(t.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, t.Close())
}
