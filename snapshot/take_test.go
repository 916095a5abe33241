package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/progress"
)

const fill = "CREATE TABLE t(a, b); CREATE INDEX i ON t(a); INSERT INTO t SELECT value, randomblob(300) FROM generate_series(1, 3000);"

// TestIdle takes databases of every kind while nobody has them open. The image must be the file.
func TestIdle(t *testing.T) {
	for _, c := range []struct{ name, file, sql string }{
		{"wal", "app.db", "PRAGMA journal_mode=wal;" + fill},
		{"delete", "app.db", "PRAGMA journal_mode=delete;" + fill},
		{"truncate", "app.db", "PRAGMA journal_mode=truncate;" + fill},
		{"persist", "app.db", "PRAGMA journal_mode=persist;" + fill},
		{"memory", "app.db", "PRAGMA journal_mode=memory;" + fill},
		{"off", "app.db", "PRAGMA journal_mode=off;" + fill},
		{"page size 512", "app.db", "PRAGMA page_size=512;" + fill},
		{"page size 1024", "app.db", "PRAGMA page_size=1024; PRAGMA journal_mode=wal;" + fill},
		{"page size 65536", "app.db", "PRAGMA page_size=65536;" + fill},
		{"page size 65536 wal", "app.db", "PRAGMA page_size=65536; PRAGMA journal_mode=wal;" + fill},
		{"auto-vacuum", "app.db", "PRAGMA auto_vacuum=full;" + fill + "DELETE FROM t WHERE a%2"},
		{"incremental vacuum", "app.db", "PRAGMA auto_vacuum=incremental;" + fill + "DELETE FROM t WHERE a%2"},
		{"free pages", "app.db", fill + "DELETE FROM t WHERE a>10"},
		{"reserved 8", "app.db", ".filectrl reserve_bytes 8\nVACUUM;" + fill},
		{"reserved 13", "app.db", ".filectrl reserve_bytes 13\nVACUUM;" + fill},
		{"one page", "app.db", "PRAGMA user_version=7"},
		{"utf-16", "app.db", "PRAGMA encoding='UTF-16';" + fill},
		{"space", "my app.db", fill},
		{"quotes", `"a'b".db`, fill},
		{"uri", "a?b=c&d#e%41;f.db", fill},
		{"uri wal", "file:a?vfs=x#e%41.db", "PRAGMA journal_mode=wal;" + fill},
		{"utf-8", "größe-数据.db", fill},
		{"not utf-8", "a\xff\xfeb.db", fill},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), c.file)
			cmd := exec.Command("sqlite3", "-bail", "-cmd", "PRAGMA synchronous=off", path)
			cmd.Stdin = strings.NewReader(c.sql + ";\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			salt := format.NewSalt()
			m := take(t, path, Options{Salt: salt})
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := content(t, m); !bytes.Equal(plain(got), plain(file)) {
				t.Errorf("the image differs from the file")
			}
			if again := take(t, path, Options{Salt: salt}); again.Root() != m.Root() {
				t.Errorf("the roots of two images of an idle database are %v and %v", m.Root(), again.Root())
			}
			if got, want := m.Stats().WAL, strings.Contains(c.sql, "=wal"); got != want {
				t.Errorf("in WAL mode: %v, want %v", got, want)
			}
			if got := run(t, write(t, m), "PRAGMA integrity_check"); got != "ok" {
				t.Errorf("integrity_check: %s", got)
			}
		})
	}
}

func TestEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := take(t, path, Options{})
	if m.PageSize() != 0 || m.Pages() != 0 || m.Size() != 0 {
		t.Errorf("page size %d, %d pages, %d bytes, want 0 of each", m.PageSize(), m.Pages(), m.Size())
	}
	if m.Taken().IsZero() {
		t.Error("no time")
	}

	// What there is of it is in the WAL: SQLite would delete that, we must not.
	other := filepath.Join(t.TempDir(), "other.db")
	s := startShell(t, other, 0)
	s.do(t, "PRAGMA journal_mode=wal; CREATE TABLE t(a)")
	s.Kill()
	if err := os.Truncate(other, 0); err != nil {
		t.Fatal(err)
	}
	before := prints(t, other)
	_, err := Take(t.Context(), other, Options{})
	if !errors.Is(err, errTruncated) {
		t.Errorf("a WAL without its database: %v", err)
	}
	if after := prints(t, other); before != after {
		t.Errorf("the source was changed: before\n%safter\n%s", before, after)
	}
}

func TestSymlink(t *testing.T) {
	dir, links := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "app.db")
	s := startShell(t, path, 0)
	s.do(t, "PRAGMA journal_mode=wal;"+fill)
	if err := os.Symlink(path, filepath.Join(links, "one")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("one", filepath.Join(links, "two")); err != nil {
		t.Fatal(err)
	}
	m := take(t, filepath.Join(links, "two"), Options{})
	if got := run(t, write(t, m), "SELECT count(*) FROM t"); got != "3000" {
		t.Errorf("through a link %s rows were found", got)
	}
	if got := names(t, links); len(got) != 2 {
		t.Errorf("side files beside the link: %q", got)
	}
}

// TestWAL takes databases whose rows are in the WAL.
func TestWAL(t *testing.T) {
	const setup = "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(truncate); INSERT INTO t VALUES(2)"
	count := func(t *testing.T, m *Image) {
		t.Helper()
		if got := run(t, write(t, m), "SELECT group_concat(a) FROM t; PRAGMA integrity_check"); got != "1,2\nok" {
			t.Errorf("the image has %q", got)
		}
	}
	t.Run("open", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "app.db")
		s := startShell(t, path, 0)
		s.do(t, setup)
		m := take(t, path, Options{})
		count(t, m)
		if st := m.Stats(); !st.WAL || st.WALBefore == 0 || st.WALAfter != st.WALBefore || st.Held <= 0 || st.Restarts != 0 {
			t.Errorf("stats %+v", st)
		}
		s.do(t, "INSERT INTO t VALUES(3)")
	})
	t.Run("crashed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "app.db")
		s := startShell(t, path, 0)
		s.do(t, setup)
		s.Kill()
		count(t, take(t, path, Options{}))
	})
	t.Run("without shm", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "app.db")
		s := startShell(t, path, 0)
		s.do(t, setup)
		s.Kill()
		if err := os.Remove(path + "-shm"); err != nil {
			t.Fatal(err)
		}
		count(t, take(t, path, Options{}))
		if got := names(t, filepath.Dir(path)); len(got) != 2 {
			t.Errorf("afterwards there are %q", got)
		}
	})
	t.Run("without wal", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "app.db")
		s := startShell(t, path, 0)
		s.do(t, setup+"; PRAGMA wal_checkpoint(truncate)")
		s.Kill()
		if err := os.Remove(path + "-wal"); err != nil {
			t.Fatal(err)
		}
		count(t, take(t, path, Options{}))
	})
	t.Run("torn", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "app.db")
		s := startShell(t, path, 0)
		s.do(t, setup+"; INSERT INTO t VALUES(3)")
		s.Kill()
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		for _, shm := range []bool{true, false} { // a crash of the machine leaves neither a whole WAL nor a -shm
			if err := os.Truncate(path+"-wal", info.Size()-100); err != nil {
				t.Fatal(err)
			}
			if !shm {
				if err := os.Remove(path + "-shm"); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Truncate(path+"-shm", 0); err != nil {
				t.Fatal(err)
			}
			count(t, take(t, path, Options{}))
		}
	})
}

// TestOpenedBetween opens the database, as another process, after Take has decided that nobody
// has it open. What that process does must not get into the image by halves.
func TestOpenedBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA journal_mode=wal;"+fill)
	src, err := openSource(t.Context(), path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	if src.access != private {
		t.Fatalf("access %d, want private", src.access)
	}
	if err := src.confirm(); err != nil {
		t.Errorf("nobody has opened it, but: %v", err)
	}
	run(t, path, "DELETE FROM t") // checkpoints when it closes
	if err := src.confirm(); !errors.Is(err, errChanged) {
		t.Errorf("confirm says %v", err)
	}
}

// TestTruncatedBetween empties a WAL that is being read as that of a database which nobody has open.
// SQLite fails then to read what its index promises, which is no damage.
func TestTruncatedBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	s := startShell(t, path, 0)
	s.do(t, `PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0;
		CREATE TABLE t(a); INSERT INTO t SELECT randomblob(4000) FROM generate_series(1, 10000)`)
	s.Kill()
	if err := os.Remove(path + "-shm"); err != nil {
		t.Fatal(err)
	}
	c := &committer{commit: func() {
		out, err := exec.Command("sqlite3", path, "PRAGMA wal_checkpoint(truncate)").CombinedOutput()
		if err != nil || string(out) != "0|0|0\n" {
			t.Errorf("the checkpoint says %q, %v", out, err)
		}
	}}
	m, err := Take(t.Context(), path, Options{TempDir: t.TempDir(), Base: c})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Stats().Restarts == 0 {
		t.Error("it did not begin again")
	}
	if got := run(t, write(t, m), "SELECT count(*) FROM t; PRAGMA integrity_check"); got != "10000\nok" {
		t.Errorf("the image has %q", got)
	}
}

func TestChecksums(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	conn, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.EnableChecksums("main"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec("PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(9000)); PRAGMA wal_checkpoint; INSERT INTO t VALUES(randomblob(9000))"); err != nil {
		t.Fatal(err)
	}
	file := write(t, take(t, path, Options{}))
	image, err := sqlite3.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if got, err := column(image, "PRAGMA checksum_verification"); err != nil || !slices.Equal(got, []string{"1"}) {
		t.Errorf("checksums are verified: %q, %v", got, err)
	}
	if got, err := column(image, "PRAGMA integrity_check"); err != nil || !slices.Equal(got, []string{"ok"}) {
		t.Errorf("integrity_check: %q, %v", got, err)
	}

	if err := conn.Exec("PRAGMA wal_checkpoint(truncate)"); err != nil {
		t.Fatal(err)
	}
	flip(t, path, 3*4096+50)
	if _, err := Take(t.Context(), path, Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a page whose checksum is wrong: %v", err)
	}
}

// flip changes a byte of a file.
func flip(t testing.TB, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

func TestBadSources(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	run(t, good, fill)
	sound, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 8192)
	for i := range noise {
		noise[i] = byte(i*i*7919>>5) ^ byte(i)
	}
	salt := format.NewSalt()
	for i := range noise { // as even as an encrypted page
		h := format.NewPageHasher(salt).Hash([]byte{byte(i), byte(i >> 8)})
		noise[i] = h[0]
	}
	oddSize := slices.Clone(sound)
	oddSize[17] = 3
	for _, c := range []struct {
		name    string
		content []byte
		want    error
	}{
		{"text", []byte("hello, world\n"), ErrNotDatabase},
		{"one byte", []byte("S"), errTruncated},
		{"another byte", []byte("x"), ErrNotDatabase},
		{"noise", noise, ErrNotDatabase},
		{"half a header", sound[:50], errTruncated},
		{"half a page", sound[:700], errTruncated},
		{"half", sound[:len(sound)/2], errTruncated},
		{"one page short", sound[:len(sound)-4096], errTruncated},
		{"odd page size", oddSize, ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			before := prints(t, path)
			_, err := Take(t.Context(), path, Options{})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if e := new(NotDatabaseError); errors.As(err, &e) && e.Encrypted != (c.name == "noise") {
				t.Errorf("%v: encrypted is %v", err, e.Encrypted)
			}
			if after := prints(t, path); before != after {
				t.Errorf("the source was changed: before\n%safter\n%s", before, after)
			}
		})
	}
	if _, err := Take(t.Context(), filepath.Join(t.TempDir(), "none.db"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat(strings.Repeat("x", 200)+"/", 5))
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(long, "app.db"), sound, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(t.Context(), filepath.Join(long, "app.db"), Options{}); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("a path that is too long: %v", err)
	}
	if _, err := Take(t.Context(), t.TempDir(), Options{}); !errors.Is(err, ErrNotFile) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Take(t.Context(), good, Options{TempDir: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no temporary directory: %v", err)
	}
}

func TestHotJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, fill)
	s := startShell(t, path, 0)
	s.do(t, "BEGIN IMMEDIATE; UPDATE t SET b=1 WHERE a=1")
	if m := take(t, path, Options{}); m.Stats().WAL {
		t.Error("the journal of a living writer was taken for WAL mode")
	}
	s.do(t, "PRAGMA cache_size=5; UPDATE t SET b=randomblob(300)")
	s.Kill()
	before := prints(t, path)
	if !strings.Contains(before, "-journal") {
		t.Fatal("there is no journal")
	}
	if _, err := Take(t.Context(), path, Options{}); !errors.Is(err, ErrHotJournal) {
		t.Errorf("got %v, want %v", err, ErrHotJournal)
	}
	if after := prints(t, path); before != after {
		t.Errorf("the source was changed: before\n%safter\n%s", before, after)
	}
}

func TestBusy(t *testing.T) {
	for _, c := range []struct{ name, sql string }{
		{"exclusive transaction", fill + "BEGIN EXCLUSIVE"},
		{"exclusive mode", fill + "PRAGMA locking_mode=exclusive; BEGIN IMMEDIATE; UPDATE t SET b=1; COMMIT"},
		{"exclusive mode wal", "PRAGMA locking_mode=exclusive; PRAGMA journal_mode=wal;" + fill},
		{"exclusive mode after wal", "PRAGMA journal_mode=wal;" + fill + "PRAGMA locking_mode=exclusive; UPDATE t SET b=1 WHERE a=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			s := startShell(t, path, 0)
			s.do(t, c.sql)
			start := time.Now()
			_, err := Take(t.Context(), path, Options{BusyTimeout: 200 * time.Millisecond})
			e := new(BusyError)
			if !errors.As(err, &e) || !errors.Is(err, ErrBusy) {
				t.Fatalf("got %v, want %v", err, ErrBusy)
			}
			if !e.Exclusive || !slices.Equal(e.PIDs, []int{s.PID()}) {
				t.Errorf("%v: exclusive %v, held by %v, want %d", err, e.Exclusive, e.PIDs, s.PID())
			}
			if took := time.Since(start); took < 200*time.Millisecond || took > 3*time.Second {
				t.Errorf("waited %v", took)
			}

			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			start = time.Now()
			if _, err := Take(ctx, path, Options{BusyTimeout: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("cancelled, but ended only after %v", took)
			}
		})
	}
}

// TestCancel cancels in the middle of the copy.
func TestCancel(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			run(t, path, "PRAGMA journal_mode="+mode+"; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(100000000))")
			temp := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var meter progress.Meter
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				for ctx.Err() == nil {
					if done, _ := meter.Read(); done > 0 {
						cancel()
					}
				}
			}()
			_, err := Take(ctx, path, Options{TempDir: temp, Copied: &meter})
			cancel()
			<-watched
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want %v", err, context.Canceled)
			}
			if left := names(t, temp); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			run(t, path, "BEGIN EXCLUSIVE; PRAGMA user_version=1; COMMIT; PRAGMA journal_mode=delete") // nobody may hold a lock
		})
	}
}

// TestRestarts lets commits through until the copy is pinned.
func TestRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(50000000)); CREATE TABLE n(n); INSERT INTO n VALUES(0)")
	s := startShell(t, path, 0)
	src, err := openSource(t.Context(), path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	sp, err := newSpool(&Options{TempDir: t.TempDir(), Salt: format.Salt{}, Logger: Options{}.withDefaults().Logger})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.close()
	tk := &taker{path: path, opts: Options{}.withDefaults(), spool: sp}
	if err := sp.reset(); err != nil {
		t.Fatal(err)
	}
	c, err := tk.newCopier(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if done, err := c.step(t.Context()); done || err != nil {
		t.Fatalf("the first step: %v, %v", done, err)
	}
	s.do(t, "UPDATE n SET n=1")
	if done, err := c.step(t.Context()); done || !errors.Is(err, errRestarted) {
		t.Fatalf("a step after a commit: %v, %v, want %v", done, err, errRestarted)
	}
	// Even if nobody had noticed, the pages that are written again must come out right.
	for done := false; !done; {
		if done, err = c.advance(t.Context(), c.slice); err != nil {
			t.Fatal(err)
		}
	}
	m, err := sp.finish()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	checkImage(t, m)
	if got := run(t, write(t, m), "SELECT n FROM n; PRAGMA integrity_check"); got != "1\nok" {
		t.Errorf("the image has %q", got)
	}
}

// TestConverted takes snapshots while the database changes between its journal modes, is closed and
// opened, so that its side files come and go.
func TestConverted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "CREATE TABLE a(v); INSERT INTO a VALUES(1000); CREATE TABLE b(v, pad); INSERT INTO b VALUES(0, zeroblob(2000000))")
	stop := make(chan struct{})
	changes := make(chan int)
	go func() {
		n := 0
		defer func() { changes <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			mode := []string{"wal", "delete", "wal"}[n%3]
			cmd := exec.Command("sqlite3", "-cmd", ".timeout 10000", path, "PRAGMA journal_mode="+mode+"; BEGIN IMMEDIATE; UPDATE a SET v=v-1; UPDATE b SET v=v+1; COMMIT")
			if out, err := cmd.CombinedOutput(); err != nil && !bytes.Contains(out, []byte("locked")) {
				t.Errorf("%v\n%s", err, out)
			}
			n++
		}
	}()
	restarts, snapshots := 0, 40
	if testing.Short() {
		snapshots = 10
	}
	var images []string
	for n := range snapshots {
		m, err := Take(t.Context(), path, Options{TempDir: t.TempDir()})
		if err != nil {
			t.Errorf("snapshot %d: %v", n, err)
			continue
		}
		images = append(images, write(t, m))
		restarts += m.Stats().Restarts
		m.Close()
	}
	close(stop)
	t.Logf("%d restarts, %d changes", restarts, <-changes)
	for n, image := range images {
		if got := run(t, image, "PRAGMA integrity_check; SELECT (SELECT v FROM a) + (SELECT v FROM b)"); got != "ok\n1000" {
			t.Errorf("snapshot %d has %q", n, got)
		}
	}
}

// TestReplaced takes snapshots while others are renamed to the database's path, with WALs of
// their own.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	create := func(name string, n int) {
		s := startShell(t, name, 0)
		s.do(t, fmt.Sprintf("PRAGMA journal_mode=wal; CREATE TABLE t(a, pad); INSERT INTO t VALUES(%d, zeroblob(300000))", n))
		s.End()
	}
	create(path, 0)
	src, err := openSource(t.Context(), path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	next := filepath.Join(dir, "next.db")
	create(next, 1)
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	if err := src.confirm(); !errors.Is(err, errChanged) {
		t.Errorf("another file is at the path: %v", err)
	}
	m := take(t, path, Options{})
	if got := run(t, write(t, m), "SELECT a FROM t"); got != "1" {
		t.Errorf("the image has %q", got)
	}
}

// TestTogether takes several snapshots of one database at once.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	s := startShell(t, path, 0)
	s.do(t, "PRAGMA journal_mode=wal;"+fill)
	roots := make(chan format.Root)
	for range 4 {
		go func() {
			m, err := Take(t.Context(), path, Options{TempDir: t.TempDir()})
			if err != nil {
				t.Error(err)
				roots <- format.Root{}
				return
			}
			defer m.Close()
			roots <- m.Root()
		}()
	}
	first := <-roots
	for range 3 {
		if root := <-roots; root != first {
			t.Errorf("roots %v and %v", first, root)
		}
	}
}

func TestOverstayed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(50000000))")
	m := take(t, path, Options{MaxStall: time.Nanosecond, MaxRestarts: -1})
	if st := m.Stats(); !st.Overstayed || st.Held < time.Nanosecond || st.Pinned || st.Restarts != 0 {
		t.Errorf("stats %+v", st)
	}
	m = take(t, path, Options{MaxStall: time.Minute, MaxRestarts: -1})
	if st := m.Stats(); st.Overstayed || !st.Pinned {
		t.Errorf("stats %+v", st)
	}
}

func TestReadHashes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA page_size=512; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(4000000))")
	m := take(t, path, Options{})
	all := make([]format.PageHash, m.Pages())
	if err := m.ReadHashes(1, all); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		first uint32
		n     int
		ok    bool
	}{
		{1, 0, true}, {1, 1, true}, {2, 5, true}, {m.Pages(), 1, true}, {100, 4097, true},
		{0, 1, false}, {m.Pages(), 2, false}, {m.Pages() + 1, 1, false}, {1<<32 - 1, 2, false},
	} {
		got := make([]format.PageHash, c.n)
		err := m.ReadHashes(c.first, got)
		if (err == nil) != c.ok {
			t.Errorf("%d hashes from %d on: %v", c.n, c.first, err)
		}
		if c.ok && !slices.Equal(got, all[c.first-1:][:c.n]) {
			t.Errorf("%d hashes from %d on are others than alone", c.n, c.first)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func ExampleTake() {
	dir, err := os.MkdirTemp("", "example-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app.db")
	db, err := sqlite3.Open(path) // stands for an application that stays connected
	if err != nil {
		panic(err)
	}
	defer db.Close()
	if err := db.Exec("PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES('hello')"); err != nil {
		panic(err)
	}

	m, err := Take(context.Background(), path, Options{})
	if err != nil {
		panic(err)
	}
	defer m.Close()
	fmt.Println(m.Pages(), "pages of", m.PageSize(), "bytes")
	// Output: 2 pages of 4096 bytes
}

// A committer is a base that has nothing, and on the way commits once.
type committer struct {
	commit func()
	once   sync.Once
}

func (c *committer) Same(_ uint32, _ []format.PageHash, same []bool) error {
	clear(same)
	c.once.Do(c.commit) // whoever else comes waits
	return nil
}

func (c *committer) Since() (string, uint32) { return "", 0 }

func (c *committer) Newest(uint32, []format.PageHash, []bool) error {
	return errors.New("nothing is known")
}
