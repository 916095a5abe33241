package restore_test

import (
	"os"
	"syscall"
	"testing"
)

// mount mounts a file system of its own for the test and returns where.
func mount(t *testing.T, readOnly bool, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system")
	}
	var flags uintptr
	if readOnly {
		flags = syscall.MS_RDONLY
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("this environment allows no mounts: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
