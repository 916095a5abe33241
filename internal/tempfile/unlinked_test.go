package tempfile_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/litestash/litestash/internal/tempfile"
)

func TestUnlinked(t *testing.T) {
	dir := t.TempDir()
	f, err := tempfile.Unlinked(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) > 0 {
		t.Errorf("the directory holds %q: %v", names, err)
	}
	if _, err := f.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "text" {
		t.Errorf("read %q: %v", got, err)
	}
	info, err := f.Stat()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode is %v: %v", info.Mode(), err)
	}
	if _, err := tempfile.Unlinked(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", err)
	}
}
