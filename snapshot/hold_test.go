package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litestash/litestash/internal/durable"
)

const walSetup = "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(truncate); INSERT INTO t VALUES(2)"

// crash leaves a database at path of which two rows of t are committed, with side files that are
// needed for that.
func crash(t testing.TB, path, mode string, uid uint32) {
	t.Helper()
	s := startShell(t, path, uid)
	switch mode {
	case "wal":
		s.do(t, walSetup)
	case "delete":
		s.do(t, "PRAGMA journal_mode=delete; CREATE TABLE t(a); INSERT INTO t VALUES(1),(2); CREATE TABLE u(a); INSERT INTO u SELECT randomblob(300) FROM generate_series(1, 1000)")
		s.do(t, "PRAGMA cache_size=5; BEGIN; DELETE FROM t; UPDATE u SET a=randomblob(300)")
	}
	s.Kill()
	if got := names(t, filepath.Dir(path)); len(got) < 2 {
		t.Fatalf("there are only %q", got)
	}
}

// rows returns the rows of t and whether the database is sound.
func rows(t testing.TB, path string) string {
	t.Helper()
	return run(t, path, "SELECT group_concat(a) FROM (SELECT a FROM t ORDER BY a); PRAGMA integrity_check")
}

// TestHold holds crashed databases, of this user and of another.
func TestHold(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		for _, uid := range []uint32{0, nobody} {
			t.Run(fmt.Sprint(mode, uid), func(t *testing.T) {
				dir := t.TempDir()
				if uid != 0 {
					needRoot(t)
					dir = openDir(t, int(uid))
				}
				path := filepath.Join(dir, "app.db")
				crash(t, path, mode, uid)
				link := filepath.Join(t.TempDir(), "link")
				if err := os.Symlink(path, link); err != nil {
					t.Fatal(err)
				}
				h, err := Hold(t.Context(), link)
				if err != nil {
					t.Fatal(err)
				}
				defer h.Release()
				if h.Path() != path || h.Damage() != nil || len(h.SideFiles()) != 0 {
					t.Errorf("path %s, damage %v, side files %q", h.Path(), h.Damage(), h.SideFiles())
				}
				if got := names(t, dir); !slices.Equal(got, []string{"app.db"}) {
					t.Errorf("in its directory are %q", got)
				}
				if out, err := exec.Command("sqlite3", path, "SELECT * FROM t").CombinedOutput(); err == nil {
					t.Errorf("a held database could be read: %s", out)
				}
				// The one file is the whole database.
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				kept := filepath.Join(t.TempDir(), "kept.db")
				if err := os.WriteFile(kept, file, 0o600); err != nil {
					t.Fatal(err)
				}
				if got := rows(t, kept); got != "1,2\nok" {
					t.Errorf("the held file has %q", got)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Sys().(*syscall.Stat_t).Uid; uid != 0 && got != uid {
					t.Errorf("it belongs to %d", got)
				}
				if err := h.Release(); err != nil {
					t.Error(err)
				}
				if err := h.Release(); err != nil {
					t.Errorf("released again: %v", err)
				}
				s := startShell(t, path, uid)
				if got := s.do(t, "INSERT INTO t VALUES(3); SELECT count(*) FROM t"); got != "3" {
					t.Errorf("released, it has %s rows", got)
				}
			})
		}
	}
}

func TestHoldInUse(t *testing.T) {
	for _, c := range []struct{ name, setup, then string }{
		{"wal", walSetup, "SELECT 1"},
		{"wal reading", walSetup, "BEGIN; SELECT * FROM t"},
		{"wal exclusive", "PRAGMA locking_mode=exclusive;" + walSetup, "SELECT 1"},
		{"delete", "CREATE TABLE t(a)", "SELECT 1"}, // holds no lock
		{"delete reading", "CREATE TABLE t(a); INSERT INTO t VALUES(1)", "BEGIN; SELECT * FROM t"},
		{"delete writing", "CREATE TABLE t(a)", "BEGIN IMMEDIATE"},
		{"delete committing", "CREATE TABLE t(a)", "BEGIN EXCLUSIVE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			s := startShell(t, path, 0)
			s.do(t, c.setup)
			s.do(t, c.then)
			before := prints(t, path)
			_, err := Hold(t.Context(), path)
			e := new(InUseError)
			if !errors.As(err, &e) || !errors.Is(err, ErrInUse) || !slices.Equal(e.PIDs, []int{s.PID()}) {
				t.Errorf("got %v, want %d", err, s.PID())
			}
			if after := prints(t, path); before != after {
				t.Errorf("the database was changed: before\n%safter\n%s", before, after)
			}
			s.End()
			h, err := Hold(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Release()
			if err := h.Confirm(); err != nil {
				t.Error(err)
			}
			late := exec.Command("sleep", "60")
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			late.Stdin = f
			if err := late.Start(); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if err := h.Confirm(); !errors.Is(err, ErrInUse) {
				t.Errorf("opened since: %v", err)
			}
			late.Process.Kill()
			late.Wait()
		})
	}
}

// TestReleaseAfterRename replaces a database, lets another process use the new one, and releases
// the old one.
func TestReleaseAfterRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	crash(t, path, "wal", 0)
	next := filepath.Join(dir, "next.db")
	run(t, next, "PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(7)")
	h, err := Hold(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	if err := os.Link(path, path+".replaced"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	s := startShell(t, path, 0)
	s.do(t, "PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES(8)")
	before := prints(t, path)
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
	if after := prints(t, path); before != after {
		t.Errorf("the new database was changed: before\n%safter\n%s", before, after)
	}
	s.do(t, "INSERT INTO t VALUES(9)")
	s.End()
	if got := rows(t, path); got != "7,8,9\nok" {
		t.Errorf("the new database has %q", got)
	}
	if got := rows(t, path+".replaced"); got != "1,2\nok" {
		t.Errorf("the old database has %q", got)
	}
}

// TestHoldDamaged holds what SQLite cannot open. Nothing of it may be lost.
func TestHoldDamaged(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(path string) error
		want error
	}{
		{"garbage", func(path string) error { return os.WriteFile(path, []byte("garbage"), 0o600) }, ErrNotDatabase},
		{"empty", func(path string) error { return os.Truncate(path, 0) }, errTruncated},
		{"no root page", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 40), 16)
			return err
		}, ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			crash(t, path, "wal", 0)
			if err := c.harm(path); err != nil {
				t.Fatal(err)
			}
			before := prints(t, path)
			h, err := Hold(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Release()
			if !errors.Is(h.Damage(), c.want) {
				t.Errorf("damage %v, want %v", h.Damage(), c.want)
			}
			if want := []string{path + "-wal", path + "-shm"}; !slices.Equal(h.SideFiles(), want) {
				t.Errorf("side files %q, want %q", h.SideFiles(), want)
			}
			if after := prints(t, path); before != after {
				t.Errorf("the database was changed: before\n%safter\n%s", before, after)
			}
		})
	}
	if _, err := Hold(t.Context(), filepath.Join(t.TempDir(), "none.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Hold(t.Context(), t.TempDir()); !errors.Is(err, ErrNotFile) {
		t.Errorf("a directory: %v", err)
	}
}

// TestReplacer is not a test, and does nothing when run as one: it is the process that
// TestHoldKilled kills.
func TestReplacer(t *testing.T) {
	path := os.Getenv("LITESTASH_TEST_REPLACE")
	if path == "" {
		return
	}
	fmt.Println("started")
	h, err := Hold(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, path+".replaced"); err != nil {
		t.Fatal(err)
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := h.Confirm(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
}

// TestHoldKilled kills a replacement at random moments: after it, the database must be the old one
// or the new one.
func TestHoldKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rounds := 40
	if testing.Short() {
		rounds = 6
	}
	outcomes := map[string]int{}
	var whole time.Duration // how long a replacement takes, from the one that is let alone
	for round := range rounds {
		mode := []string{"wal", "delete"}[round%2]
		dir := t.TempDir()
		path := filepath.Join(dir, "app.db")
		crash(t, path, mode, 0)
		run(t, path+".new", "PRAGMA journal_mode="+mode+"; CREATE TABLE t(a); INSERT INTO t VALUES(7)")
		cmd := exec.Command(exe, "-test.run=^TestReplacer$")
		cmd.Env = append(os.Environ(), "LITESTASH_TEST_REPLACE="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil { // until it has started
			t.Fatal(err)
		}
		start := time.Now()
		if round > 0 {
			time.AfterFunc(rand.N(whole), func() { cmd.Process.Kill() })
		}
		cmd.Wait()
		if round == 0 {
			whole = time.Since(start)
		}
		got := rows(t, path)
		outcomes[got]++
		if got != "1,2\nok" && got != "7\nok" {
			t.Errorf("%s: after a kill the database has %q, with %q", mode, got, names(t, dir))
		}
		if strings.HasPrefix(got, "7") {
			if kept := rows(t, path+".replaced"); kept != "1,2\nok" {
				t.Errorf("%s: the old database was kept as %q", mode, kept)
			}
		}
	}
	t.Logf("%v", outcomes)
}

// TestHoldTorn holds databases whose first page was torn by a crash, and is whole in a side file.
func TestHoldTorn(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			s := startShell(t, path, 0)
			switch mode {
			case "wal": // the table of the second statement is in page 1 too
				s.do(t, "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a); PRAGMA wal_checkpoint(truncate); CREATE TABLE u(a); INSERT INTO t VALUES(1),(2)")
			case "delete": // the journal has page 1 as it was
				s.do(t, "PRAGMA journal_mode=delete; CREATE TABLE t(a); INSERT INTO t VALUES(1),(2); CREATE TABLE u(a); INSERT INTO u SELECT randomblob(300) FROM generate_series(1, 1000)")
				s.do(t, "PRAGMA cache_size=5; BEGIN; CREATE TABLE v(a); DELETE FROM t; UPDATE u SET a=randomblob(300)")
			}
			s.Kill()
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, 512), 0); err != nil {
				t.Fatal(err)
			}
			f.Close()

			h, err := Hold(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if h.Damage() != nil {
				t.Errorf("damage: %v", h.Damage())
			}
			if err := h.Release(); err != nil {
				t.Fatal(err)
			}
			if got := names(t, filepath.Dir(path)); len(got) != 1 {
				t.Errorf("there are %q", got)
			}
			if got := rows(t, path); got != "1,2\nok" {
				t.Errorf("it holds %q", got)
			}
		})
	}
}
