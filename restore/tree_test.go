package restore_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store/storetest"
)

// TestTree restores databases into directories that are made for them, and for no others.
func TestTree(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	image := memimage.Text(1, 4096, 10)
	snap := push(t, st, "a/b/app.db", 4096, image).Snapshot
	dir := filepath.Join(t.TempDir(), "new", "host")
	tree := restore.NewTree(dir)
	path, err := tree.Path("a/b/app.db")
	if err != nil || path != filepath.Join(dir, "a", "b", "app.db") {
		t.Fatalf("got %q, %v", path, err)
	}
	if _, err := restore.File(t.Context(), st, snap, path, restore.FileOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without MakeParents: %v", err)
	}
	damaged := errors.New("a check fails")
	opts := restore.FileOptions{MakeParents: true}
	failing := opts
	failing.Check = func(context.Context, string) error { return damaged }
	if _, err := restore.File(t.Context(), st, snap, path, failing); !errors.Is(err, damaged) {
		t.Fatalf("got %v", err)
	}
	checkNames(t, filepath.Dir(filepath.Dir(dir))) // no directory is left of a failure
	for _, database := range []string{"a/b/app.db", "a/c/app.db", "a/b/other.db"} {
		path, err := tree.Path(database)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := restore.File(t.Context(), st, snap, path, opts); err != nil {
			t.Fatal(err)
		}
	}
	checkNames(t, filepath.Join(dir, "a", "b"), "app.db", "other.db")
	checkNames(t, filepath.Join(dir, "a"), "b", "c")
	// A file is in the way of a directory.
	path, err = tree.Path("a/b/app.db/inner.db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restore.File(t.Context(), st, snap, path, opts); err == nil {
		t.Error("a database was restored below a file")
	}
	for _, name := range []string{"../app.db", "/app.db", "a/../../app.db", ""} {
		if path, err := tree.Path(name); err == nil {
			t.Errorf("%q leads to %s", name, path)
		}
	}
}

// TestTreeCase has a disk on which two names are one file.
func TestTreeCase(t *testing.T) {
	dir := t.TempDir()
	tree := restore.NewTree(dir)
	for _, name := range []string{"App.db", "aPP.db"} {
		if _, err := tree.Path(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(create("App.db")(dir), create("aPP.db")(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Path("APP.db"); err != nil {
		t.Errorf("a name of its own: %v", err)
	}
	if err := os.Link(filepath.Join(dir, "App.db"), filepath.Join(dir, "app.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Path("app.db"); !errors.Is(err, restore.ErrExists) {
		t.Errorf("the file that has just been restored: %v", err)
	}
}

// TestSideFile refuses to put a database where SQLite would take it for the side file of another.
func TestSideFile(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 10))
	dir := t.TempDir()
	if err := create("app.db")(dir); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		for _, replace := range []bool{false, true} {
			opts := restore.FileOptions{Replace: replace, Hold: hold}
			if _, err := restore.File(t.Context(), p.st, p.snap, filepath.Join(dir, "app.db"+suffix), opts); !errors.Is(err, restore.ErrSideFile) {
				t.Errorf("%s, replace %v: %v", suffix, replace, err)
			}
		}
		if _, err := restore.File(t.Context(), p.st, p.snap, filepath.Join(dir, "alone.db"+suffix), restore.FileOptions{}); err != nil {
			t.Error(err)
		}
	}
}
