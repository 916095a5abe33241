package storetest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/litestash/litestash/store"
)

// FastDir returns an empty directory, in memory where there is such a place, for tests that make and sync
// thousands of files, or wait for a disk hundreds of times, and do not depend on which disk it is.
func FastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "litestash-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// OpenDir returns the store in a directory, or ends the test.
func OpenDir(t testing.TB, path string) *store.Dir {
	t.Helper()
	d, err := store.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// CleanEnv removes what this host is set up with from what the SDK and the program see, for the time of the test.
func CleanEnv(t testing.TB) {
	t.Helper()
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "AWS_") || name == "LITESTASH_STORE" {
			t.Setenv(name, "") // puts it back at the end
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("NO_PROXY", "127.0.0.1")
}

// FailEach calls do once for each call that it makes of s, which fails [Before] it took effect. do is to
// return that error each time: nothing less than all may be taken for all.
func FailEach(t *testing.T, s store.Store, what string, do func(store.Store) error) {
	t.Helper()
	for n := 1; ; n++ {
		faulty := Fault(s, Step{Call: n, How: Before})
		err := do(faulty)
		if faulty.Hit() == 0 {
			if n == 1 || err != nil {
				t.Errorf("%s does nothing, or fails by itself: %v", what, err)
			}
			return
		}
		if !errors.Is(err, ErrFault) {
			t.Errorf("%s, call %d fails: %v", what, n, err)
		}
	}
}
