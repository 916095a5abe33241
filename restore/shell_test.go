package restore_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/litestash/litestash/internal/sqliteshell"
)

// shell runs SQL in the sqlite3 shell.
func shell(t testing.TB, path, sql string) {
	t.Helper()
	if _, err := sqliteshell.Run(path, sql); err != nil {
		t.Fatal(err)
	}
}

// rows is SQL that makes a table t of n rows with the value v.
func rows(v string, n int) string {
	return fmt.Sprintf(`CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT, filler TEXT);
		WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < %d)
		INSERT INTO t SELECT i, '%s', hex(randomblob(20)) FROM n;`, n, v)
}

// contents returns what the sqlite3 shell finds in a database that [rows] made, or why it finds
// nothing. It lets SQLite recover the database.
func contents(path string) string {
	out, err := sqliteshell.Run(path, "PRAGMA integrity_check; SELECT v, count(*), sum(k) FROM t GROUP BY v ORDER BY v")
	if err != nil {
		return strings.ReplaceAll(err.Error(), path, "it") // the same wherever it is
	}
	return out
}

// startShell runs SQL in a shell that stays open until the test ends, and returns once all has been done.
func startShell(t testing.TB, path, sql string) *sqliteshell.Shell {
	t.Helper()
	s, err := sqliteshell.Start(path, sql)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill() })
	return s
}

// killShell ends a shell as kill -9 does.
func killShell(t testing.TB, s *sqliteshell.Shell) {
	t.Helper()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
}

// kill ends a process as kill -9 does. One that has ended stays so.
func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// makeWAL makes a database of which a part is in its -wal, left by a process that was killed.
func makeWAL(t *testing.T, path string) {
	t.Helper()
	s := startShell(t, path, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;"+rows("old", 300)+
		"PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET v = 'old, in the wal' WHERE k % 3 = 0;")
	killShell(t, s)
	checkSize(t, path+"-wal")
}

// makeHotJournal makes a database in the middle of a transaction, left by a process that
// was killed.
func makeHotJournal(t *testing.T, path string) {
	t.Helper()
	s := startShell(t, path, "PRAGMA journal_mode=DELETE;"+rows("old", 1000)+
		"PRAGMA cache_size=2; BEGIN; UPDATE t SET v = 'torn';")
	killShell(t, s)
	checkSize(t, path+"-journal")
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), "torn") {
		t.Fatalf("the transaction has not reached the database (%v)", err)
	}
}

func checkSize(t *testing.T, path string) {
	t.Helper()
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Fatalf("%s is missing or empty (%v)", path, err)
	}
}
