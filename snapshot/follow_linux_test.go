package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/pageset"
	"github.com/litestash/litestash/internal/race"
)

// A newestBase is a base of which the newest snapshot is known. It may be that one itself.
type newestBase struct {
	imageBase
	newest *Image
}

func (b newestBase) Since() (string, uint32) { return b.newest.Look(), b.newest.Pages() }

func (b newestBase) Newest(first uint32, hashes []format.PageHash, same []bool) error {
	if err := b.newest.ReadHashes(first, hashes); err != nil {
		return err
	}
	clear(same)
	return b.Same(first, hashes, same)
}

// A follows is a database that is snapshotted again and again, and what its snapshots hold.
type follows struct {
	path    string
	opts    Options
	parent  *Image // of the base
	newest  *Image
	content []byte // of the newest
	old     []byte // of the parent
}

// begin makes an image that is followed from then on.
func (f *follows) begin(t testing.TB) {
	t.Helper()
	var err error
	if f.newest, err = Take(t.Context(), f.path, f.opts); err != nil {
		t.Fatal(err)
	}
	f.parent, f.content = f.newest, content(t, f.newest)
	f.old = f.content
}

// next takes the next snapshot. What it holds is put together from its own pages and those of its base.
func (f *follows) next(t testing.TB) *Image {
	t.Helper()
	f.opts.Base = newestBase{imageBase{f.parent}, f.newest}
	m, err := Take(t.Context(), f.path, f.opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	whole := make([]byte, m.Size())
	copy(whole, f.old)
	hashes, same := make([]format.PageHash, m.Pages()), make([]bool, m.Pages())
	if err := m.ReadHashes(1, hashes); err != nil {
		t.Fatal(err)
	}
	if err := f.opts.Base.Same(1, hashes, same); err != nil {
		t.Fatal(err)
	}
	for i := range same {
		if same[i] {
			continue
		}
		page := whole[i*m.PageSize():][:m.PageSize()]
		if _, err := m.ReadAt(page, int64(i*m.PageSize())); err != nil {
			t.Fatalf("page %d: %v", i+1, err)
		}
	}
	f.newest, f.content = m, whole
	return m
}

// compare compares the newest snapshot with one for which the whole database is read.
func (f *follows) compare(t testing.TB, what string) {
	t.Helper()
	opts := f.opts
	opts.Base = nil
	want := take(t, f.path, opts)
	if f.newest.Root() != want.Root() || !bytes.Equal(f.content, content(t, want)) {
		t.Fatalf("%s: the image that followed the WAL is not the database", what)
	}
}

// changes are statements that change a database in every way, and what is done between.
var changes = []string{
	"UPDATE t SET b=hex(randomblob(20)) WHERE a % %d = 1",
	"INSERT INTO t(b) SELECT hex(randomblob(%d)) FROM generate_series(1, 50)",
	"INSERT INTO t(b) VALUES(zeroblob(%d * 100))",
	"DELETE FROM t WHERE a % %d = 2",
	"DELETE FROM t WHERE a > %d * 20",
	"CREATE INDEX IF NOT EXISTS i%d ON t(b)",
	"DROP INDEX IF EXISTS i%d",
	"CREATE TABLE IF NOT EXISTS t%d AS SELECT * FROM t LIMIT 500",
	"DROP TABLE IF EXISTS t%d",
	"PRAGMA user_version=%d",
	"VACUUM",
	"PRAGMA incremental_vacuum(%d)",
	// A transaction that does not fit into the cache, so that it is in the WAL before it is given up.
	"PRAGMA cache_size=1; BEGIN; UPDATE t SET b=hex(randomblob(50)); INSERT INTO t(b) SELECT b FROM t; ROLLBACK",
	"PRAGMA cache_size=1; BEGIN; UPDATE t SET b=hex(randomblob(9)) WHERE a % 50 = 0; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT",
	"BEGIN; DELETE FROM t WHERE a > 200; COMMIT; PRAGMA incremental_vacuum; INSERT INTO t(b) SELECT hex(randomblob(100)) FROM generate_series(1, %d)",
	"PRAGMA wal_checkpoint(PASSIVE)",
	"PRAGMA wal_checkpoint(RESTART)",
	"PRAGMA wal_checkpoint(TRUNCATE)",
	"SELECT count(*) FROM t",
}

// begunAnew reports whether the WAL was begun anew between two snapshots.
func begunAnew(was, is *Image) bool {
	a, _ := parseFingerprint(was.Look())
	b, _ := parseFingerprint(is.Look())
	return a.index.salts() != b.index.salts()
}

// TestFollow changes databases in every way, and compares each snapshot that followed the WAL with one for which
// the whole database was read. The base is an older snapshot than the newest most of the time.
func TestFollow(t *testing.T) {
	steps := 300
	if testing.Short() || race.Enabled {
		steps = 100
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	followed, counts := 0, map[string]int{}
	for steps > 0 {
		path := filepath.Join(t.TempDir(), "app.db")
		run(t, path, fmt.Sprintf("PRAGMA page_size=%d; PRAGMA auto_vacuum=%d; PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT hex(randomblob(100)) FROM generate_series(1, 3000)",
			512<<r.IntN(5), r.IntN(3)))
		s := startShell(t, path, 0)
		s.do(t, fmt.Sprintf("PRAGMA wal_autocheckpoint=%d; UPDATE t SET b='x' WHERE a=1", []int{0, 50, 1000}[r.IntN(3)]))
		f := &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}
		f.begin(t)
		for range min(steps, 50) {
			steps--
			var sql []string
			for range 1 + r.IntN(3) {
				change := changes[r.IntN(len(changes))]
				if strings.Contains(change, "%d") {
					change = fmt.Sprintf(strings.ReplaceAll(change, "% %d", "%% %d"), 3+r.IntN(60))
				}
				sql = append(sql, change)
			}
			all := strings.Join(sql, "; ")
			s.do(t, all)
			before, was := prints(t, path), f.newest
			m := f.next(t)
			if after := prints(t, path); before != after {
				t.Errorf("%s: the source was changed: before\n%safter\n%s", all, before, after)
			}
			if m.Stats().Followed {
				followed++
				if begunAnew(was, m) {
					counts["anew"]++
				}
				for _, word := range []string{"UPDATE", "VACUUM", "incremental", "ROLLBACK", "TRUNCATE", "PASSIVE", "INDEX", "DELETE"} {
					if strings.Contains(all, word) {
						counts[word]++
					}
				}
			}
			f.compare(t, all)
			if r.IntN(5) == 0 {
				f.parent, f.old = f.newest, f.content
			}
		}
		s.End()
	}
	t.Logf("%d followed: %v", followed, counts)
	if followed == 0 || counts["UPDATE"] == 0 || counts["PASSIVE"] == 0 || counts["DELETE"] == 0 {
		t.Errorf("only %d followed: %v", followed, counts)
	}
}

// TestFollowFire follows the WAL beside a C program that writes as fast as it can.
func TestFollowFire(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, `PRAGMA journal_mode=wal;
		CREATE TABLE a(id INTEGER PRIMARY KEY, v); INSERT INTO a SELECT value, 1000 FROM generate_series(1, 2000);
		CREATE TABLE b(id INTEGER PRIMARY KEY, v); INSERT INTO b SELECT value, 1000 FROM generate_series(1, 2000);
		CREATE TABLE count(n); INSERT INTO count VALUES(0);
		CREATE TABLE log(n INTEGER, b);
		CREATE TABLE ballast(b); INSERT INTO ballast SELECT randomblob(1000) FROM generate_series(1, 5000)`)
	want := 60
	if testing.Short() || race.Enabled {
		want = 20
	}
	stop := fire(t, path, "wal", "0.002")
	f := &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}
	f.begin(t)
	image := filepath.Join(t.TempDir(), "image.db")
	followed, anew, whole, last := 0, 0, 0, 0
	for followed < want && whole < 20*want {
		was := f.newest
		m := f.next(t)
		if !m.Stats().Followed {
			whole++
			f.parent, f.old = f.newest, f.content
			continue
		}
		followed++
		if begunAnew(was, m) {
			anew++
		}
		if err := os.WriteFile(image, f.content, 0o600); err != nil {
			t.Fatal(err)
		}
		var ok string
		var n int
		got := run(t, image, "PRAGMA integrity_check; SELECT sum(v) + (SELECT sum(v) FROM b) FROM a; SELECT max(log.n) = count.n OR count.n % 150 = 0 FROM log, count; SELECT n FROM count")
		if k, err := fmt.Sscanf(got, "%s\n4000000\n1\n%d", &ok, &n); k != 2 || ok != "ok" || n < last {
			t.Fatalf("snapshot %d, after commit %d: %s (%v)", followed, last, got, err)
		}
		last = n
	}
	t.Logf("%d followed, %d of them though the WAL was begun anew, %d read as a whole; %+v", followed, anew, whole, stop())
	if followed < want {
		t.Errorf("only %d followed", followed)
	}
}

// A forgetfulBase has forgotten the pages of the newest snapshot, or how many there were.
type forgetfulBase struct {
	newestBase
	pages uint32
}

func (b forgetfulBase) Since() (string, uint32) { return b.newest.Look(), b.newest.Pages() + b.pages }

func (b forgetfulBase) Newest(first uint32, hashes []format.PageHash, same []bool) error {
	if b.pages == 0 {
		return errors.New("the table is cut short")
	}
	return b.newestBase.Newest(first, hashes, same)
}

// frameAt returns where the content of a frame is in a WAL of pages of 4 KiB.
func frameAt(frame uint32) int64 {
	return (&walReader{pageSize: 4096}).offset(frame) + frameHeader
}

// TestFollowDoubt sees to it that the whole database is read where the WAL does not tell beyond doubt what has changed.
func TestFollowDoubt(t *testing.T) {
	for _, c := range []struct {
		name     string
		followed bool
		do       func(t *testing.T, f *follows, s *shell)
	}{
		{"nothing else", true, func(*testing.T, *follows, *shell) {}},
		{"a checkpoint", true, func(t *testing.T, _ *follows, s *shell) { s.do(t, "PRAGMA wal_checkpoint") }},
		{"a WAL that was begun anew", false, func(t *testing.T, _ *follows, s *shell) {
			s.do(t, "PRAGMA wal_checkpoint(RESTART); UPDATE t SET b=3 WHERE a=3")
		}},
		{"a WAL that was begun anew and is as long", false, func(t *testing.T, f *follows, s *shell) {
			s.do(t, "PRAGMA wal_checkpoint(RESTART)")
			for range 10 {
				s.do(t, "UPDATE t SET b=b+1 WHERE a > 1000 AND a < 1100")
			}
		}},
		{"a bit of a new frame", false, func(t *testing.T, f *follows, _ *shell) { flip(t, f.path+"-wal", frameAt(3)+4000) }},
		{"a bit of an older frame that the base lacks", false, func(t *testing.T, f *follows, _ *shell) { flip(t, f.path+"-wal", frameAt(2)+4000) }},
		{"another file", false, func(t *testing.T, f *follows, _ *shell) {
			b, err := os.ReadFile(f.path)
			if err := errors.Join(err, os.WriteFile(f.path+".new", b, 0o600), os.Rename(f.path+".new", f.path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"another run of the kernel", false, func(t *testing.T, f *follows, _ *shell) {
			f.newest.look = strings.Replace(f.newest.look, "2|", "2|0", 1)
		}},
		{"a look that says nothing", false, func(t *testing.T, f *follows, _ *shell) { f.newest.look = "" }},
		{"most pages", false, func(t *testing.T, _ *follows, s *shell) { s.do(t, "UPDATE t SET b='all'") }},
		{"a table that is cut short", false, func(t *testing.T, f *follows, _ *shell) {
			f.opts.Base = forgetfulBase{f.opts.Base.(newestBase), 0}
		}},
		{"another number of pages", false, func(t *testing.T, f *follows, _ *shell) {
			f.opts.Base = forgetfulBase{f.opts.Base.(newestBase), 1}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			run(t, path, "PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT hex(randomblob(100)) FROM generate_series(1, 3000)")
			s := startShell(t, path, 0)
			s.do(t, "PRAGMA wal_autocheckpoint=0; UPDATE t SET b='w' WHERE a=3000")
			f := &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}
			f.begin(t)
			s.do(t, "UPDATE t SET b='x' WHERE a=3000")
			f.next(t)
			s.do(t, "UPDATE t SET b='y' WHERE a=1")
			f.opts.Base = newestBase{imageBase{f.parent}, f.newest}
			c.do(t, f, s)
			m, err := Take(t.Context(), path, f.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if got := m.Stats().Followed; got != c.followed || m.Whole() == got {
				t.Errorf("followed: %v, want %v", got, c.followed)
			}
			if st := m.Stats(); !st.WAL || st.SourceSize == 0 || st.WALBefore == 0 || st.WALAfter != st.WALBefore {
				t.Errorf("stats %+v", st)
			}
			opts := f.opts
			opts.Base = nil
			if whole := take(t, path, opts); whole.Root() != m.Root() {
				t.Error("the image is not the database")
			}
		})
	}
}

// TestFollowCrash kills who writes in the middle of a transaction that has filled the WAL, and written pages of it
// twice there. Others go on in the same WAL, over those frames, or over some that were lost.
func TestFollowCrash(t *testing.T) {
	const half = "PRAGMA cache_size=1; BEGIN; UPDATE t SET b=hex(randomblob(90)); UPDATE t SET b=hex(randomblob(99))"
	for _, c := range []struct {
		name     string
		followed bool
		other    bool // somebody else has the database open all the time, so that nobody recovers it
		lost     bool // the newest commit
	}{
		{"recovered", true, false, false},
		{"open elsewhere", true, true, false},
		{"a commit that was lost", false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			run(t, path, "PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT hex(randomblob(100)) FROM generate_series(1, 3000)")
			if c.other {
				startShell(t, path, 0).do(t, "SELECT count(*) FROM t")
			}
			s := startShell(t, path, 0)
			s.do(t, "PRAGMA wal_autocheckpoint=0; UPDATE t SET b='v' WHERE a=1500")
			f := &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}
			f.begin(t)
			s.do(t, "UPDATE t SET b='w' WHERE a=1")
			f.next(t)
			look, _ := parseFingerprint(f.newest.Look())
			frames := look.index.frames()
			s.do(t, half)
			if info, err := os.Stat(path + "-wal"); err != nil || info.Size() < frameAt(frames+100) {
				t.Fatalf("the transaction is not in the WAL: %v", err)
			}
			s.Kill()
			if c.lost {
				f.parent, f.old = f.newest, f.content // no older frame is needed, so that only the new ones can tell
				if err := os.Truncate(path+"-wal", frameAt(frames)-frameHeader); err != nil {
					t.Fatal(err)
				}
			}
			s = startShell(t, path, 0)
			s.do(t, "PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=1; SELECT count(*) FROM t")
			if !c.lost {
				f.next(t)
				f.compare(t, "what was committed before")
			}
			for i, sql := range []string{
				"UPDATE t SET b='x' WHERE a=2999",
				"BEGIN; UPDATE t SET b=hex(randomblob(80)) WHERE a < 400; UPDATE t SET b=hex(randomblob(70)) WHERE a < 400; COMMIT",
				half + "; ROLLBACK; UPDATE t SET b='y' WHERE a=2",
			} {
				s.do(t, sql)
				m := f.next(t)
				if got, want := m.Stats().Followed, c.followed || i > 0; got != want {
					t.Errorf("%s: followed: %v, want %v", sql, got, want)
				}
				f.compare(t, sql)
			}
		})
	}
}

// TestFollowByteOrder follows a WAL that was begun on a machine of the other byte order. SQLite goes on in it in that order.
func TestFollowByteOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT hex(randomblob(100)) FROM generate_series(1, 3000)")
	s := startShell(t, path, 0)
	s.do(t, "PRAGMA wal_autocheckpoint=0; UPDATE t SET b='v' WHERE a=1500")
	s.Kill()
	wal, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	wal[3] ^= 1 // of the magic number
	order := map[byte]binary.ByteOrder{0x82: binary.LittleEndian, 0x83: binary.BigEndian}[wal[3]]
	var sums walSums
	seal := func(at []byte, parts ...[]byte) {
		for _, p := range parts {
			sums.add(p, order)
		}
		binary.BigEndian.PutUint32(at, sums[0])
		binary.BigEndian.PutUint32(at[4:], sums[1])
	}
	seal(wal[24:], wal[:24])
	for b := wal[walHeader:]; len(b) > 0; b = b[frameHeader+4096:] {
		seal(b[16:], b[:8], b[frameHeader:][:4096])
	}
	if err := os.WriteFile(path+"-wal", wal, 0o600); err != nil {
		t.Fatal(err)
	}
	s = startShell(t, path, 0)
	if got := s.do(t, "PRAGMA wal_autocheckpoint=0; SELECT b FROM t WHERE a=1500"); got != "0\nv" {
		t.Fatalf("SQLite does not take the frames: %q", got)
	}
	f := &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}
	f.begin(t)
	for a := range 3 {
		s.do(t, fmt.Sprintf("UPDATE t SET b='w' WHERE a=%d", a*1000+1))
		if m := f.next(t); !m.Stats().Followed {
			t.Error("not followed")
		}
		f.compare(t, "a WAL of the other byte order")
	}
}

// TestFollowSaltsOfZero does not follow a WAL without salts. SQLite begins one if it has to make the index anew for an
// empty WAL and has begun one before: the salts that it had counted on are gone with the index.
func TestFollowSaltsOfZero(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT hex(randomblob(100)) FROM generate_series(1, 3000); UPDATE t SET b='w' WHERE a=3000")
	f := &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}
	live := func() *shell {
		s := startShell(t, path, 0)
		s.do(t, "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=1000000; PRAGMA wal_checkpoint(TRUNCATE);\n.filectrl persist_wal 1\n")
		flip(t, path+"-shm", 8) // as whoever is killed between the copies of the header leaves it
		s.do(t, "UPDATE t SET b='x' WHERE a=3000")
		look, err := glanceOften(path)
		if l, ok := parseFingerprint(look); err != nil || !ok || l.index.frames() != 1 || l.index.salts() != [8]byte{} {
			t.Fatalf("the WAL has salts, or other frames: %s, %v", look, err)
		}
		return s
	}
	s := live()
	f.begin(t)
	s.do(t, "UPDATE t SET b='y' WHERE a=1; UPDATE t SET b='w' WHERE a=3000")
	s.End()
	live() // and writes the same frame
	if m := f.next(t); m.Stats().Followed {
		t.Error("followed")
	}
	f.compare(t, "another life")
}

// A longWAL has a frame of each page, in order.
type longWAL struct{}

func (longWAL) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	binary.BigEndian.PutUint32(b, uint32((off-walHeader)/(frameHeader+512)+1))
	return len(b), nil
}

// TestFollowMemory keeps no more in memory of a long WAL than of one that is followed at most.
func TestFollowMemory(t *testing.T) {
	r := walReader{file: longWAL{}, pageSize: 512}
	want := pageset.New(2 * maxFollowed)
	for page := range uint32(maxFollowed) {
		want.Add(2*(page+1), 1)
	}
	if found, err := r.find(t.Context(), 2*maxFollowed, want); err != nil || len(found) != maxFollowed || found[2*maxFollowed] != 2*maxFollowed {
		t.Errorf("found %d of %d pages: %v", len(found), maxFollowed, err)
	}
	want.Add(1, 1)
	if found, err := r.find(t.Context(), 2*maxFollowed, want); !errors.Is(err, errNotFollowed) {
		t.Errorf("found %d pages: %v", len(found), err)
	}
}

// A cancellingBase ends a context when it is asked for the first of the newest snapshot's pages, and counts how often it is asked.
type cancellingBase struct {
	newestBase
	cancel context.CancelFunc
	asked  *int
}

func (b cancellingBase) Newest(first uint32, hashes []format.PageHash, same []bool) error {
	b.cancel()
	*b.asked++
	return b.newestBase.Newest(first, hashes, same)
}

// TestFollowCancel ends what follows a WAL soon after its context, however large the database is.
func TestFollowCancel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA page_size=512; PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT zeroblob(400) FROM generate_series(1, 9000)")
	s := startShell(t, path, 0)
	s.do(t, "PRAGMA wal_autocheckpoint=0; UPDATE t SET b='v' WHERE a=1")
	f := &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}
	f.begin(t)
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	f.opts.Base = cancellingBase{newestBase{imageBase{f.parent}, f.newest}, cancel, &asked}
	if _, err := Take(ctx, path, f.opts); !errors.Is(err, context.Canceled) || asked != 1 {
		t.Errorf("asked %d times, and then: %v", asked, err)
	}
	r := walReader{file: longWAL{}, pageSize: 512}
	if _, err := r.find(ctx, 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("frames are looked for all the same: %v", err)
	}
}
