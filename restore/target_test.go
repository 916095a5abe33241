package restore_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store/storetest"
)

// hold is what the program holds a database with.
func hold(ctx context.Context, path string) (restore.Held, error) {
	h, err := snapshot.Hold(ctx, path)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// TestRefusals tries targets that are refused before anything is read of the store.
func TestRefusals(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 10))
	replace := restore.FileOptions{Replace: true, Hold: hold}
	for _, c := range []struct {
		name string
		make func(dir string) error // what is there; the target is x/app.db in it
		opts restore.FileOptions
		want error
	}{
		{"a file", create("x/app.db"), restore.FileOptions{}, restore.ErrExists},
		{"an empty file", func(dir string) error { return os.WriteFile(filepath.Join(dir, "x/app.db"), nil, 0o600) }, restore.FileOptions{}, restore.ErrExists},
		{"a -wal alone", create("x/app.db-wal"), restore.FileOptions{}, restore.ErrExists},
		{"a -journal alone", create("x/app.db-journal"), restore.FileOptions{}, restore.ErrExists},
		{"a -shm alone", create("x/app.db-shm"), restore.FileOptions{}, restore.ErrExists},
		{"a directory", mkdir("x/app.db"), restore.FileOptions{}, restore.ErrNotFile},
		{"a directory to replace", mkdir("x/app.db"), replace, restore.ErrNotFile},
		{"a pipe to replace", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "x/app.db"), 0o600) }, replace, restore.ErrNotFile},
		{"a link to a directory", link("..", "x/app.db"), replace, restore.ErrNotFile},
		{"a link to a file", func(dir string) error {
			return errors.Join(create("real.db")(dir), link("../real.db", "x/app.db")(dir))
		}, restore.FileOptions{}, restore.ErrExists},
		{"a link to nothing", link("../missing.db", "x/app.db"), replace, fs.ErrNotExist},
		{"a link to itself", link("app.db", "x/app.db"), replace, nil},
		{"no directory", func(dir string) error { return os.Remove(filepath.Join(dir, "x")) }, replace, fs.ErrNotExist},
		{"a file as the directory", func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "x")), create("x")(dir))
		}, restore.FileOptions{}, syscall.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(mkdir("x")(dir), c.make(dir)); err != nil {
				t.Fatal(err)
			}
			before := treeOf(t, dir)
			st := storetest.Fault(p.st)
			_, err := restore.File(t.Context(), st, p.snap, filepath.Join(dir, "x", "app.db"), c.opts)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), "app.db") {
				t.Errorf("the error names no path: %v", err)
			}
			if after := treeOf(t, dir); after != before {
				t.Errorf("before:\n%safter:\n%s", before, after)
			}
			if calls := st.Calls(); len(calls) > 0 {
				t.Errorf("the store was asked: %v", calls)
			}
		})
	}
}

func create(name string) func(string) error {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte("something"), 0o600) }
}

func mkdir(name string) func(string) error {
	return func(dir string) error { return os.Mkdir(filepath.Join(dir, name), 0o700) }
}

func link(to, name string) func(string) error {
	return func(dir string) error { return os.Symlink(to, filepath.Join(dir, name)) }
}

// treeOf describes everything below dir.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(e.Type().String() + " " + strings.TrimPrefix(path, dir) + " ")
		if e.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.Write(data)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// checkNoPagesFetched checks that a restore has asked for no more than it takes to know how large
// the database is.
func checkNoPagesFetched(t *testing.T, st *storetest.Faulty) {
	t.Helper()
	// The end, the header, the page table.
	if calls := st.Calls(); len(calls) > 3 {
		t.Errorf("the store was asked: %v", calls)
	}
}

// TestNoRoom restores to a disk that is too small.
func TestNoRoom(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 1000))
	dir := mount(t, false, "size=2m")
	st := storetest.Fault(p.st)
	_, err := restore.File(t.Context(), st, p.snap, filepath.Join(dir, "app.db"), restore.FileOptions{})
	space, ok := errors.AsType[*restore.SpaceError](err)
	if !ok || space.Dir != dir || space.Need != int64(len(p.data)) || space.Free > 2<<20 {
		t.Errorf("got %v", err)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("it is not an ENOSPC: %v", err)
	}
	checkNoPagesFetched(t, st)
	checkNames(t, dir)
}

// TestRoomTaken restores to a disk whose room somebody else takes meanwhile.
func TestRoomTaken(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 1000))
	dir := mount(t, false, "size=6m")
	st := &cancelAt{Store: p.st, read: 3, cancel: func() { writeFile(t, filepath.Join(dir, "other"), make([]byte, 5<<20)) }}
	_, err := restore.File(t.Context(), st, p.snap, filepath.Join(dir, "app.db"), restore.FileOptions{Options: restore.Options{Concurrency: 1}})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	checkNames(t, dir, "other")
}

// TestReadOnly restores to a directory where nothing can be written.
func TestReadOnly(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 10))
	dir, want := t.TempDir(), error(fs.ErrPermission)
	if os.Geteuid() == 0 { // whom permissions do not stop
		dir, want = mount(t, true, ""), syscall.EROFS
	} else if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	st := storetest.Fault(p.st)
	if _, err := restore.File(t.Context(), st, p.snap, filepath.Join(dir, "app.db"), restore.FileOptions{}); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	checkNoPagesFetched(t, st)
}

// TestInUse refuses to replace a database that a process has open.
func TestInUse(t *testing.T) {
	p, want := pushDatabase(t)
	for _, mode := range []string{"WAL", "DELETE"} {
		for _, doing := range []string{"nothing", "reading", "writing"} {
			t.Run(mode+" "+doing, func(t *testing.T) {
				if doing == "nothing" && runtime.GOOS != "linux" {
					t.Skip("only /proc shows who has a file open")
				}
				dir := t.TempDir()
				path := filepath.Join(dir, "app.db")
				sql := "PRAGMA journal_mode=" + mode + ";" + rows("old", 10)
				switch doing {
				case "reading":
					sql += "BEGIN; SELECT * FROM t;"
				case "writing":
					sql += "BEGIN IMMEDIATE; INSERT INTO t(v) VALUES('not committed');"
				}
				s := startShell(t, path, sql)
				opts := restore.FileOptions{Replace: true, Hold: hold}
				before := namesIn(t, dir)
				if _, err := restore.File(t.Context(), p.st, p.snap, path, opts); !errors.Is(err, snapshot.ErrInUse) {
					t.Fatalf("got %v, want %v", err, snapshot.ErrInUse)
				}
				checkNames(t, dir, before...)
				killShell(t, s)
				r, err := restore.File(t.Context(), p.st, p.snap, path, opts)
				if err != nil {
					t.Fatal(err)
				}
				if got := contents(path); got != want {
					t.Error(got)
				}
				if got := contents(r.Kept); got != "ok\nold|10|55\n" {
					t.Errorf("kept: %s", got)
				}
			})
		}
	}
}

// TestOpenedLate opens the old database when it is held already, and waits for the lock.
func TestOpenedLate(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only /proc shows who has a file open")
	}
	p, _ := pushDatabase(t)
	for _, discard := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "app.db")
		shell(t, path, rows("old", 10))
		opts := restore.FileOptions{Replace: true, DiscardOld: discard, Hold: func(ctx context.Context, path string) (restore.Held, error) {
			h, err := hold(ctx, path)
			if err == nil {
				startShell(t, path, "SELECT 1;") // it opens the file and takes no lock
			}
			return h, err
		}}
		if _, err := restore.File(t.Context(), p.st, p.snap, path, opts); !errors.Is(err, snapshot.ErrInUse) {
			t.Errorf("got %v, want %v", err, snapshot.ErrInUse)
		}
		checkNames(t, dir, "app.db")
		if got := contents(path); got != "ok\nold|10|55\n" {
			t.Error(got)
		}
	}
}

// inCheck restores with something happening while the database is checked.
func inCheck(t *testing.T, p *pushed, path string, opts restore.FileOptions, happens func() error) error {
	t.Helper()
	opts.Check = func(context.Context, string) error { return happens() }
	_, err := restore.File(t.Context(), p.st, p.snap, path, opts)
	return err
}

// TestMeanwhile lets something happen to the target after it was looked at.
func TestMeanwhile(t *testing.T) {
	p, _ := pushDatabase(t)
	replace := restore.FileOptions{Replace: true, Hold: hold}
	t.Run("made", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "app.db")
		for _, opts := range []restore.FileOptions{{}, replace} {
			if err := inCheck(t, p, path, opts, func() error { return os.WriteFile(path, []byte("theirs"), 0o600) }); !errors.Is(err, restore.ErrExists) {
				t.Errorf("got %v", err)
			}
			checkNames(t, dir, "app.db")
			checkFile(t, path, []byte("theirs"))
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("replaced", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "app.db")
		shell(t, path, rows("old", 10))
		err := inCheck(t, p, path, replace, func() error {
			shell(t, path+"2", rows("theirs", 10))
			return os.Rename(path+"2", path)
		})
		if !errors.Is(err, restore.ErrInUse) {
			t.Errorf("got %v", err)
		}
		checkNames(t, dir, "app.db")
		if got := contents(path); got != "ok\ntheirs|10|55\n" {
			t.Error(got)
		}
	})
	t.Run("removed", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "app.db")
		shell(t, path, rows("old", 10))
		if err := inCheck(t, p, path, replace, func() error { return os.Remove(path) }); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		checkNames(t, dir)
	})
	t.Run("cancelled", func(t *testing.T) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		opts := restore.FileOptions{Options: restore.Options{Check: func(context.Context, string) error { cancel(); return nil }}}
		if _, err := restore.File(ctx, p.st, p.snap, filepath.Join(dir, "app.db"), opts); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		checkNames(t, dir)
	})
}

// TestReplaceNeedsHold checks that nothing is replaced that was not held.
func TestReplaceNeedsHold(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 10))
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	writeFile(t, path, []byte("old"))
	if _, err := restore.File(t.Context(), p.st, p.snap, path, restore.FileOptions{Replace: true}); !errors.Is(err, restore.ErrExists) {
		t.Errorf("got %v", err)
	}
	checkNames(t, dir, "app.db")
	checkFile(t, path, []byte("old"))
}

// TestSymlink restores through symbolic links, which stay.
func TestSymlink(t *testing.T) {
	p, want := pushDatabase(t)
	dir := t.TempDir()
	if err := errors.Join(mkdir("data")(dir), link("data", "here")(dir), link("data/real.db", "app.db")(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := restore.File(t.Context(), p.st, p.snap, filepath.Join(dir, "here", "real.db"), restore.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	checkNames(t, filepath.Join(dir, "data"), "real.db")
	path := filepath.Join(dir, "app.db")
	r, err := restore.File(t.Context(), p.st, p.snap, path, restore.FileOptions{Replace: true, Hold: hold})
	if err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(path); err != nil || to != "data/real.db" {
		t.Errorf("the link leads to %q (%v)", to, err)
	}
	checkNames(t, filepath.Join(dir, "data"), "real.db", filepath.Base(r.Kept))
	for _, path := range []string{path, r.Kept} {
		if got := contents(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// TestMode checks whom a restored database belongs to and who may use it.
func TestMode(t *testing.T) {
	p, _ := pushDatabase(t)
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	for _, noLinks := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "app.db")
		if _, err := restore.File(t.Context(), p.st, p.snap, path, restore.FileOptions{}); err != nil {
			t.Fatal(err)
		}
		checkMode(t, path, 0o640, os.Geteuid())
		uid := os.Geteuid()
		if uid == 0 {
			uid = 65534
		}
		if err := errors.Join(os.Chmod(path, 0o604), os.Chown(path, uid, -1)); err != nil {
			t.Fatal(err)
		}
		opts := restore.FileOptions{Replace: true, Hold: hold}
		d := newDisk(t, dir)
		d.noLinks = noLinks
		opts.On(d)
		r, err := restore.File(t.Context(), p.st, p.snap, path, opts)
		if err != nil {
			t.Fatal(err)
		}
		checkMode(t, path, 0o604, uid)
		checkMode(t, r.Kept, 0o604, uid)
	}
}

func checkMode(t *testing.T, path string, mode fs.FileMode, uid int) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := int(info.Sys().(*syscall.Stat_t).Uid); info.Mode() != mode || got != uid {
		t.Errorf("%s has mode %v and owner %d, want %v and %d", filepath.Base(path), info.Mode(), got, mode, uid)
	}
}

// TestRelative restores to a relative path.
func TestRelative(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 10))
	dir := t.TempDir()
	t.Chdir(dir)
	if _, err := restore.File(t.Context(), p.st, p.snap, "app.db", restore.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	checkFile(t, filepath.Join(dir, "app.db"), p.data)
	var out bytes.Buffer
	if _, err := restore.Stream(t.Context(), p.st, p.snap, &out, restore.Options{TempDir: "."}); err != nil || !bytes.Equal(out.Bytes(), p.data) {
		t.Errorf("stream: %v", err)
	}
	checkNames(t, dir, "app.db")
}

// TestPlacedMeanwhile lets an application make a database at the target while one is being restored
// to it. Its side files are in use: they must stay where they are.
func TestPlacedMeanwhile(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 10))
	for _, replace := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "app.db")
		opts := restore.FileOptions{Replace: replace, Hold: hold}
		opts.Check = func(context.Context, string) error {
			return errors.Join(os.WriteFile(path, []byte("theirs"), 0o600), os.WriteFile(path+"-wal", []byte("committed"), 0o600))
		}
		if _, err := restore.File(t.Context(), p.st, p.snap, path, opts); !errors.Is(err, restore.ErrExists) {
			t.Errorf("replace %v: %v", replace, err)
		}
		for name, want := range map[string]string{path: "theirs", path + "-wal": "committed"} {
			if got, err := os.ReadFile(name); err != nil || string(got) != want {
				t.Errorf("replace %v: %s holds %q, %v", replace, name, got, err)
			}
		}
	}
}
