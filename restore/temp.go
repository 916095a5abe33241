package restore

import (
	"crypto/rand"
	"fmt"
	"io/fs"
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
	create := func() (file, error) { return on.Create(filepath.Join(dir, prefix+rand.Text()), perm) }
	f, err := tempfile.New(create, on.Remove)
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	return &temp{f, on}, nil
}

// discard closes the file and removes its name, unless that has been renamed away.
func (t *temp) discard() error { return tempfile.Discard(t, t.on.Remove) }
