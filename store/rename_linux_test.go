package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/litestash/litestash/internal/durable"
)

// Disks without hard links get their new names like this.
func TestRenameNew(t *testing.T) {
	dir := t.TempDir()
	old, new := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	for _, name := range []string{old, new} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.RenameNew(old, new); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v, want %v", err, fs.ErrExist)
	}
	if err := os.Remove(new); err != nil {
		t.Fatal(err)
	}
	if err := durable.RenameNew(old, new); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(new); err != nil || string(got) != old {
		t.Errorf("read %q, %v", got, err)
	}
	if err := durable.RenameNew(old, new); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v, want %v", err, fs.ErrNotExist)
	}
}
