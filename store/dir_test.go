package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

func TestDir(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return storetest.OpenDir(t, filepath.Join(t.TempDir(), "store"))
	})
}

// files returns the paths of all files below dir, temporary ones included.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			found = append(found, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDirMissing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	d := storetest.OpenDir(t, root)
	if err := storetest.ListError(t, d, store.Query{}); !errors.Is(err, store.ErrNoBucket) {
		t.Errorf("list: %v, want %v", err, store.ErrNoBucket)
	}
	if _, err := d.Open(t.Context(), store.Object{Key: "key"}, 0, -1); !errors.Is(err, store.ErrNoBucket) {
		t.Errorf("open: %v, want %v", err, store.ErrNoBucket)
	}
	if err := d.Delete(t.Context(), "key"); !errors.Is(err, store.ErrNoBucket) {
		t.Errorf("delete: %v, want %v", err, store.ErrNoBucket)
	}
	if _, err := d.Skew(t.Context()); err != nil {
		t.Errorf("skew: %v", err)
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("looking made the directory: %v", err)
	}
	storetest.Put(t, d, "key", nil)
	deep := storetest.OpenDir(t, filepath.Join(root, "missing", "store"))
	if _, err := deep.Create(t.Context(), "key", strings.NewReader(""), 0); !errors.Is(err, store.ErrNoBucket) {
		t.Errorf("create without a parent: %v, want %v", err, store.ErrNoBucket)
	}
}

func TestDirAllowNew(t *testing.T) {
	parent := t.TempDir()
	for path, want := range map[string]error{
		filepath.Join(parent, "new"):            nil,
		filepath.Join(parent, "missing", "new"): store.ErrNoBucket,
	} {
		s, err := store.Open(t.Context(), path, store.Options{AllowNew: true})
		if err != nil {
			t.Fatal(err)
		}
		var last error
		for _, last = range s.List(t.Context(), store.Query{}) {
		}
		if !errors.Is(last, want) {
			t.Errorf("list %s: %v, want %v", path, last, want)
		}
	}
}

// TestDirKnown takes a directory away that is known to have held a store.
func TestDirKnown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := store.Open(t.Context(), path, store.Options{AllowNew: true})
	if err != nil {
		t.Fatal(err)
	}
	s.(*store.Dir).Known()
	if err := storetest.ListError(t, s, store.Query{}); !errors.Is(err, store.ErrNoBucket) {
		t.Errorf("list: %v, want %v", err, store.ErrNoBucket)
	}
	if _, err := s.Create(t.Context(), "key", strings.NewReader(""), 0); !errors.Is(err, store.ErrNoBucket) {
		t.Errorf("create: %v, want %v", err, store.ErrNoBucket)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory: %v, want that it was not made", err)
	}
}

func TestDirIsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := store.OpenDir(file)
	var usage *store.UsageError
	if !errors.As(err, &usage) {
		t.Errorf("got %v, want a %T", err, usage)
	}
}

func TestDirLeavesNothing(t *testing.T) {
	root := t.TempDir()
	d := storetest.OpenDir(t, root)
	ctx, cancel := context.WithCancel(t.Context())
	for name, body := range map[string]io.Reader{
		"failing":   iotest.ErrReader(errors.New("broken")),
		"cancelled": io.MultiReader(strings.NewReader("x"), readerFunc(func([]byte) (int, error) { cancel(); return 1, nil })),
	} {
		if _, err := d.Create(ctx, "a/b/"+name, body, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	storetest.Put(t, d, "there", []byte("x"))
	if _, err := d.Create(t.Context(), "there", strings.NewReader("y"), 1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create again: %v", err)
	}
	if got := files(t, root); !slices.Equal(got, []string{"there"}) {
		t.Errorf("files %q", got)
	}
	if err := d.Delete(t.Context(), "there"); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// The first to end must not take the folder of temporary files from the others, whichever step
// they are at, those with a store of their own to sweep either.
func TestDirConcurrentCreates(t *testing.T) {
	root := t.TempDir()
	shared := storetest.OpenDir(t, root)
	var g errgroup.Group
	for n := range 8 {
		g.Go(func() error {
			for i := range 50 {
				d := shared
				if n%2 == 0 {
					d = storetest.OpenDir(t, root)
				}
				key := fmt.Sprintf("%d/%d", n, i)
				if _, err := d.Create(t.Context(), key, strings.NewReader(key), 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if got := storetest.Keys(t, shared, store.Query{}); len(got) != 400 {
		t.Errorf("%d objects, want 400", len(got))
	}
	if _, err := os.Stat(filepath.Join(root, ".litestash-tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of temporary files: %v, want %v", err, fs.ErrNotExist)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestDirIsPrivate(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	storetest.Put(t, storetest.OpenDir(t, root), "a/b", nil)
	for path, want := range map[string]fs.FileMode{"": 0o700, "a": 0o700, "a/b": 0o600} {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: mode %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

func TestDirRemovesEmptyParents(t *testing.T) {
	root := t.TempDir()
	d := storetest.OpenDir(t, root)
	storetest.Put(t, d, "a/b/c/1", nil)
	storetest.Put(t, d, "a/2", nil)
	for _, step := range []struct{ key, gone, stays string }{{"a/b/c/1", "a/b", "a"}, {"a/2", "a", ""}} {
		if err := d.Delete(t.Context(), step.key); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(root, step.gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", step.gone, err)
		}
		if _, err := os.Stat(filepath.Join(root, step.stays)); err != nil {
			t.Errorf("%s is gone: %v", step.stays, err)
		}
	}
}

func TestDirForeignFiles(t *testing.T) {
	root := t.TempDir()
	d := storetest.OpenDir(t, root)
	storetest.Put(t, d, "mine", nil)
	for _, name := range []string{"lost+found/1", ".litestash-tmp/1", "with\nnewline", "not\xffutf8", ".litestash-tmp-clock-1"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := storetest.Keys(t, d, store.Query{}); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("listed %q", got)
	}
	if _, err := d.Open(t.Context(), store.Object{Key: "pipe"}, 0, -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open a pipe: %v", err)
	}
	for _, key := range []string{"lost+found/1", ".litestash-tmp/1"} {
		if _, err := d.Create(t.Context(), key, strings.NewReader(""), 0); err == nil {
			t.Errorf("created %s", key)
		}
	}
}

func TestDirSymlinks(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), root); err != nil {
		t.Fatal(err)
	}
	d := storetest.OpenDir(t, root) // being a link itself is fine
	storetest.Put(t, d, "mine", nil)
	if err := os.Symlink(outside, filepath.Join(root, "dir")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "file"), filepath.Join(root, "file")); err != nil {
		t.Fatal(err)
	}
	if got := storetest.Keys(t, d, store.Query{}); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("listed %q", got)
	}
	for _, key := range []string{"dir/new", "dir/file", "file"} {
		if _, err := d.Create(t.Context(), key, strings.NewReader(""), 0); err == nil {
			t.Errorf("created %s", key)
		}
		if _, err := d.Open(t.Context(), store.Object{Key: key}, 0, -1); err == nil {
			t.Errorf("opened %s", key)
		}
		if err := d.Delete(t.Context(), key); err == nil {
			t.Errorf("deleted %s", key)
		}
	}
	if got := files(t, outside); !slices.Equal(got, []string{"file"}) {
		t.Errorf("outside of the store: %q", got)
	}
}

func TestDirNoticesChanges(t *testing.T) {
	root := t.TempDir()
	d := storetest.OpenDir(t, root)
	data := storetest.Bytes(100_000)
	o := storetest.Put(t, d, "key", data)
	r, err := d.Open(t.Context(), o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(root, "key"), 50_000); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 50_000 {
		t.Errorf("read %d bytes and %v, want 50000 and %v", len(got), err, io.ErrUnexpectedEOF)
	}
	if _, err := d.Open(t.Context(), o, 0, -1); !errors.Is(err, store.ErrChanged) {
		t.Errorf("open: %v, want %v", err, store.ErrChanged)
	}
}

// One database with a snapshot every minute for a month, and half as much again.
func TestDirLarge(t *testing.T) {
	const n = 60_000
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		f, err := os.Create(filepath.Join(root, "db", fmt.Sprintf("%06d", i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	d := storetest.OpenDir(t, root)
	start := time.Now()
	if got := len(storetest.All(t, d, store.Query{Prefix: "db/", Shallow: true})); got != n {
		t.Errorf("listed %d", got)
	}
	all := time.Since(start)
	start = time.Now()
	if got := len(storetest.All(t, d, store.Query{Prefix: "db/", After: "db/059989"})); got != 10 {
		t.Errorf("listed %d", got)
	}
	t.Logf("all %d in %v, the last 10 in %v", n, all, time.Since(start))
	if all > 10*time.Second {
		t.Errorf("listing %d took %v", n, all)
	}
}
