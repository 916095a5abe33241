package flock_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/litestash/litestash/internal/flock"
)

func TestTryLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	first, second := open(t, path), open(t, path)
	if err := flock.Lock(first.Fd()); err != nil {
		t.Fatal(err)
	}
	if ok, err := flock.TryLock(second.Fd()); ok || err != nil {
		t.Errorf("of a locked file: %v, %v", ok, err)
	}
	first.Close()
	if ok, err := flock.TryLock(second.Fd()); !ok || err != nil {
		t.Errorf("after its lock has ended: %v, %v", ok, err)
	}
	second.Close()
	if ok, err := flock.TryLock(^uintptr(0)); ok || !errors.Is(err, syscall.EBADF) {
		t.Errorf("of no file: %v, %v", ok, err)
	}
}

// TestUnlock ends the lock of a file that another process has inherited.
func TestUnlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	first, second := open(t, path), open(t, path)
	if err := flock.Lock(first.Fd()); err != nil {
		t.Fatal(err)
	}
	heir := exec.Command("cat")
	heir.ExtraFiles = []*os.File{first}
	in, err := heir.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := heir.Start(); err != nil {
		t.Fatal(err)
	}
	defer heir.Wait()
	defer in.Close()
	if err := flock.Unlock(first.Fd()); err != nil {
		t.Fatal(err)
	}
	if ok, err := flock.TryLock(second.Fd()); !ok || err != nil {
		t.Errorf("after its lock has ended: %v, %v", ok, err)
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
