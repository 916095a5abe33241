package tempfile

import (
	"errors"
	"os"
)

// Unlinked makes a file without a name in dir, for its owner alone, so that nothing is left of it
// however the process ends. An empty dir is [os.TempDir]. The caller closes the file.
func Unlinked(dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	if f, err := nameless(dir); !errors.Is(err, errors.ErrUnsupported) {
		return f, err
	}
	f, err := os.CreateTemp(dir, "litestash-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
