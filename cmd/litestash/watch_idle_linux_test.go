package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/sqliteshell"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/watch"
)

// An idleWatch is a watch of a database that its application has open and nobody commits to, where time is fake.
type idleWatch struct {
	t    *testing.T
	db   string
	st   *storetest.Faulty // counts
	real *store.Dir
	log  bytes.Buffer // read while the watch stands still
	*watched
}

// heartbeat is the age at which an idle database gets a snapshot. At that time nothing else is asked of the store.
const heartbeat = 23*time.Hour + 50*time.Minute

// A timeless store has the clock of whoever asks it.
type timeless struct{ *store.Dir }

func (timeless) Skew(context.Context) (time.Duration, error) { return 0, nil }

// pass lets time pass and returns what the store was asked for meanwhile.
func (w *idleWatch) pass(d time.Duration) []storetest.Call {
	w.st.Plan()
	time.Sleep(d)
	synctest.Wait()
	return w.st.Calls()
}

// idle lets hours pass in which the database cannot be read and the store is asked for one thing an hour, whether
// the newest snapshot is there.
func (w *idleWatch) idle(hours int) {
	w.t.Helper()
	newest := w.newest()
	temp := w.pusher.sn.TempDir
	w.pusher.sn.TempDir = filepath.Join(temp, "missing") // where an image would be
	for range hours {
		if got := w.pass(time.Hour); len(got) != 1 || got[0] != (storetest.Call{Op: "Open", Key: newest.Object.Key}) {
			w.t.Fatalf("in an hour the store was asked for %v, want %s: %s", got, newest.Object.Key, &w.log)
		}
	}
	w.pusher.sn.TempDir = temp
}

func (w *idleWatch) newest() catalog.Snapshot {
	w.t.Helper()
	found, err := catalog.Find(w.t.Context(), w.real, "app.db", catalog.Latest)
	if err != nil {
		w.t.Fatal(err)
	}
	return found[0]
}

// isWhole checks that a snapshot is what the database is, and returns its index.
func (w *idleWatch) isWhole(snap catalog.Snapshot) *format.Index {
	w.t.Helper()
	out := filepath.Join(filepath.Dir(w.db), "out.db")
	r, err := restore.File(w.t.Context(), w.real, snap, out, restore.FileOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if sh(w.t, out, ".sha3sum") != sh(w.t, w.db, ".sha3sum") {
		w.t.Errorf("%v is not what is in the database", snap.Name)
	}
	if err := os.Remove(out); err != nil {
		w.t.Fatal(err)
	}
	return r.Index
}

// TestWatchIdle watches for days of fake time. The store is asked for nothing but whether the newest snapshot is there,
// the database is not read, a snapshot without pages is stored when the newest has the age that it may have at most,
// and one that is lost is found to be within the hour.
func TestWatchIdle(t *testing.T) {
	t.Parallel()
	dir := storetest.FastDir(t)
	db := filepath.Join(dir, "app.db")
	shell, err := sqliteshell.Start(db, "PRAGMA journal_mode=WAL;"+fill("idle", 500))
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Kill()
	synctest.Test(t, func(t *testing.T) {
		w := newIdleWatch(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- watch.Run(ctx, []watch.Database{w.watched}, watch.Options{Every: time.Minute, Logger: w.p.log})
		}()
		w.pass(5 * time.Second)
		if x := w.isWhole(w.newest()); x.Kind() != format.Full {
			t.Errorf("the first is a %v", x.Kind())
		}
		for range 2 {
			first := w.newest()
			w.idle(23)
			w.pass(time.Hour)
			beat := w.newest()
			x := w.isWhole(beat)
			if age := beat.Name.Time.UTC().Sub(first.Name.Time.UTC()); x.Kind() != format.Delta || x.Carried != 0 || age < heartbeat || age > heartbeat+time.Minute {
				t.Errorf("after %v there is the %v %v of %d pages, want one of none after %v", age, x.Kind(), beat.Name, x.Carried, heartbeat)
			}
		}
		w.idle(1)
		lost := w.newest()
		if err := w.real.Delete(t.Context(), lost.Object.Key); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
		if !strings.Contains(w.log.String(), "has lost app.db/"+lost.Base()) {
			t.Errorf("that a snapshot is lost is not said: %s", &w.log)
		}
		if x := w.isWhole(w.newest()); x.Kind() != format.Full {
			t.Errorf("where one was lost a %v is stored", x.Kind())
		}
		w.idle(2)
		newest := w.newest()
		cancel()
		if err := <-ended; err != nil || w.newest() != newest {
			t.Errorf("at the end %v is stored, %v", w.newest().Name, err)
		}
		w.st.Check(t)
	})
}

// newIdleWatch returns what the command makes, before it has run.
func newIdleWatch(t *testing.T, db string) *idleWatch {
	dir := filepath.Dir(db)
	real, err := store.OpenDir(filepath.Join(dir, "store"))
	if err == nil {
		err = os.Mkdir(real.String(), 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &idleWatch{t: t, db: db, real: real, st: storetest.Fault(timeless{real})}
	p := &program{ui: ui.New(ui.Options{Out: io.Discard, Err: io.Discard, Quiet: true}), log: slog.New(slog.NewTextHandler(&w.log, nil)), tempDir: dir, stateDir: filepath.Join(dir, "state")}
	w.watched = &watched{confirmEvery: time.Hour, ending: t.Context(), p: p, st: w.st, source: source{db, "app.db"}, opts: pushOptions{
		up: upload.Options{Source: format.Source{Host: "h"}, Heartbeat: heartbeat, TempDir: dir, Logger: p.log},
		sn: snapshot.Options{TempDir: dir},
	}}
	t.Cleanup(w.Close)
	return w
}

// traced starts a watch of the database as start does, and notes in a file what it does with files and sockets.
func (r *watchRig) traced(t *testing.T, trace string) *watching {
	t.Helper()
	strace, ok := findTool(t, "strace")
	if !ok {
		t.Skip("strace is not installed")
	}
	return r.startBy(t, []string{strace, "-D", "-f", "-qq", "-y", "-s", "300", "-e", "trace=%file,%network,read,pread64,preadv,preadv2,readv,mmap,write", "-e", "signal=none", "-o", trace})
}

// TestWatchIdleCalls looks at the system calls of a watch of a database that nobody commits to: all that it reads of
// that is the header, and of the store nothing.
func TestWatchIdleCalls(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	shell, err := sqliteshell.Start(r.db, "PRAGMA journal_mode=WAL;"+fill("idle", 500))
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Kill()
	trace := filepath.Join(r.dir, "trace")
	w := r.traced(t, trace)
	w.await(t, "snapshot stored")
	var before, after string
	look := regexp.MustCompile(`openat\(.*"` + regexp.QuoteMeta(r.db) + `"`)
	const looks = 4
	for limit := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(trace)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		var logged bool
		before, after, logged = strings.Cut(string(text), `\"msg\":\"snapshot stored\"`)
		if logged && len(look.FindAllString(after, -1)) >= 2*looks { // each is two glances
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the database was not looked at %d times within a minute:\n%s", looks, after)
		}
	}
	if reads, stores := readsOf(r.db, before), strings.Count(before, r.store+"/"); len(reads) == 0 || stores == 0 {
		t.Fatalf("of the first push %d reads and %d calls about the store were seen:\n%s", len(reads), stores, before)
	}
	if reads := readsOf(r.db, after); len(reads) > 0 {
		t.Errorf("an idle database was read: %q", reads)
	}
	if strings.Contains(after, r.store) || strings.Contains(after, "socket(") {
		t.Errorf("the store was asked for something:\n%s", after)
	}
	w.end(t, syscall.SIGTERM, 0)
}

// readsOf returns the calls that read a database or its WAL, but for those of the first 100 bytes.
func readsOf(db, trace string) (reads []string) {
	file := regexp.MustCompile(`(read|pread64|preadv2?|readv|mmap)\(.*<` + regexp.QuoteMeta(db) + `(-wal)?>`)
	header := regexp.MustCompile(`pread64\(.*, 100, 0\) += 100$`)
	for _, line := range wholeCalls(trace) {
		if file.MatchString(line) && !header.MatchString(line) {
			reads = append(reads, line)
		}
	}
	return reads
}

// wholeCalls returns the lines of a trace. Those of a call that strace tells of in two, since another thread's came between, are one;
// a call that has not returned yet is none.
func wholeCalls(trace string) (calls []string) {
	const unfinished = " <unfinished ...>"
	resumed := regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	begun := map[string]string{} // by thread
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		thread, _, _ := strings.Cut(line, " ")
		if start, ok := strings.CutSuffix(line, unfinished); ok {
			begun[thread] = start
		} else if m := resumed.FindStringSubmatch(line); m != nil {
			calls = append(calls, begun[thread]+m[2])
		} else {
			calls = append(calls, line)
		}
	}
	return calls
}

func TestWholeCalls(t *testing.T) {
	const header = `7  pread64(9</a/app.db>,  <unfinished ...>
8  write(2, "x", 1) = 1
7  <... pread64 resumed>"SQLite", 100, 0) = 100
8  pread64(9</a/app.db>, "page", 4096, 0) = 4096
7  pread64(9</a/app.db>,  <unfinished ...>
8  write(2, "x", 1) = 1
7  <... pread64 resumed>"page", 4096, 4096) = 4096
7  pread64(9</a/app.db>,  <unfinished ...>
`
	if reads := readsOf("/a/app.db", header); len(reads) != 2 {
		t.Errorf("two pages were read, and these are told of: %q", reads)
	}
}
