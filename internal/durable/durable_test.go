package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/litestash/litestash/internal/durable"
)

func TestMkdir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	for range 2 {
		if err := durable.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Fatalf("stat: %v, %v", info, err)
	}
	if err := durable.Mkdir(filepath.Join(dir, "b", "c"), 0o700); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a parent: %v, want %v", err, fs.ErrNotExist)
	}
}

func TestMkdirOverFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Mkdir(file, 0o700); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v, want %v", err, syscall.ENOTDIR)
	}
}

func TestSyncDir(t *testing.T) {
	dir := t.TempDir()
	if err := durable.SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := durable.SyncDir(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}
