package tempfile_test

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/litestash/litestash/internal/tempfile"
)

// TestMain lets the test binary be the process that writes a file and is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("TEMPFILE_TEST_WRITE"); path != "" {
		write(path)
	}
	os.Exit(m.Run())
}

// write makes a file, says so, and waits to be killed.
func write(path string) {
	f, err := newFile(path)
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString("locked")
	os.Stdin.Read(make([]byte, 1))
	f.Close()
	os.Exit(1)
}

func newFile(path string) (*os.File, error) {
	return tempfile.New(func() (*os.File, error) { return os.Create(path) }, os.Remove)
}

func sweep(t *testing.T, dir, prefix string, want ...string) {
	t.Helper()
	if err := tempfile.Sweep(dir, prefix); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}

func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	mine, err := newFile(filepath.Join(dir, "temp-mine"))
	if err != nil {
		t.Fatal(err)
	}
	create(t, filepath.Join(dir, "temp-left"))
	create(t, filepath.Join(dir, "other"))
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "temp-dir"), 0o700),
		os.Symlink("other", filepath.Join(dir, "temp-link")),
		syscall.Mkfifo(filepath.Join(dir, "temp-pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	sweep(t, dir, "temp-", "other", "temp-dir", "temp-link", "temp-mine", "temp-pipe")
	if err := mine.Close(); err != nil {
		t.Fatal(err)
	}
	sweep(t, dir, "temp-", "other", "temp-dir", "temp-link", "temp-pipe")
}

func TestSweepNothing(t *testing.T) {
	if err := tempfile.Sweep(filepath.Join(t.TempDir(), "missing"), "temp-"); err != nil {
		t.Error(err)
	}
	if err := tempfile.Sweep(filepath.Join(create(t, filepath.Join(t.TempDir(), "file")).Name()), "temp-"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("sweep of a file: %v", err)
	}
}

// TestKilled checks that a lock is another process's, and ends when that is killed.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEMPFILE_TEST_WRITE="+filepath.Join(dir, "temp-1"))
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, rerr := out.Read(make([]byte, 6))
	sweep(t, dir, "temp-", "temp-1")
	cmd.Process.Kill()
	cmd.Wait()
	if rerr != nil {
		t.Fatal(rerr)
	}
	sweep(t, dir, "temp-")
}

// TestNew removes files before they are locked, as a sweep does.
func TestNew(t *testing.T) {
	dir := t.TempDir()
	made := 0
	create := func(swept int) func() (*os.File, error) {
		return func() (*os.File, error) {
			f, err := os.CreateTemp(dir, "temp-")
			if made++; err == nil && made <= swept {
				err = os.Remove(f.Name())
			}
			return f, err
		}
	}
	f, err := tempfile.New(create(3), os.Remove)
	if err != nil || made != 4 {
		t.Fatalf("%d files were made: %v", made, err)
	}
	sweep(t, dir, "temp-", filepath.Base(f.Name()))
	if err := tempfile.Discard(f, os.Remove); err != nil {
		t.Error(err)
	}
	sweep(t, dir, "temp-")
	if _, err := tempfile.New(create(1000), os.Remove); err == nil || made > 200 {
		t.Errorf("all of %d files were removed: %v", made, err)
	}
	full := func() (*os.File, error) { return nil, syscall.ENOSPC }
	if _, err := tempfile.New(full, os.Remove); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a file that cannot be made: %v", err)
	}
}

// TestDiscard discards a file that was renamed: its new name stays.
func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	f, err := newFile(filepath.Join(dir, "temp-1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, "placed")); err != nil {
		t.Fatal(err)
	}
	if err := tempfile.Discard(f, os.Remove); err != nil {
		t.Error(err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("it is open still: %v", err)
	}
	sweep(t, dir, "temp-", "placed")
}

// TestRace sweeps while files are made. One that is there once it is locked must stay.
func TestRace(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var sweepers, writers sync.WaitGroup
	for range 2 {
		sweepers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := tempfile.Sweep(dir, "temp-"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 4 {
		writers.Go(func() {
			for range 200 {
				writeOnce(t, filepath.Join(dir, "temp-"+rand.Text()))
			}
		})
	}
	writers.Wait()
	close(stop)
	sweepers.Wait()
}

func writeOnce(t *testing.T, path string) {
	f, err := tempfile.New(func() (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) }, os.Remove)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if err := tempfile.Sweep(filepath.Dir(path), filepath.Base(path)); err != nil {
		t.Error(err)
	}
	if err := os.Remove(path); err != nil {
		t.Errorf("a file that was locked: %v", err)
	}
}
