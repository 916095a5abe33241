package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/watch"
)

// A watchRig has a database, a store and a place for state, and runs watch on them.
type watchRig struct {
	dir, db, store string
}

func newWatchRig(t *testing.T) *watchRig {
	t.Helper()
	dir := storetest.FastDir(t)
	return &watchRig{dir: dir, db: filepath.Join(dir, "app.db"), store: filepath.Join(dir, "store")}
}

func (r *watchRig) global() []string {
	return []string{"--store", r.store, "--state-dir", filepath.Join(r.dir, "state"), "--temp-dir", r.dir}
}

// A watching is a watch in a process of its own whose log is read.
type watching struct {
	*process
	logs     chan struct{}       // closed when it logs first: from then on it listens for signals
	records  chan map[string]any // closed after closeLog
	closeLog func()
}

// start starts a watch of the database, every second.
func (r *watchRig) start(t *testing.T, args ...string) *watching {
	t.Helper()
	return r.startBy(t, nil, args...)
}

// startBy is as start, by a program that runs the watch.
func (r *watchRig) startBy(t *testing.T, by []string, args ...string) *watching {
	t.Helper()
	args = append(append(by, "litestash", "watch", r.db, "--every", "1s", "--json"), append(args, r.global()...)...)
	cmd := exec.Command(args[0], args[1:]...)
	read, write := io.Pipe()
	w := &watching{logs: make(chan struct{}), records: make(chan map[string]any, 10_000), closeLog: func() { write.Close() }}
	cmd.Stderr = write
	w.process = startCommand(t, cmd)
	go func() {
		defer close(w.records)
		var first sync.Once
		for lines := bufio.NewScanner(read); lines.Scan(); {
			var record map[string]any
			if json.Unmarshal(lines.Bytes(), &record) == nil { // the application's lines are none
				first.Do(func() { close(w.logs) })
				w.records <- record
			}
		}
	}()
	t.Cleanup(w.closeLog)
	return w
}

// await returns the next record with a message that begins so.
func (w *watching) await(t *testing.T, message string) map[string]any {
	t.Helper()
	var seen []any
	limit := time.After(time.Minute)
	for {
		select {
		case record, ok := <-w.records:
			if !ok {
				t.Fatalf("no %q in the log, only %v", message, seen)
			}
			if m, _ := record["msg"].(string); strings.HasPrefix(m, message) {
				return record
			}
			seen = append(seen, record)
		case <-limit:
			t.Fatalf("no %q in the log within a minute, only %v", message, seen)
		}
	}
}

// end sends a signal, not before it is listened for, and expects an exit code.
func (w *watching) end(t *testing.T, signal syscall.Signal, want int) {
	t.Helper()
	select {
	case <-w.logs:
	case err := <-w.ended:
		t.Fatalf("watch ended by itself: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("watch logged nothing within a minute")
	}
	if err := w.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	w.ends(t, want)
}

func (w *watching) ends(t *testing.T, want int) {
	t.Helper()
	if code, by := w.wait(t, time.Minute); code != want || by != 0 {
		t.Fatalf("watch exits with %d (signal %d), want %d", code, by, want)
	}
}

// restored returns what the newest snapshot answers to SQL.
func (r *watchRig) restored(t *testing.T, sql string) string {
	t.Helper()
	target := filepath.Join(r.dir, "restored.db")
	mustLite(t, append([]string{"restore", "app.db", "-o", target}, r.global()...)...)
	defer os.Remove(target)
	return strings.TrimSpace(sh(t, target, sql))
}

func TestWatch(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			r := newWatchRig(t)
			w := r.start(t)
			w.await(t, "the database is not there")
			sh(t, r.db, "PRAGMA journal_mode="+mode+"; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
			if kind := w.await(t, "snapshot stored")["kind"]; kind != "full" {
				t.Errorf("the first snapshot is a %v", kind)
			}
			sh(t, r.db, "INSERT INTO t VALUES (2)")
			w.await(t, "snapshot stored")
			// Another push beside it knows nothing of what it remembers, and takes nothing from it.
			sh(t, r.db, "INSERT INTO t VALUES (3)")
			mustLite(t, append([]string{"push", r.db, "-q"}, r.global()...)...)
			sh(t, r.db, "INSERT INTO t VALUES (4)")
			w.end(t, syscall.SIGTERM, 0)
			if got := r.restored(t, "SELECT group_concat(x) FROM t"); got != "1,2,3,4" {
				t.Errorf("the last snapshot holds %s, want what was committed before the signal", got)
			}
			mustLite(t, append([]string{"verify", "app.db", "--all-snapshots"}, r.global()...)...)
			mustBeClean(t, r.dir, r.store)
		})
	}
}

// TestWatchSealed watches with a public key alone: full and deltas are for its identity, and for nobody else.
func TestWatchSealed(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	identity, recipient := newAgeKey(t, r.dir)
	sh(t, r.db, fill("secret", 500))
	w := r.start(t, "--recipient", recipient)
	if kind := w.await(t, "snapshot stored")["kind"]; kind != "full" {
		t.Errorf("the first snapshot is a %v", kind)
	}
	sh(t, r.db, "UPDATE words SET word = 'another secret'")
	if kind := w.await(t, "snapshot stored")["kind"]; kind != "delta" {
		t.Errorf("the second snapshot is a %v", kind)
	}
	w.end(t, syscall.SIGTERM, 0)
	objects, err := filepath.Glob(filepath.Join(r.store, "app.db", "*.age"))
	if all, _ := os.ReadDir(filepath.Join(r.store, "app.db")); err != nil || len(objects) != 2 || len(all) != 2 {
		t.Errorf("stored are %q, %v", all, err)
	}
	target := filepath.Join(r.dir, "out.db")
	restore := append([]string{"restore", "app.db", "-o", target}, r.global()...)
	if code, _, errs := lite(t, restore...); code != exitLockedOut {
		t.Errorf("without the identity restore exits with %d: %s", code, errs)
	}
	mustLite(t, append(restore, "--identity", identity)...)
	if got := strings.TrimSpace(sh(t, target, "SELECT word FROM words")); got != "another secret" {
		t.Errorf("the newest holds %s", got)
	}
}

// TestWatchLossOfStore takes the store away and gives it back.
func TestWatchLossOfStore(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	sh(t, r.db, "CREATE TABLE t (x)")
	w := r.start(t)
	w.await(t, "snapshot stored")
	away := r.store + "-away"
	if err := os.Rename(r.store, away); err != nil {
		t.Fatal(err)
	}
	sh(t, r.db, "INSERT INTO t VALUES (1)")
	for range 3 {
		w.await(t, "push failed")
	}
	mustBeClean(t, r.dir)
	if err := os.Rename(away, r.store); err != nil {
		t.Fatal(err)
	}
	w.await(t, "snapshot stored")
	if got := r.restored(t, "SELECT x FROM t"); got != "1" {
		t.Errorf("it holds %q, want what was committed while the store was away", got)
	}
	w.end(t, syscall.SIGINT, 0)
}

// TestWatchServerDown has a server that does not answer as it should for a while.
func TestWatchServerDown(t *testing.T) {
	s := newS3Server(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1") // what is tried again in here is a push, and not each request of it
	r := newWatchRig(t)
	r.store = s.store()
	sh(t, r.db, "CREATE TABLE t (x)")
	s.place(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		panic(http.ErrAbortHandler) // the connection breaks off
	})
	w := r.start(t)
	w.await(t, "push failed")
	s.place(nil)
	w.await(t, "snapshot stored")
	sh(t, r.db, "INSERT INTO t VALUES (1)")
	w.await(t, "snapshot stored")
	s.place(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) })
	sh(t, r.db, "INSERT INTO t VALUES (2)")
	w.await(t, "push failed")
	w.end(t, syscall.SIGTERM, exitUnreachable)
}

// TestWatchExec runs an application that is a shell script.
func TestWatchExec(t *testing.T) {
	t.Parallel()
	insert := func(r *watchRig, x int) string {
		return fmt.Sprintf("sqlite3 -cmd '.timeout 10000' '%s' 'CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (%d)'", r.db, x)
	}
	for _, c := range []struct {
		name   string
		app    func(r *watchRig) string
		signal syscall.Signal // sent when the application is ready
		code   int
		holds  string
	}{
		{"ends", func(r *watchRig) string { return insert(r, 1) }, 0, 0, "1"},
		{"fails", func(r *watchRig) string { return insert(r, 1) + "; exit 42" }, 0, 42, "1"},
		{"is not there", func(r *watchRig) string { return insert(r, 1) + "; ./no-such-program" }, 0, 127, "1"},
		{"acts on a signal", func(r *watchRig) string {
			return fmt.Sprintf("trap \"%s; exit 3\" TERM; %s; touch %s/ready; while :; do sleep 0.1; done",
				insert(r, 2), insert(r, 1), r.dir)
		}, syscall.SIGTERM, 3, "1,2"},
		{"is passed others too", func(r *watchRig) string {
			return fmt.Sprintf("trap \"%s; exit 4\" USR1; %s; touch %s/ready; while :; do sleep 0.1; done", insert(r, 2), insert(r, 1), r.dir)
		}, syscall.SIGUSR1, 4, "1,2"},
		{"dies of a signal", func(r *watchRig) string {
			return fmt.Sprintf("%s; touch %s/ready; exec sleep 1000", insert(r, 1), r.dir)
		}, syscall.SIGTERM, 128 + int(syscall.SIGTERM), "1"},
		{"has children", func(r *watchRig) string {
			return fmt.Sprintf("%s; touch %s/ready; sleep 1000; exit 5", insert(r, 1), r.dir)
		}, syscall.SIGINT, 128 + int(syscall.SIGINT), "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newWatchRig(t)
			w := r.start(t, "--exec", c.app(r))
			if c.signal != 0 {
				w.await(t, "snapshot stored")
				awaitFile(t, filepath.Join(r.dir, "ready"))
				if err := w.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			w.ends(t, c.code)
			if got := r.restored(t, "SELECT group_concat(x) FROM t"); got != c.holds {
				t.Errorf("the last snapshot holds %s, want %s", got, c.holds)
			}
		})
	}
}

// awaitFile returns when there is a file.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s is not there after a minute", path)
		}
	}
}

// TestWatchStream makes sure that the application has the standard streams.
func TestWatchStream(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	cmd := exec.Command("litestash", append([]string{"watch", r.db, "--quiet", "--exec", "cat; echo said >&2"}, r.global()...)...)
	cmd.Stdin = strings.NewReader("asked\n")
	p := startCommand(t, cmd)
	if code, _ := p.wait(t, time.Minute); code != 0 || p.out.String() != "asked\n" || !strings.Contains(p.errs.String(), "said\n") {
		t.Errorf("exit code %d, output %q, errors %q", code, p.out.String(), p.errs.String())
	}
}

// TestWatchFatal starts watches that cannot succeed.
func TestWatchFatal(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	sh(t, r.db, "CREATE TABLE t (x)")
	mustLite(t, append([]string{"push", r.db}, r.global()...)...)
	text := filepath.Join(r.dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{text}, exitRefused, "not an SQLite database"},
		{[]string{r.db, "--host", "other"}, exitRefused, "belongs to"},
		{[]string{r.db, "--host", "other", "--exec", "trap 'exit 0' TERM; while :; do sleep 0.1; done"}, exitRefused, "belongs to"},
		{[]string{}, exitUsage, "too few arguments"},
		{[]string{r.db, "--every", "0s"}, exitUsage, "--every"},
		{[]string{r.db, "--every", "soon"}, exitUsage, "--every"},
		{[]string{r.db, "--stop-timeout", "0s"}, exitUsage, "--stop-timeout"},
		{[]string{r.db, "--confirm-every", "0s"}, exitUsage, "--confirm-every"},
		{[]string{r.db, "--heartbeat", "0s"}, exitUsage, "--heartbeat"},
		{[]string{r.db, "--full-every", "0d"}, exitUsage, "--full-every"},
	} {
		p := startLite(t, append(append([]string{"watch"}, c.args...), "--store", r.store, "--state-dir", filepath.Join(r.dir, "state"))...)
		if code, _ := p.wait(t, time.Minute); code != c.code || !strings.Contains(p.errs.String(), c.says) {
			t.Errorf("watch %q exits with %d: %s; want %d and %q", c.args, code, p.errs.String(), c.code, c.says)
		}
	}
}

// TestWatchRestoreIfMissing brings a database back, or does not let it begin empty.
func TestWatchRestoreIfMissing(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "nobody")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "nothing")
	r := newWatchRig(t)
	app := fmt.Sprintf("touch %s/started; sqlite3 -cmd '.timeout 10000' '%s' 'CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t SELECT count(*) FROM t'", r.dir, r.db)
	run := func(want int) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(r.dir, "started")); err != nil {
			t.Fatal(err)
		}
		w := r.start(t, "--restore-if-missing", "--exec", app)
		w.ends(t, want)
		if _, err := os.Stat(filepath.Join(r.dir, "started")); (err == nil) != (want == 0) {
			t.Errorf("exit code %d, and the application was started: %v", want, err == nil)
		}
	}
	run(exitFailed) // there is no store
	if err := os.Mkdir(r.store, 0o700); err != nil {
		t.Fatal(err)
	}
	run(0) // begins empty
	run(0) // goes on
	remove := func() {
		t.Helper()
		if err := os.Remove(r.db); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	run(0) // is brought back
	if got := r.restored(t, "SELECT group_concat(x) FROM t"); got != "0,1,2" {
		t.Errorf("the snapshot holds %s, want 0,1,2", got)
	}

	// A store that cannot be reached or is not there, or damage, is no reason to begin empty.
	remove()
	good := r.store
	r.store = "s3://bucket/x?endpoint=http://127.0.0.1:1&region=x"
	run(exitUnreachable)
	r.store = filepath.Join(r.dir, "nowhere")
	run(exitFailed)
	r.store = good
	objects, err := filepath.Glob(filepath.Join(r.store, "app.db", "*"))
	if err != nil || len(objects) == 0 {
		t.Fatal(err, objects)
	}
	for _, o := range objects {
		if err := os.Truncate(o, 300); err != nil {
			t.Fatal(err)
		}
	}
	run(exitDamaged)
	if _, err := os.Stat(r.db); err == nil {
		t.Error("something stands at the database's place")
	}
}

// TestWatchPrunes lets watch prune after its first push, and not after the others of the hour.
func TestWatchPrunes(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	sh(t, r.db, "CREATE TABLE t (x)")
	for range 4 {
		mustLite(t, append([]string{"push", r.db, "--full"}, r.global()...)...)
	}
	hour := time.Now().Truncate(time.Hour)
	w := r.start(t, "--keep-last", "1")
	if got := w.await(t, "pruned"); got["kept"] != 1.0 || got["deleted"] != 3.0 {
		t.Errorf("logged is %v", got)
	}
	sh(t, r.db, "INSERT INTO t VALUES (1)")
	w.await(t, "snapshot stored")
	w.end(t, syscall.SIGTERM, 0)
	if left := snapshotsIn(t, r.store, "app.db"); len(left) < 2 && hour.Equal(time.Now().Truncate(time.Hour)) {
		t.Errorf("left are %q", left)
	}
}

// slowDelete is a store in which nothing is deleted before the caller gives up.
type slowDelete struct {
	store.Store
	begun chan struct{}
	once  sync.Once
}

func (s *slowDelete) Delete(ctx context.Context, _ string) error {
	s.once.Do(func() { close(s.begun) })
	<-ctx.Done()
	return ctx.Err()
}

// TestWatchEndsPrune ends a watch while it prunes: what has been committed since is pushed, and does not wait until all
// that is to go has gone.
func TestWatchEndsPrune(t *testing.T) {
	t.Parallel()
	dir := storetest.FastDir(t)
	db := filepath.Join(dir, "app.db")
	sh(t, db, "CREATE TABLE t (x)")
	for range 2 {
		mustLite(t, "push", db, "--full", "--store", filepath.Join(dir, "store"), "--state-dir", filepath.Join(dir, "other"), "--temp-dir", dir, "--host", "h")
	}
	sound := storetest.OpenDir(t, filepath.Join(dir, "store"))
	st := &slowDelete{Store: sound, begun: make(chan struct{})}
	p := &program{ui: ui.New(ui.Options{Out: io.Discard, Err: io.Discard, Quiet: true}), log: slog.New(slog.DiscardHandler), tempDir: dir, stateDir: filepath.Join(dir, "state")}
	ending, end := context.WithCancel(t.Context())
	w := &watched{confirmEvery: time.Hour, policy: retention.Policy{Last: 1}, ending: ending, p: p, st: st, source: source{db, "app.db"}, opts: pushOptions{
		up: upload.Options{Source: format.Source{Host: "h"}, EvenUnchanged: true, TempDir: dir},
		sn: snapshot.Options{TempDir: dir},
	}}
	defer w.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- watch.Run(ending, []watch.Database{w}, watch.Options{StopTimeout: time.Minute})
	}()
	<-st.begun
	sh(t, db, "INSERT INTO t VALUES (1)")
	end()
	if err := <-ended; err != nil {
		t.Errorf("the last push waited until all was deleted: %v", err)
	}
	if got := snapshotsIn(t, filepath.Join(dir, "store"), "app.db"); len(got) != 4 {
		t.Errorf("stored are %q, want the two, the first and the last of the watch", got)
	}
}
