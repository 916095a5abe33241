package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// TestWatchFaults lets every call of the store go wrong while a database is watched: before and after it took
// effect, and cut. What is claimed is there, what is listed is sound, and the watch goes on.
func TestWatchFaults(t *testing.T) {
	t.Parallel()
	for _, how := range []storetest.How{storetest.Before, storetest.After, storetest.Cut} {
		for n, hit := 1, true; hit; n++ {
			hit = failWatch(t, storetest.Step{Call: n, How: how})
			if !hit && n < 15 { // four pushes
				t.Errorf("%v: only %d calls", how, n-1)
			}
		}
	}
}

// A faultyWatch is a watch whose store is faulty, of a database that holds one number.
type faultyWatch struct {
	t      *testing.T
	dir    string
	when   string
	sound  *store.Dir
	st     *storetest.Faulty // the same with a fault
	shell  *sqliteshell.Shell
	claims chan format.Name // what the log says is stored
}

// failWatch reports whether there was such a call.
func failWatch(t *testing.T, step storetest.Step) bool {
	t.Helper()
	w := &faultyWatch{t: t, dir: storetest.FastDir(t), when: fmt.Sprintf("%v call %d", step.How, step.Call), claims: make(chan format.Name, 1000)}
	var err error
	if w.sound, err = store.OpenDir(filepath.Join(w.dir, "store")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.sound.String(), 0o700); err != nil {
		t.Fatal(err)
	}
	w.st = storetest.Fault(w.sound, step)
	db := filepath.Join(w.dir, "app.db")
	if w.shell, err = sqliteshell.Start(db, "PRAGMA journal_mode=WAL; CREATE TABLE t (x); INSERT INTO t VALUES (0)"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx, db) }()
	for i := range 3 {
		w.commit(i + 1)
		w.await(i + 1)
	}
	w.commit(4)
	cancel()
	err = <-ended
	if err := w.shell.Kill(); err != nil {
		t.Fatal(err)
	}
	close(w.claims)
	last := -1
	for n := range w.claims {
		last = w.restored(n)
	}
	hit := w.st.Hit() > 0
	all, lerr := catalog.List(t.Context(), w.sound, "app.db")
	if lerr != nil {
		t.Fatal(lerr)
	}
	for _, s := range all {
		if _, err := restore.Verify(t.Context(), w.sound, s, restore.Options{}); err != nil {
			t.Errorf("%s: listed and not sound: %v", w.when, err)
		}
	}
	if newest := w.restored(all[len(all)-1].Name); err == nil && (newest != 4 || last != 4) {
		t.Errorf("%s: the watch ended well, and claims %d at last, and the store holds %d, want 4", w.when, last, newest)
	}
	if err != nil && !hit {
		t.Errorf("%s: the watch ended with %v", w.when, err)
	}
	w.st.Check(t)
	return hit
}

// run watches as the command does, but far more often.
func (w *faultyWatch) run(ctx context.Context, db string) error {
	log := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := &program{ui: ui.New(ui.Options{Out: io.Discard, Err: io.Discard, Quiet: true}), log: log, tempDir: w.dir, stateDir: filepath.Join(w.dir, "state")}
	d := &watched{confirmEvery: time.Hour, p: p, st: w.st, source: source{db, "app.db"}, opts: pushOptions{
		up: upload.Options{Source: format.Source{Host: "h"}, TempDir: w.dir},
		sn: snapshot.Options{TempDir: w.dir},
	}}
	defer d.Close()
	return watch.Run(ctx, []watch.Database{d}, watch.Options{Every: 5 * time.Millisecond, Logger: log})
}

// Write gets one record of the log at a time.
func (w *faultyWatch) Write(line []byte) (int, error) {
	var record struct{ Msg, Snapshot string }
	if err := json.Unmarshal(line, &record); err != nil {
		return 0, err
	}
	if record.Msg == "snapshot stored" && record.Snapshot != "" || record.Msg == "unchanged" {
		n, err := format.ParseName(record.Snapshot)
		if err != nil {
			return 0, err
		}
		w.claims <- n
	}
	return len(line), nil
}

func (w *faultyWatch) commit(i int) {
	w.t.Helper()
	if err := w.shell.Do(fmt.Sprintf("UPDATE t SET x = %d;", i)); err != nil {
		w.t.Fatal(err)
	}
}

// await returns when a snapshot is claimed that holds i. Until then they may hold what was there before.
func (w *faultyWatch) await(i int) {
	w.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case n := <-w.claims:
			switch got := w.restored(n); {
			case got == i:
				return
			case got != i-1:
				w.t.Fatalf("%s: %v holds %d, want %d", w.when, n, got, i)
			}
		case <-limit:
			w.t.Fatalf("%s: no snapshot holds %d after a minute", w.when, i)
		}
	}
}

// restored returns what a snapshot holds.
func (w *faultyWatch) restored(n format.Name) (x int) {
	w.t.Helper()
	snap, err := catalog.Get(w.t.Context(), w.sound, "app.db", n)
	if err != nil {
		w.t.Fatalf("%s: %v is claimed: %v", w.when, n, err)
	}
	out := filepath.Join(w.dir, "out.db")
	if _, err := restore.File(w.t.Context(), w.sound, snap, out, restore.FileOptions{}); err != nil {
		w.t.Fatalf("%s: %v is claimed: %v", w.when, n, err)
	}
	if _, err := fmt.Sscan(strings.TrimSpace(sh(w.t, out, "SELECT x FROM t")), &x); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Remove(out); err != nil {
		w.t.Fatal(err)
	}
	return x
}
