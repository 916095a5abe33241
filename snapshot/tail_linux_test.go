package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litestash/litestash/format"
)

// An anewRig has a WAL that was long once, was begun anew, and has got some commits since, the newest of which but the
// last are in a snapshot.
type anewRig struct {
	*follows
	t *testing.T
	s *shell
}

const anewRows = 3000 // in t, some 18 on a page

// newAnewRig makes a WAL that had so many frames before.
func newAnewRig(t *testing.T, earlier int) *anewRig {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, fmt.Sprintf("PRAGMA auto_vacuum=2; PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT hex(randomblob(100)) FROM generate_series(1, %d)", anewRows))
	r := &anewRig{follows: &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}, t: t, s: startShell(t, path, 0)}
	// To cut it off first makes the count in the salts start from 1, as near to salts of zero and to those of other times as it gets.
	r.s.do(t, "PRAGMA wal_autocheckpoint=0; PRAGMA wal_checkpoint(TRUNCATE)")
	for range earlier {
		r.update(2000)
	}
	r.anew()
	for row := 1; row <= 5; row++ {
		r.update(row * 100)
	}
	r.begin(t)
	r.update(600)
	if m := r.next(t); !m.Stats().Followed {
		t.Fatal("not followed from the start")
	}
	return r
}

// update commits one frame.
func (r *anewRig) update(row int) {
	r.t.Helper()
	r.s.do(r.t, fmt.Sprintf("UPDATE t SET b=hex(randomblob(100)) WHERE a=%d", row))
}

// anew lets the next commit begin the WAL anew.
func (r *anewRig) anew() {
	r.t.Helper()
	if got := r.s.do(r.t, "PRAGMA wal_checkpoint(RESTART)"); got[:2] != "0|" {
		r.t.Fatalf("the checkpoint says %q", got)
	}
}

func (r *anewRig) index() *indexHeader {
	r.t.Helper()
	look, err := glanceOften(r.path)
	l, ok := parseFingerprint(look)
	if err != nil || !ok {
		r.t.Fatalf("it looks like %q, %v", look, err)
	}
	return &l.index
}

// orphan leaves a frame behind those that there are, which ends a commit as if it had been the last thing that somebody
// did who was killed then.
func (r *anewRig) orphan(page uint32) {
	r.t.Helper()
	x := r.index()
	f, err := os.OpenFile(r.path+"-wal", os.O_RDWR, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	wal, sums := x.reader(f), x.sums()
	frame := make([]byte, frameHeader+x.pageSize())
	if _, err := f.ReadAt(frame[frameHeader:], wal.offset(1)+frameHeader); err != nil {
		r.t.Fatal(err)
	}
	binary.BigEndian.PutUint32(frame, page)
	binary.BigEndian.PutUint32(frame[4:], x.pages())
	copy(frame[8:], wal.salts[:])
	sums.add(frame[:8], wal.order)
	sums.add(frame[frameHeader:], wal.order)
	binary.BigEndian.PutUint32(frame[16:], sums[0])
	binary.BigEndian.PutUint32(frame[20:], sums[1])
	if _, err := f.WriteAt(frame, wal.offset(x.frames()+1)); err != nil {
		r.t.Fatal(err)
	}
}

// pageOf returns the page that a row's update writes.
func (r *anewRig) pageOf(row int) uint32 {
	r.t.Helper()
	r.update(row)
	x := r.index()
	b := make([]byte, frameHeader)
	f, err := os.Open(r.path + "-wal")
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	wal := x.reader(f)
	if _, err := f.ReadAt(b, wal.offset(x.frames())); err != nil {
		r.t.Fatal(err)
	}
	frame, err := wal.parse(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return frame.page
}

// TestFollowAnew follows a WAL that was begun anew, where it is sure how it ended, and there only.
func TestFollowAnew(t *testing.T) {
	const earlier = 400 // as many frames as no other WAL here has
	const some = "UPDATE t SET b=hex(randomblob(100)) WHERE a IN (1200, 1300, 1400, 1500, 1600, 1700, 1800, 1900); "
	given := func(sql ...string) string { // in a cache that does not hold it
		return "PRAGMA cache_size=1; BEGIN; " + strings.Join(sql, "") + "ROLLBACK"
	}
	for _, c := range []struct {
		name     string
		earlier  int
		followed bool
		do       func(r *anewRig)
	}{
		{"at once", earlier, true, func(r *anewRig) { r.anew(); r.update(700) }},
		{"after commits", earlier, true, func(r *anewRig) { r.update(700); r.update(800); r.update(700); r.anew(); r.update(900) }},
		{"after commits, of the same pages", earlier, true, func(r *anewRig) { r.update(700); r.update(800); r.anew(); r.update(800); r.update(600) }},
		{"after a commit of page 1", earlier, true, func(r *anewRig) { r.s.do(r.t, "PRAGMA user_version=7"); r.anew(); r.update(900) }},
		{"after what was given up", earlier, true, func(r *anewRig) {
			r.update(700)
			r.s.do(r.t, given(some))
			r.anew()
			r.update(900)
		}},
		{"after what was given up, and had been written twice", earlier, false, func(r *anewRig) {
			r.update(700)
			r.s.do(r.t, given(some, some))
			r.anew()
			r.update(900)
		}},
		{"after the database got smaller", earlier, true, func(r *anewRig) {
			r.s.do(r.t, fmt.Sprintf("DELETE FROM t WHERE a > %d; PRAGMA incremental_vacuum", anewRows-300))
			r.anew()
			r.update(900)
		}},
		{"after it got smaller and larger", earlier, true, func(r *anewRig) {
			r.s.do(r.t, fmt.Sprintf("DELETE FROM t WHERE a > %d; PRAGMA incremental_vacuum", anewRows-300))
			r.s.do(r.t, "INSERT INTO t(b) SELECT hex(randomblob(100)) FROM generate_series(1, 100)")
			r.anew()
			r.update(900)
		}},
		{"and is nearly as long as it was", earlier, true, func(r *anewRig) {
			r.anew()
			for row := range r.index().frames() - 1 {
				r.update(1000 + 100*int(row%3))
			}
		}},
		{"and is as long as it was", earlier, false, func(r *anewRig) {
			r.anew()
			for row := range r.index().frames() {
				r.update(1000 + 100*int(row%3))
			}
		}},
		{"after commits, and is as long as it was", earlier, true, func(r *anewRig) {
			n := r.index().frames()
			r.update(700)
			r.anew()
			for row := range n {
				r.update(1000 + 100*int(row%3))
			}
		}},
		{"and is longer than it was", earlier, false, func(r *anewRig) {
			r.update(700)
			n := r.index().frames()
			r.anew()
			for row := range n {
				r.update(1000 + 100*int(row%3))
			}
		}},
		{"twice", earlier, false, func(r *anewRig) { r.update(700); r.anew(); r.update(800); r.anew(); r.update(900) }},
		{"and cut off", earlier, false, func(r *anewRig) { r.s.do(r.t, "PRAGMA wal_checkpoint(TRUNCATE)"); r.update(900) }},
		{"but never was longer", 0, false, func(r *anewRig) { r.update(700); r.anew(); r.update(900) }},
		{"and cut to a size", earlier, false, func(r *anewRig) {
			for row := range 20 {
				r.update(700 + row)
			}
			r.anew()
			r.s.do(r.t, fmt.Sprintf("PRAGMA journal_size_limit=%d", frameAt(17)-frameHeader))
			r.update(900)
		}},
		{"after a commit that was never valid", earlier, false, func(r *anewRig) { r.update(700); r.orphan(r.pageOf(1300)); r.anew(); r.update(900) }},
		{"after such a commit, of a page that was written again", earlier, true, func(r *anewRig) { r.orphan(r.pageOf(1300)); r.anew(); r.update(1300) }},
		{"and what was given up later is over it", earlier, false, func(r *anewRig) {
			for row := range 8 {
				r.update(1000 + row)
			}
			r.next(r.t)
			r.update(700)
			r.anew()
			r.update(900)
			r.s.do(r.t, given(some, some, "UPDATE t SET b=1 WHERE a > 2000; "))
		}},
		{"in another life of the application", earlier, false, func(r *anewRig) {
			r.s.do(r.t, "PRAGMA journal_size_limit=1000000000;\n.filectrl persist_wal 1\n") // to keep the files, as inodes that are used again do
			r.s.End()
			r.s = startShell(r.t, r.path, 0)
			r.s.do(r.t, "PRAGMA wal_autocheckpoint=0; PRAGMA wal_checkpoint(TRUNCATE)")
			for range 40 {
				r.update(2000)
			}
			for row := 700; row <= 800; row += 100 {
				r.anew()
				r.update(row)
			}
		}},
		{"after a copy was written over it", earlier, false, func(r *anewRig) {
			copies := map[string][]byte{}
			for _, suffix := range []string{"", "-wal"} {
				b, err := os.ReadFile(r.path + suffix)
				if err != nil {
					r.t.Fatal(err)
				}
				copies[suffix] = b
			}
			r.update(700)
			r.update(800)
			r.next(r.t)
			r.parent, r.old = r.newest, r.content // so that no older page is looked at
			r.s.Kill()
			for suffix, b := range copies {
				if err := os.WriteFile(r.path+suffix, b, 0o600); err != nil {
					r.t.Fatal(err)
				}
			}
			r.s = startShell(r.t, r.path, 0)
			r.s.do(r.t, "PRAGMA wal_autocheckpoint=0")
			r.update(1500)
			r.anew()
			r.update(900)
		}},
		{"with a bit of it changed", earlier, false, func(r *anewRig) {
			r.update(700)
			flip(r.t, r.path+"-wal", frameAt(r.index().frames())+2000)
			r.anew()
			r.update(900)
		}},
		{"with a bit of it changed later", earlier, false, func(r *anewRig) {
			r.update(700)
			at := frameAt(r.index().frames())
			r.anew()
			r.update(900)
			flip(r.t, r.path+"-wal", at+2000)
		}},
		{"with another page in the file", earlier, false, func(r *anewRig) {
			page := r.pageOf(700)
			r.anew()
			r.update(900)
			flip(r.t, r.path, int64(page-1)*4096+4000)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newAnewRig(t, c.earlier)
			was := r.index().salts()
			c.do(r)
			before := prints(t, r.path)
			m := r.next(t)
			if after := prints(t, r.path); before != after {
				t.Errorf("the source was changed: before\n%safter\n%s", before, after)
			}
			if is := r.index().salts(); was == is {
				t.Error("the WAL was not begun anew")
			}
			if got := m.Stats().Followed; got != c.followed {
				t.Errorf("followed: %v, want %v", got, c.followed)
			}
			r.compare(t, c.name)
			r.update(1)
			r.next(t)
			r.compare(t, "the next one")
		})
	}
}

// An onceContext does something when it is first asked.
type onceContext struct {
	context.Context
	do func()
}

func (c *onceContext) Err() error {
	if do := c.do; do != nil {
		c.do = nil
		do()
	}
	return c.Context.Err()
}

// TestTailRetry lets who was killed in a commit do the same again, after another commit, while the frames are read. The pages
// are then in the database file as in the commit that was never valid.
func TestTailRetry(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprint(again), func(t *testing.T) {
			r := newAnewRig(t, 50)
			const commit = "UPDATE t SET b='again' WHERE a IN (1300, 1700)"
			index, err := os.OpenFile(r.path+"-shm", os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer index.Close()
			headers := make([]byte, 2*len(indexHeader{}))
			_, err = index.ReadAt(headers, 0)
			other := startShell(t, r.path, 0)
			other.do(t, commit)
			other.Kill()
			if _, writeErr := index.WriteAt(headers, 0); err != nil || writeErr != nil {
				t.Fatal(err, writeErr)
			}
			if got := r.s.do(t, "SELECT count(*) FROM t WHERE b='again'"); got != "0" {
				t.Fatalf("the commit is valid: %s", got)
			}
			r.anew()
			r.update(900)
			whole := take(t, r.path, Options{Salt: r.opts.Salt})
			ctx := &onceContext{Context: t.Context(), do: func() {
				r.update(1500)
				if again {
					r.s.do(t, commit)
				}
				r.s.do(t, "PRAGMA wal_checkpoint")
			}}
			r.opts.Base = newestBase{imageBase{r.parent}, r.newest}
			m, err := Take(ctx, r.path, r.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if after := take(t, r.path, Options{Salt: r.opts.Salt}); m.Root() != whole.Root() && m.Root() != after.Root() {
				t.Error("the image is neither the database before nor after")
			}
			if m.Stats().Followed {
				t.Error("followed")
			}
		})
	}
}

// TestTailBusy follows a WAL that was begun anew while more is committed to it and checkpointed.
func TestTailBusy(t *testing.T) {
	for _, c := range []struct {
		row      int // of the commit meanwhile
		followed bool
	}{{1500, true}, {700, false}} {
		r := newAnewRig(t, 50)
		r.update(700)
		r.anew()
		r.update(900)
		whole := take(t, r.path, Options{Salt: r.opts.Salt})
		ctx := &onceContext{Context: t.Context(), do: func() { r.update(c.row) }}
		r.opts.Base = newestBase{imageBase{r.parent}, r.newest}
		m, err := Take(ctx, r.path, r.opts)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if got := m.Stats().Followed; got != c.followed || (m.Root() == whole.Root()) != got {
			t.Errorf("row %d: followed: %v, want %v, or another image than then", c.row, got, c.followed)
		}
	}
}

// TestTailOvertaken writes over the start of a tail after it was read.
func TestTailOvertaken(t *testing.T) {
	r := newAnewRig(t, 50)
	x := *r.index()
	after, sums := x.frames(), x.sums()
	few := func(n uint32) bool { return n > 100 }
	for _, commits := range []int{0, 3} {
		for range commits {
			r.update(700)
		}
		if commits > 0 {
			r.anew()
			r.update(900)
		}
		wal, err := os.ReadFile(r.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		reader := x.reader(bytes.NewReader(wal))
		tail, err := reader.tail(after, sums, few)
		if err != nil || len(tail.newest) != min(commits, 1) {
			t.Fatalf("%v of %d commits: %v", tail, commits, err)
		}
		if err := tail.confirm(); err != nil {
			t.Error(err)
		}
		now := r.index().salts()
		copy(wal[reader.offset(after+1)+8:], now[:])
		if err := tail.confirm(); !errors.Is(err, errOtherWAL) {
			t.Errorf("what was written over: %v", err)
		}
		if _, err := reader.tail(after, sums, few); commits > 0 && !errors.Is(err, errOtherWAL) {
			t.Errorf("what was written over before: %v", err)
		}
	}
}

// TestSalts compares salts, of which the first counts and wraps around.
func TestSalts(t *testing.T) {
	salts := func(first, second uint32) (s [8]byte) {
		binary.BigEndian.PutUint32(s[:], first)
		binary.BigEndian.PutUint32(s[4:], second)
		return s
	}
	for _, c := range []struct {
		first         uint32
		second        uint32
		next, earlier bool
	}{
		{5, 1, false, false}, {6, 2, true, false}, {7, 2, false, false}, {4, 2, false, true}, {4, 1, false, false},
		{0, 2, false, true}, {1<<32 - 1, 2, false, true}, {1 << 31, 2, false, false}, {0, 0, false, false},
	} {
		r := walReader{salts: salts(5, 1)}
		other := salts(c.first, c.second)
		if next, earlier := isNext(r.salts, other), r.isEarlier(other); next != c.next || earlier != c.earlier {
			t.Errorf("%d: next %v, earlier %v", c.first, next, earlier)
		}
	}
	if !isNext(salts(1<<32-1, 0), salts(0, 0)) {
		t.Error("the count does not wrap around")
	}
}
