package sqliteshell_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litestash/litestash/internal/sqliteshell"
)

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	got, err := sqliteshell.Run(path, "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2);", "SELECT a FROM t")
	if got != "1\n2\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := sqliteshell.Run(path, "SELECT b FROM t"); err == nil || !strings.Contains(err.Error(), "no such column") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestShell ends one shell and kills another: what these leave tells one from the other.
func TestShell(t *testing.T) {
	for _, kills := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "app.db")
		s, err := sqliteshell.Start(path, "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)")
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Ask("SELECT a FROM t; SELECT 'two';")
		if got != "1\ntwo" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		end := s.End
		if kills {
			end = s.Kill
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path + "-wal"); (err == nil) != kills {
			t.Errorf("killed is %v, and of its WAL: %v", kills, err)
		}
		if err := s.Do("SELECT 1;"); err == nil {
			t.Error("a shell that is gone does something")
		}
	}
}

func TestShellEndsByItself(t *testing.T) {
	if _, err := sqliteshell.Start(filepath.Join(t.TempDir(), "absent", "app.db"), "CREATE TABLE t(a)"); err == nil {
		t.Error("a shell runs without its database")
	}
}
