package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/store/storetest"
)

// prompt is how long a command may take to end after a signal.
const prompt = 2 * time.Second

// A signalRig has a database in a store of its own, and runs commands that get signals.
type signalRig struct {
	store, temp, dir string
	db               string
	found            outcomes
}

func newSignalRig(t *testing.T) *signalRig {
	t.Helper()
	dir := storetest.FastDir(t)
	r := &signalRig{
		store: filepath.Join(dir, "store"), temp: filepath.Join(dir, "temp"), dir: filepath.Join(dir, "target"),
		db: filepath.Join(dir, "app.db"), found: outcomes{},
	}
	for _, d := range []string{r.temp, r.dir} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, r.db, fill("app", 200000)) // so that even what only reads takes longer than to start
	mustLite(t, r.with("push", r.db)...)
	return r
}

func (r *signalRig) with(args ...string) []string {
	return append(args, "--store", r.store, "--temp-dir", r.temp)
}

// TestSignals interrupts and terminates commands at random moments: they end soon, with the code of
// the signal, and leave nothing half-done.
func TestSignals(t *testing.T) {
	t.Parallel()
	rng := seed.Rand(t)
	rounds := 12
	if testing.Short() || race.Enabled {
		rounds = 4 // too few to insist on anything
	}
	for _, name := range []string{"push", "delta", "restore", "replace", "stream", "verify", "drill"} {
		t.Run(name, func(t *testing.T) {
			r := newSignalRig(t)
			target := filepath.Join(r.dir, "out.db")
			args := map[string][]string{
				"push":    r.with("push", "-q", r.db, "--full", "--even-unchanged"),
				"delta":   r.with("push", "-q", r.db),
				"restore": r.with("restore", "app.db", "-o", target),
				"replace": r.with("restore", "app.db", "-o", target, "--replace"),
				"stream":  r.with("restore", "app.db", "-o", "-"),
				"verify":  r.with("verify", "app.db"),
				"drill":   r.with("verify", "app.db", "--check", "full", "--assert", "SELECT count(*) FROM noise"),
			}[name]
			prepare := func() {
				if err := os.RemoveAll(target); err != nil {
					t.Fatal(err)
				}
				switch name {
				case "replace":
					sh(t, target, fill("old", 10))
				case "delta":
					sh(t, r.db, "UPDATE noise SET bytes = randomblob(100) WHERE id % 50 = 0")
				}
			}
			usual := durationOf(t, func() {
				prepare()
				if code, _ := startLite(t, args...).wait(t, time.Minute); code != 0 {
					t.Fatalf("%s fails when nobody interrupts it", name)
				}
			})
			for i := range rounds {
				prepare()
				signal := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}[i%3]
				start, ended := time.Now(), r.found["ended"]
				p := startLite(t, args...)
				r.signal(t, p, time.Duration(rng.Int64N(int64(usual))), signal, 128+int(signal))
				if r.found["ended"] > ended {
					usual = (usual + time.Since(start)) / 2 // the host was busier before
				}
				r.check(t, name, target)
			}
			t.Logf("%s takes %v; when the signal came: %v", name, usual, r.found)
			r.found.expect(t, rounds/6, "interrupted")
		})
	}
}

// signal sends a signal after a while and checks how the process ends.
func (r *signalRig) signal(t *testing.T, p *process, delay time.Duration, signal syscall.Signal, want int) {
	t.Helper()
	select {
	case err := <-p.ended:
		if code, _ := p.verdict(t, err); code != 0 {
			t.Fatalf("%q exits with %d: %s", p.Args, code, p.errs.String())
		}
		r.found["ended"]++
		return
	case <-time.After(delay):
	}
	sent := time.Now()
	if err := p.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	code, by := p.wait(t, time.Minute)
	if took := time.Since(sent); took > prompt {
		t.Errorf("%q took %v to end after the signal", p.Args, took)
	}
	switch {
	case by == signal: // it was not listening yet, and nothing was begun
		r.found["not begun"]++
	case code == want && by == 0:
		r.found["interrupted"]++
		if !strings.Contains(p.errs.String(), signal.String()) {
			t.Errorf("%q does not say why it ended: %q", p.Args, p.errs.String())
		}
	case code == 0 && by == 0:
		r.found["ended"]++
	default:
		t.Errorf("%q exits with %d (signal %v), want %d: %s", p.Args, code, by, want, p.errs.String())
	}
}

// check makes sure that nothing half-done is left.
func (r *signalRig) check(t *testing.T, name, target string) {
	t.Helper()
	mustBeClean(t, r.store, r.temp, r.dir)
	entries, err := os.ReadDir(r.temp)
	if err != nil || len(entries) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", entries, err)
	}
	mustLite(t, r.with("verify", "app.db")...)
	switch _, err := os.Stat(target); {
	case err == nil:
		if word := sh(t, target, "PRAGMA integrity_check; SELECT word FROM words"); word != "ok\napp\n" && (name != "replace" || word != "ok\nold\n") {
			t.Errorf("the target holds %q", word)
		}
	case name == "replace":
		t.Errorf("the old database is gone: %v", err)
	}
}

// TestSignalWhileNobodyReads interrupts a restore that waits for the reader of its pipe.
func TestSignalWhileNobodyReads(t *testing.T) {
	r := newSignalRig(t)
	cmd := exec.Command("litestash", r.with("restore", "app.db", "-o", "-")...)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stdout = write
	p := startCommand(t, cmd)
	write.Close()
	// Once the first bytes are here the pipe is full or will be: the database is larger.
	if _, err := io.ReadFull(read, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	r.signal(t, p, 0, syscall.SIGINT, exitInterrupted)
	r.check(t, "stream", filepath.Join(r.dir, "none.db"))
	r.found.expect(t, 1, "interrupted")
}

// TestSignalAbortsUpload interrupts a push in the middle of a multipart upload: the server must not
// be left with parts.
func TestSignalAbortsUpload(t *testing.T) {
	s := newS3Server(t)
	db := filepath.Join(t.TempDir(), "app.db")
	sh(t, db, fill("app", 60000))
	begun, aborted := make(chan string, 10), make(chan string, 10)
	s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		switch q := r.URL.Query(); {
		case q.Has("partNumber"): // they stall, as on a bad line
			begun <- q.Get("uploadId")
			<-s.over
			return
		case r.Method == http.MethodDelete && q.Has("uploadId"):
			aborted <- q.Get("uploadId")
		}
		real.ServeHTTP(w, r)
	})
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitTerminated} {
		p := startLite(t, "push", db, "--store", s.store())
		id := receive(t, begun, p)
		sent := time.Now()
		if err := p.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if code, by := p.wait(t, time.Minute); code != want || by != 0 {
			t.Errorf("push exits with %d (signal %v), want %d: %s", code, by, want, p.errs.String())
		}
		if took := time.Since(sent); took > prompt {
			t.Errorf("push took %v to end", took)
		}
		if got := receive(t, aborted, p); got != id {
			t.Errorf("the upload %s was begun and %s aborted", id, got)
		}
		drain(begun)
	}
	s.place(nil)
	if got := snapshotsIn(t, s.store(), "app.db"); len(got) != 0 {
		t.Errorf("listed is %q", got)
	}
}

// TestSecondSignalKills sends a second signal while the cleaning up after the first one stands still.
func TestSecondSignalKills(t *testing.T) {
	s := newS3Server(t)
	db := filepath.Join(t.TempDir(), "app.db")
	sh(t, db, fill("app", 60000))
	begun, aborting := make(chan string, 10), make(chan string, 10)
	s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		switch q := r.URL.Query(); {
		case q.Has("partNumber"):
			begun <- q.Get("uploadId")
			<-s.over
		case r.Method == http.MethodDelete:
			aborting <- q.Get("uploadId")
			<-s.over
		default:
			real.ServeHTTP(w, r)
		}
	})
	p := startLite(t, "push", db, "--store", s.store())
	receive(t, begun, p)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	receive(t, aborting, p)
	sent := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, by := p.wait(t, time.Minute); by != syscall.SIGTERM {
		t.Errorf("push exits with %d (signal %v), want to be killed by the signal: %s", code, by, p.errs.String())
	}
	if took := time.Since(sent); took > prompt/2 {
		t.Errorf("the second signal took %v", took)
	}
}

// TestSignalInJSON says so in a document.
func TestSignalInJSON(t *testing.T) {
	storetest.CleanEnv(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	l := silentServer(t)
	p := startLite(t, "list", "--json", "--store", "s3://bucket?endpoint=http://"+l.address)
	select {
	case <-l.taken:
	case err := <-p.ended:
		t.Fatalf("list ended: %v: %s", err, p.errs.String())
	}
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code, by := p.wait(t, prompt); code != exitInterrupted || by != 0 {
		t.Errorf("list exits with %d (signal %v), want %d", code, by, exitInterrupted)
	}
	var document struct {
		Error struct {
			Message  string
			ExitCode int `json:"exit_code"`
		}
	}
	if err := json.Unmarshal(p.out.Bytes(), &document); err != nil || document.Error.ExitCode != exitInterrupted {
		t.Errorf("list prints %q: %v", p.out.String(), err)
	}
}

// receive returns what comes while the process runs.
func receive(t *testing.T, from <-chan string, p *process) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(time.Minute):
		t.Fatalf("%q did not come that far: %s", p.Args, p.errs.String())
		return ""
	}
}

func drain(c <-chan string) {
	for len(c) > 0 {
		<-c
	}
}
