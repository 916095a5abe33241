package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// bank is a database whose snapshots can be checked: each transaction moves an amount from an
// account in one table to one in the other, and counts itself.
const bank = `
	CREATE TABLE left (id INTEGER PRIMARY KEY, amount INTEGER, padding);
	CREATE TABLE right (id INTEGER PRIMARY KEY, amount INTEGER, padding);
	CREATE TABLE counter (n INTEGER);
	INSERT INTO counter VALUES (0);
	WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i+1 FROM n WHERE i < 5000)
		INSERT INTO left SELECT i, 1000, randomblob(300) FROM n;
	INSERT INTO right SELECT id, amount, randomblob(300) FROM left;`

// transferSQL is one transaction, told to have ended by its number on a line.
const transferSQL = `BEGIN IMMEDIATE;
CREATE TEMP TABLE IF NOT EXISTS choice (a, b, amount);
DELETE FROM choice;
INSERT INTO choice SELECT abs(random() % 5000) + 1, abs(random() % 5000) + 1, abs(random() % 100);
UPDATE left SET amount = amount - (SELECT amount FROM choice), padding = randomblob(300) WHERE id = (SELECT a FROM choice);
UPDATE right SET amount = amount + (SELECT amount FROM choice), padding = randomblob(300) WHERE id = (SELECT b FROM choice);
UPDATE counter SET n = n + 1;
COMMIT;
SELECT n FROM counter;
`

// audit answers "ok", the sum of all amounts, and how many transactions there were.
const audit = `PRAGMA integrity_check;
	SELECT (SELECT sum(amount) FROM left) + (SELECT sum(amount) FROM right); SELECT n FROM counter`

// A bankWriter is a sqlite3 shell that transfers at full speed.
type bankWriter struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	count atomic.Int64  // transactions that ended
	fed   chan struct{} // closed when nothing more is fed to the shell
	more  chan struct{} // holds something after a transaction has ended
	ended chan struct{} // closed when all that the shell printed was read

	// What follows is read when ended is closed.
	longest time.Duration // between two that ended one after the other
	said    string        // what the shell complained of
}

// startBankWriter starts a writer as the command, which runs the sqlite3 shell.
func startBankWriter(t *testing.T, command ...string) *bankWriter {
	t.Helper()
	return startBankWriterThat(t, func() string { return transferSQL }, command...)
}

// startBankWriterThat starts one that is fed with what next returns, a transfer and whatever prints nothing.
func startBankWriterThat(t *testing.T, next func() string, command ...string) *bankWriter {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	w := &bankWriter{cmd: cmd, fed: make(chan struct{}), more: make(chan struct{}, 1), ended: make(chan struct{})}
	var err error
	if w.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.fed)
		for {
			if _, err := io.WriteString(w.stdin, next()); err != nil {
				return // it was closed
			}
		}
	}()
	go func() {
		defer close(w.ended)
		last := time.Now()
		buffer := make([]byte, 4096)
		for {
			n, err := stdout.Read(buffer)
			for _, b := range buffer[:n] {
				if b == '\n' {
					w.count.Add(1)
				}
			}
			if n > 0 {
				now := time.Now()
				if w.count.Load() > 1 {
					w.longest = max(w.longest, now.Sub(last))
				}
				last = now
				select {
				case w.more <- struct{}{}:
				default:
				}
			}
			if err != nil {
				w.cmd.Wait() // says that it was ended or what is in errs
				w.said = errs.String()
				return
			}
		}
	}()
	t.Cleanup(func() { w.stop() })
	w.advance(t)
	return w
}

// advance returns when a transaction has ended that began after the call.
func (w *bankWriter) advance(t *testing.T) {
	t.Helper()
	for enough := w.count.Load() + 2; w.count.Load() < enough; {
		select {
		case <-w.more:
		case <-w.ended:
			t.Fatalf("the writer ended: %s", w.said)
		}
	}
}

// stop lets the writer end the transactions that it has got, and waits for it.
func (w *bankWriter) stop() {
	w.stdin.Close()
	<-w.fed
	<-w.ended
}

// kill ends the writer in the midst of what it does.
func (w *bankWriter) kill(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.fed
	<-w.ended
}

// TestPushBesideWriter pushes while another process writes as fast as it can. Every push has to
// end, and every snapshot has to hold what was committed at one instant.
func TestPushBesideWriter(t *testing.T) {
	pushes := 12
	if testing.Short() {
		pushes = 4
	}
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			db, url := filepath.Join(dir, "bank.db"), filepath.Join(dir, "store")
			sh(t, db, "PRAGMA journal_mode="+mode, bank)
			w := startBankWriter(t, "sqlite3", "-batch", "-cmd", ".timeout 10000", db)
			var names []string
			var slowest time.Duration
			var wal int64
			for range pushes {
				start := time.Now()
				names = append(names, strings.TrimSpace(mustLite(t, "push", "-q", db, "--store", url)))
				slowest = max(slowest, time.Since(start))
				w.advance(t) // or two snapshots might hold the same
				if info, err := os.Stat(db + "-wal"); err == nil {
					wal = max(wal, info.Size())
				}
			}
			w.stop()
			if w.said != "" {
				t.Errorf("the writer was hindered: %s", w.said)
			}
			total := checkBank(t, url, names)
			if w.count.Load() < int64(total) {
				t.Errorf("%d transactions are in a snapshot, and only %d were committed", total, w.count.Load())
			}
			if out := sh(t, db, audit); !strings.HasPrefix(out, "ok\n10000000\n") {
				t.Errorf("the source holds %q", out)
			}
			t.Logf("%d transactions beside %d pushes; the slowest push took %v; the longest wait for a commit was %v; the WAL grew to %d kB",
				w.count.Load(), pushes, slowest.Round(time.Millisecond), w.longest.Round(time.Millisecond), wal/1000)
		})
	}
}

// checkBank restores the snapshots and returns how many transactions are in the last.
func checkBank(t *testing.T, url string, names []string) (transactions int) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.db")
	for i, name := range names {
		mustLite(t, "restore", "bank.db", "-o", out, "--at", name, "--store", url, "--replace", "--discard-old")
		got := lines(sh(t, out, audit))
		if len(got) != 3 || got[0] != "ok" || got[1] != "10000000" {
			t.Fatalf("snapshot %s holds %q", name, got)
		}
		n, err := strconv.Atoi(got[2])
		if err != nil {
			t.Fatal(err)
		}
		if n <= transactions && i > 0 {
			t.Errorf("snapshot %s holds %d transactions, and the one before it %d", name, n, transactions)
		}
		transactions = n
	}
	return transactions
}

// TestPushAsRoot pushes another user's database: that user's process goes on writing, and nothing
// beside the database gets another owner.
func TestPushAsRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run processes as another user")
	}
	const nobody = 65534
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			// Not below t.TempDir, which is root's alone.
			dir, err := os.MkdirTemp("", "litestash-nobody-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.Chown(dir, nobody, nobody); err != nil {
				t.Fatal(err)
			}
			db, url := filepath.Join(dir, "bank.db"), filepath.Join(t.TempDir(), "store")
			sh(t, db, "PRAGMA journal_mode="+mode, bank)
			if err := os.Chown(db, nobody, nobody); err != nil {
				t.Fatal(err)
			}
			asNobody := []string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups"}
			writer := append(asNobody, "sqlite3", "-batch", "-cmd", ".timeout 10000", db)

			// While nobody has it open, and with side files that a crash left.
			names := []string{strings.TrimSpace(mustLite(t, "push", "-q", db, "--store", url))}
			ownedBy(t, dir, nobody)
			w := startBankWriter(t, writer...)
			for range 3 {
				names = append(names, strings.TrimSpace(mustLite(t, "push", "-q", db, "--store", url)))
				ownedBy(t, dir, nobody)
				w.advance(t)
			}
			w.stop()
			if w.said != "" {
				t.Errorf("the writer was hindered: %s", w.said)
			}
			checkBank(t, url, names)
			// One that comes after the pushes can write as well.
			mustLite(t, "push", "-q", db, "--store", url)
			w = startBankWriter(t, writer...)
			w.stop()
			if w.said != "" {
				t.Errorf("a later writer was hindered after %d transactions: %s", w.count.Load(), w.said)
			}
			ownedBy(t, dir, nobody)

			// What that user cannot read, it cannot push.
			if err := os.Chown(db, 0, 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(db, 0o600); err != nil {
				t.Fatal(err)
			}
			lite, err := exec.LookPath("litestash")
			if err != nil {
				t.Fatal(err)
			}
			readable := filepath.Join(dir, "litestash")
			copyProgram(t, lite, readable)
			p := startCommand(t, exec.Command(asNobody[0], append(asNobody[1:], readable, "push", db, "--store", filepath.Join(dir, "store"))...))
			if code, _ := p.wait(t, time.Minute); code != exitFailed || !strings.Contains(p.errs.String(), "permission denied") || !strings.Contains(p.errs.String(), "hint: run litestash as a user who may") {
				t.Errorf("push of an unreadable database exits with %d: %s", code, p.errs.String())
			}
			// Nor can it use a store that is another's.
			closed := filepath.Join(dir, "closed")
			if err := os.Mkdir(closed, 0o700); err != nil {
				t.Fatal(err)
			}
			p = startCommand(t, exec.Command(asNobody[0], append(asNobody[1:], readable, "list", "--store", closed)...))
			if code, _ := p.wait(t, time.Minute); code != exitLockedOut || !strings.Contains(p.errs.String(), "permission denied") {
				t.Errorf("list of an unreadable store exits with %d: %s", code, p.errs.String())
			}
			// Where it may remember nothing it pushes all the same, upon what the store tells.
			for i, kind := range []string{"full", "delta"} {
				sh(t, db, fmt.Sprintf("UPDATE counter SET n = %d", i))
				if err := os.Chown(db, nobody, nobody); err != nil {
					t.Fatal(err)
				}
				p = startCommand(t, exec.Command(asNobody[0], append(asNobody[1:], readable, "push", db, "--store", filepath.Join(dir, "store"), "--state-dir", closed)...))
				if code, _ := p.wait(t, time.Minute); code != 0 || !strings.Contains(lines(p.out.String())[0], " "+kind) || !strings.Contains(p.errs.String(), "nothing is remembered of this push") || !strings.Contains(p.errs.String(), "permission denied") {
					t.Errorf("push with a closed state directory exits with %d: %s%s", code, p.out.String(), p.errs.String())
				}
			}
		})
	}
}

// ownedBy fails the test unless all files in dir belong to a user.
func ownedBy(t *testing.T, dir string, uid uint32) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if os.IsNotExist(err) {
			continue // a journal
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != uid {
			t.Errorf("%s belongs to user %d, want %d", e.Name(), got, uid)
		}
	}
}

// copyProgram copies a program to where everybody can run it.
func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}
