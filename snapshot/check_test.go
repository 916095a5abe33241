package snapshot

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name        string
		python      string // that makes the database
		quick, full Outcome
	}{
		{"tables", `c.execute("create table t(a unique, b)"); c.executemany("insert into t values(?, ?)", ((n, "x" * 500) for n in range(1000)))`, Sound, Sound},
		{"wal", `c.execute("pragma journal_mode=wal"); c.execute("create table t(a)")`, Sound, Sound},
		{"collation", `c.create_collation("foo", lambda a, b: (a > b) - (a < b)); c.execute("create table t(a collate foo unique)"); c.execute("insert into t values('x'), ('y')")`, NotCheckable, NotCheckable},
		{"function in an index", `c.create_function("foo", 1, lambda a: a, deterministic=True); c.execute("create table t(a)"); c.execute("create index i on t(foo(a))"); c.execute("insert into t values('x')")`, Sound, NotCheckable},
		{"function in a constraint", `c.create_function("foo", 1, lambda a: 1, deterministic=True); c.execute("create table t(a check(foo(a)))"); c.execute("insert into t values('x')")`, Sound, Sound},
		{"function in a view", `c.create_function("foo", 1, lambda a: 1); c.execute("create table t(a)"); c.execute("create view v as select foo(a) from t")`, Sound, Sound},
		{"full-text search", `c.execute("create virtual table t using fts5(a)"); c.execute("insert into t values('x')")`, Sound, Sound},
		{"r-tree", `c.execute("create virtual table t using rtree(id, a, b)"); c.execute("insert into t values(1, 2, 3)")`, Sound, Sound},
		{"quoted strings", `c.execute("create table t(a)"); c.execute('create index i on t(a) where a <> "x"')`, Sound, Sound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			out, err := exec.Command("python3", "-c", "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\n"+c.python+"\nc.commit()\nc.close()", path).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			before := prints(t, path)
			for level, want := range map[CheckLevel]Outcome{Quick: c.quick, Full: c.full} {
				got, err := Check(t.Context(), path, level)
				if err != nil || got.Outcome != want || (want == Sound) != (len(got.Messages) == 0) {
					t.Errorf("level %d: %v %q, %v, want %v", level, got.Outcome, got.Messages, err, want)
				}
			}
			if after := prints(t, path); before != after {
				t.Errorf("the file was changed: before\n%safter\n%s", before, after)
			}
		})
	}
}

// TestCheckLargeValue checks an index over a value for which there is not enough memory.
func TestCheckLargeValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES(zeroblob(100000000))")
	for level, want := range map[CheckLevel]Outcome{Quick: Sound, Full: NotCheckable} {
		got, err := Check(t.Context(), path, level)
		if err != nil || got.Outcome != want {
			t.Errorf("level %d: %v %q, %v, want %v", level, got.Outcome, got.Messages, err, want)
		}
	}
}

func TestCheckDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, fill)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root := slices.Index([]string{"t", "i"}, "i") + 2 // the root page of the index
	for _, c := range []struct {
		name        string
		harm        func(b []byte) []byte
		quick, full Outcome
	}{
		{"page of zeros", func(b []byte) []byte { clear(b[20*4096:][:4096]); return b }, Damaged, Damaged},
		{"truncated", func(b []byte) []byte { return b[:len(b)-4096] }, Damaged, Damaged},
		{"not a database", func(b []byte) []byte { return []byte("text") }, Damaged, Damaged},
		{"schema", func(b []byte) []byte { b[100] = 0x77; return b }, Damaged, Damaged},
		{"root of a table", func(b []byte) []byte { clear(b[4096:][:8]); return b }, Damaged, Damaged},
		{"index", func(b []byte) []byte { b[root*4096-1] ^= 1; return b }, Sound, Damaged},
	} {
		path := filepath.Join(t.TempDir(), "app.db")
		if err := os.WriteFile(path, c.harm(slices.Clone(sound)), 0o600); err != nil {
			t.Fatal(err)
		}
		for level, want := range map[CheckLevel]Outcome{Quick: c.quick, Full: c.full} {
			got, err := Check(t.Context(), path, level)
			if err != nil || got.Outcome != want || want == Damaged && len(got.Messages) == 0 {
				t.Errorf("%s, level %d: %v %q, %v, want %v", c.name, level, got.Outcome, got.Messages, err, want)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, path, Full); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := Damaged.String() + NotCheckable.String() + Sound.String(); !strings.Contains(got, "not checkable") {
		t.Error(got)
	}
}
