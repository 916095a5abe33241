package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestWatchPings watches a database that is well, then not one, then well again.
func TestWatchPings(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { asked <- q.URL.Path }))
	defer server.Close()
	file := filepath.Join(r.dir, "url")
	if err := os.WriteFile(file, []byte(server.URL+"/job"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := r.start(t, "--ping-url-file", file)
	want := func(path string) {
		t.Helper()
		if got := receive(t, asked, w.process); got != path {
			t.Fatalf("asked for %s, want %s", got, path)
		}
	}
	want("/job/start")
	w.await(t, "the database is not there")
	sh(t, r.db, "CREATE TABLE t (x)")
	want("/job") // not before there was something to push
	sound, err := os.ReadFile(r.db)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.db, []byte("this is no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("/job/7")
	if err := os.WriteFile(r.db, sound, 0o600); err != nil {
		t.Fatal(err)
	}
	want("/job")
	if err := w.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, by := w.wait(t, time.Minute); code != 0 || by != 0 {
		t.Errorf("watch exits with %d (signal %v)", code, by)
	}
	want("/job")
	if len(asked) > 0 {
		t.Errorf("and asked for %s", <-asked)
	}
}

// TestWatchDamaged watches a database whose index is damaged and then repaired: the watch goes on, and whoever is
// pinged is told.
func TestWatchDamaged(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { asked <- q.URL.Path }))
	defer server.Close()
	file := filepath.Join(r.dir, "url")
	if err := os.WriteFile(file, []byte(server.URL+"/job"), 0o600); err != nil {
		t.Fatal(err)
	}
	sh(t, r.db, "CREATE TABLE t (x); INSERT INTO t VALUES ('abc'); CREATE INDEX i ON t (x)")
	index := func(sql string) {
		t.Helper()
		sh(t, r.db, ".dbconfig defensive off", "PRAGMA writable_schema = on", "UPDATE sqlite_schema SET sql = '"+sql+"' WHERE name = 'i'")
	}
	index("CREATE INDEX i ON t (length(x))")
	w := r.start(t, "--check", "full", "--ping-url-file", file)
	w.await(t, "the database is damaged")
	w.await(t, "snapshot stored")
	for _, path := range []string{"/job/start", "/job/4"} {
		if got := receive(t, asked, w.process); got != path {
			t.Fatalf("asked for %s, want %s", got, path)
		}
	}
	index("CREATE INDEX i ON t (x)")
	w.await(t, "snapshot stored")
	if got := receive(t, asked, w.process); got != "/job" {
		t.Fatalf("asked for %s when it was repaired", got)
	}
	if err := w.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, by := w.wait(t, time.Minute); code != 0 || by != 0 {
		t.Errorf("watch exits with %d (signal %v)", code, by)
	}
	code, stdout, stderr := lite(t, append([]string{"status", "app.db"}, r.global()...)...)
	if code != 0 {
		t.Errorf("status exits with %d: %s%s", code, stdout, stderr)
	}
}

// TestPulseKeepsTrouble tells a pulse of trouble while the service is slow: that is what it is told next.
func TestPulseKeepsTrouble(t *testing.T) {
	u := &pulse{codes: make(chan int, 1)}
	for _, code := range []int{exitDone, exitDamaged, exitDone} {
		u.tell(code)
	}
	for _, want := range []int{exitDamaged, exitDone} {
		select {
		case got := <-u.codes:
			if got != want {
				t.Errorf("the service is told %d, want %d", got, want)
			}
		default:
			t.Errorf("the service is told nothing, want %d", want)
		}
		u.looked()
	}
}
