package sample_test

import (
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litestash/litestash/internal/sample"
)

// TestShop makes the database, writes to it, and lets the sqlite3 shell see what is there.
func TestShop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "it's 100%.db")
	if err := sample.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	before, err := sample.Read(t.Context(), path, math.MaxInt64)
	if err != nil || !before.Agrees() || before.Orders != 100_000 {
		t.Fatalf("new: %+v, %v", before, err)
	}
	if err := sample.Create(t.Context(), path); err == nil {
		t.Fatal("made over an existing one")
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const add = 25
	err = sample.Write(ctx, path, func(n int64) error {
		if n == add {
			stop()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := sample.Read(t.Context(), path, math.MaxInt64)
	if err != nil || !after.Agrees() || after.Orders != before.Orders+add || after.Last < before.Last {
		t.Errorf("written to: %+v, %v", after, err)
	}
	first, err := sample.Read(t.Context(), path, before.Orders)
	if err != nil || first.Orders != before.Orders || first.Cents != before.Cents || first.Agrees() {
		t.Errorf("first ones: %+v, %v; want the orders of %+v beside new totals", first, err, before)
	}
	if got := shell(t, path, "PRAGMA journal_mode; PRAGMA integrity_check; SELECT count(*) FROM orders"); got != "wal\nok\n100025" {
		t.Errorf("the shell says %q", got)
	}
}

func TestCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	shell(t, path, `CREATE TABLE "select ""x"" from" (a); INSERT INTO "select ""x"" from" VALUES (1), (2), (3);
		CREATE TABLE sqlitex (a); INSERT INTO sqlitex VALUES (1); CREATE VIEW v AS SELECT 1; CREATE VIRTUAL TABLE f USING fts5(a); CREATE TABLE z (a INTEGER PRIMARY KEY AUTOINCREMENT)`)
	got, err := sample.Count(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	want := []sample.Table{{Name: `select "x" from`, Rows: 3}, {Name: "sqlitex", Rows: 1}, {Name: "z"}}
	got = slices.DeleteFunc(got, func(c sample.Table) bool { return strings.HasPrefix(c.Name, "f_") }) // where fts5 keeps its own
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := sample.Count(t.Context(), path+"x"); err == nil {
		t.Error("counted what does not exist")
	}
	if _, err := os.Lstat(path + "x"); err == nil {
		t.Error("made what did not exist")
	}
}

func shell(t *testing.T, path, sql string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", "-bail", path, sql).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}
