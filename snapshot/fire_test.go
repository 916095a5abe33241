package snapshot

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// writer is a program that moves amounts between two tables as fast as it can, counts its commits
// in a third, and lets a log grow and be cut. When its standard input ends it says how long it took
// to commit.
const writer = `
import json, os, random, select, sqlite3, sys, threading, time
path, mode, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute("PRAGMA journal_mode=" + mode)
db.execute("PRAGMA synchronous=OFF")
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
n, longest, wal = 0, 0.0, 0
print("writing", flush=True)
while not stop.is_set():
    start = time.monotonic()
    db.execute("BEGIN IMMEDIATE")
    for _ in range(5):
        amount = random.randint(1, 100)
        db.execute("UPDATE a SET v=v-? WHERE id=?", (amount, random.randint(1, 2000)))
        db.execute("UPDATE b SET v=v+? WHERE id=?", (amount, random.randint(1, 2000)))
    n += 1
    db.execute("INSERT INTO log VALUES(?, ?)", (n, random.randbytes(500)))
    if n % 50 == 0:
        db.execute("DELETE FROM log WHERE n % 3 = 0")
    db.execute("UPDATE count SET n=?", (n,))
    db.execute("COMMIT")
    longest = max(longest, time.monotonic() - start)
    try: wal = max(wal, os.path.getsize(path + "-wal"))
    except FileNotFoundError: pass
    if pause: time.sleep(pause)
print(json.dumps({"commits": n, "longest": longest, "wal": wal}), flush=True)
`

// TestFire takes snapshots one after the other while Python programs write, through the C library. Each must be one instant.
func TestFire(t *testing.T) {
	for _, c := range []struct {
		name, mode string
		pause      string // seconds between commits
		megabytes  int    // of payload that is in the way
		writers    int
	}{
		{"wal", "wal", "0", 40, 1},
		{"two in wal", "wal", "0", 5, 2},
		{"delete", "delete", "0", 40, 1},
		{"persist", "persist", "0", 5, 1},
		{"now and then", "truncate", "0.05", 40, 1},
	} {
		t.Run(c.name, func(t *testing.T) { underFire(t, c.mode, c.pause, c.megabytes, c.writers) })
	}
}

func underFire(t *testing.T, mode, pause string, megabytes, writers int) {
	duration := 3 * time.Second
	if testing.Short() {
		duration, megabytes = 300*time.Millisecond, min(megabytes, 20)
	}
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA journal_mode="+mode+`;
		CREATE TABLE a(id INTEGER PRIMARY KEY, v); INSERT INTO a SELECT value, 1000 FROM generate_series(1, 2000);
		CREATE TABLE b(id INTEGER PRIMARY KEY, v); INSERT INTO b SELECT value, 1000 FROM generate_series(1, 2000);
		CREATE TABLE count(n); INSERT INTO count VALUES(0);
		CREATE TABLE log(n INTEGER, b);
		CREATE TABLE ballast(b);`)
	run(t, path, fmt.Sprintf("PRAGMA synchronous=off; INSERT INTO ballast SELECT randomblob(1000000) FROM generate_series(1, %d)", megabytes))
	var stops []func() fired
	for range writers {
		stops = append(stops, fire(t, path, mode, pause))
	}
	var longest, elapsed time.Duration
	restarts, taken, pinned := 0, 0, 0
	for start := time.Now(); taken == 0 || time.Since(start) < duration; taken++ {
		m, err := Take(t.Context(), path, Options{TempDir: t.TempDir(), BusyTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, m)
		image := filepath.Join(t.TempDir(), "image.db")
		if err := os.WriteFile(image, content(t, m), 0o600); err != nil {
			t.Fatal(err)
		}
		got := run(t, image, "PRAGMA integrity_check; SELECT (SELECT sum(v) FROM a) + (SELECT sum(v) FROM b)")
		if got != "ok\n4000000" {
			t.Errorf("snapshot %d: %s", taken, got)
		}
		if writers == 1 {
			if got := run(t, image, "SELECT max(log.n) = count.n OR count.n % 150 = 0 FROM log, count"); got != "1" && taken > 0 {
				t.Errorf("snapshot %d: its last logged commit is not its last commit", taken)
			}
		}
		st := m.Stats()
		longest, elapsed = max(longest, st.Held), max(elapsed, st.Elapsed)
		restarts += st.Restarts
		if st.Pinned {
			pinned++
		}
		m.Close()
	}
	for _, stop := range stops {
		f := stop()
		if f.Commits == 0 {
			t.Error("nothing was written")
		}
		t.Logf("%d snapshots, %d of them pinned, %d restarts, held for at most %v, at most %v in all; %d commits, at most %.3f s each, WAL at most %d bytes",
			taken, pinned, restarts, longest, elapsed, f.Commits, f.Longest, f.WAL)
	}
}

// fired is what a writer says of itself.
type fired struct {
	Commits int
	Longest float64 // seconds
	WAL     int64   // bytes
}

// fire starts a writer and returns the function that stops it.
func fire(t *testing.T, path, mode, pause string) (stop func() fired) {
	t.Helper()
	cmd := exec.Command("python3", "-c", writer, path, mode, pause)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	return func() (f fired) {
		t.Helper()
		in.Close()
		last, err := io.ReadAll(lines)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(last, &f); err != nil {
			t.Fatalf("%q: %v", last, err)
		}
		return f
	}
}
