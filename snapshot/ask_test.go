package snapshot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
)

const shop = `PRAGMA journal_mode=wal; CREATE TABLE users(id INTEGER PRIMARY KEY, name);
	INSERT INTO users VALUES(7, 'ann'), (9, NULL);
	CREATE TABLE orders(id INTEGER PRIMARY KEY, user REFERENCES users(id)); INSERT INTO orders VALUES(1, 7);`

// TestAsk asks a database what its owner might.
func TestAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, shop)
	before := prints(t, path)
	for _, c := range []struct {
		sql    string
		holds  bool
		values string // joined by commas
		why    string
	}{
		{"SELECT count(*) > 0, max(id) FROM users", true, "1,9", ""},
		{"SELECT count(*) > 2, count(*) FROM users", false, "0,2", ""},
		{"SELECT name, id FROM users ORDER BY id DESC", false, "NULL,9", ""},
		{"SELECT '2 apples', x'00ff', 1.5, NULL;", true, "2 apples,x'00ff',1.5,NULL", ""},
		{"SELECT 'apples'", false, "apples", ""},
		{"SELECT 0.5", true, "0.5", ""},
		{"SELECT id FROM users WHERE id > 9", false, "", "no row"},
		{"SELECT count(*) FROM customers", false, "", "no such table: customers"},
		{"SELECT magic(id) FROM users", false, "", "no such function: magic"},
		{"PRAGMA user_version", false, "0", ""},
		{"SELECT 1, printf('%.*c', 1000, 'x')", true, "1," + strings.Repeat("x", 200) + "...", ""},
		{"SELECT 1, zeroblob(1000)", true, "1,x'" + strings.Repeat("0", 198) + "...", ""},
	} {
		got, err := Ask(t.Context(), path, Questions{Assertions: []string{c.sql}, TimeLimit: time.Minute})
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		a := got[0]
		if a.Query != c.sql || a.Holds != c.holds || strings.Join(a.Values, ",") != c.values || (a.Why == "") != (c.why == "") || !strings.Contains(a.Why, c.why) || a.Damaged {
			t.Errorf("%s: got %+v", c.sql, a)
		}
	}
	for _, sql := range []string{"DELETE FROM users", "CREATE TEMP TABLE t(a)", "ATTACH 'other.db' AS other", "SELECT 1; SELECT 2", "SELECT ? FROM users", ""} {
		_, err := Ask(t.Context(), path, Questions{Assertions: []string{"SELECT 1", sql}})
		if !errors.As(err, new(*NotQueryError)) || !strings.Contains(err.Error(), sql) {
			t.Errorf("%q: %v", sql, err)
		}
	}
	if after := prints(t, path); before != after {
		t.Errorf("the file was changed: before\n%safter\n%s", before, after)
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"app.db"}) {
		t.Errorf("it made files: %q", got)
	}
}

// TestAskForeignKeys asks for rows that refer to nothing.
func TestAskForeignKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, shop)
	for _, c := range []struct {
		sql   string
		holds bool
		why   string
	}{
		{"", true, ""},
		{"INSERT INTO orders VALUES(5, 8)", false, "row 5 of the table orders refers to a row of users that is not there"},
		{"INSERT INTO orders VALUES(6, 10), (7, 10)", false, "and so do 2 more"},
		{"CREATE TABLE bills(o REFERENCES orders(user)); INSERT INTO bills VALUES(1)", false, "foreign key mismatch"},
	} {
		run(t, path, c.sql)
		got, err := Ask(t.Context(), path, Questions{ForeignKeys: true, Assertions: []string{"SELECT 1"}})
		if err != nil || len(got) != 2 || got[0].Holds != c.holds || !strings.Contains(got[0].Why, c.why) || !got[1].Holds {
			t.Errorf("%s: %+v, %v", c.sql, got, err)
		}
	}
}

// TestAskInVain asks what takes for ever, and what there is no room or no database for.
func TestAskInVain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, shop)
	const forever = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n) SELECT max(i) FROM n"
	if _, err := Ask(t.Context(), path, Questions{Assertions: []string{forever}, TimeLimit: 50 * time.Millisecond}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), forever) {
		t.Errorf("for ever: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ask(ctx, path, Questions{Assertions: []string{forever}, TimeLimit: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}

	// More than SQLite sorts in memory. Where there is no room for it, the database is not to blame.
	const sorts = "SELECT count(*) > 0 FROM (WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 100000) SELECT i FROM n ORDER BY randomblob(200))"
	if got, err := Ask(t.Context(), path, Questions{Assertions: []string{sorts}, TempDir: t.TempDir()}); err != nil || !got[0].Holds {
		t.Errorf("sorting: %+v, %v", got, err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	if _, err := Ask(t.Context(), path, Questions{Assertions: []string{sorts}, TempDir: gone}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sorting without a place for it: %v", err)
	}
	if _, err := Ask(t.Context(), gone, Questions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no database: %v", err)
	}

	// A table whose root is no page of a table.
	harmed := filepath.Join(t.TempDir(), "app.db")
	run(t, harmed, fill)
	b, err := os.ReadFile(harmed)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[4096:][:8])
	if err := os.WriteFile(harmed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Ask(t.Context(), harmed, Questions{Assertions: []string{"SELECT sum(length(b)) FROM t"}}); err != nil || got[0].Holds || !got[0].Damaged {
		t.Errorf("damaged: %+v, %v", got, err)
	}
}

func TestParseAssertion(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT count(*) FROM users":             "",
		"SELECT count(*) FROM users; ":           "",
		"SELECT magic(id) FROM users":            "",
		"PRAGMA user_version":                    "",
		"SELECT 1 -- and why":                    "",
		"":                                       "no query",
		"-- nothing":                             "no query",
		"SELEC 1":                                "syntax error",
		"SELECT (1":                              "incomplete input",
		"SELECT \"":                              "unrecognized token",
		"SELECT 1; SELECT 2":                     "more than one",
		"CREATE TABLE t(a)":                      "not only ask",
		"BEGIN":                                  "not only ask",
		"SELECT ?":                               "parameters",
		"SELECT * FROM users WHERE name = :name": "", // told once the table is there
	} {
		err := ParseAssertion(sql)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", sql, err, want)
		}
	}
}

// TestImageCheck checks images of databases that are sound, damaged and empty.
func TestImageCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA journal_mode=wal;"+fill)
	sound := take(t, path, Options{})
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	harmed := filepath.Join(t.TempDir(), "harmed.db")
	b := content(t, sound)
	b[3*4096-1] ^= 1 // the root page of the index
	if err := os.WriteFile(harmed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m           *Image
		quick, full Outcome
	}{{sound, Sound, Sound}, {take(t, empty, Options{}), Sound, Sound}, {take(t, harmed, Options{}), Sound, Damaged}} {
		for level, want := range map[CheckLevel]Outcome{Quick: c.quick, Full: c.full} {
			if got, err := c.m.Check(t.Context(), level); err != nil || got.Outcome != want {
				t.Errorf("level %d: %v, %v, want %v", level, got, err, want)
			}
		}
	}
	partial, err := Take(t.Context(), path, Options{TempDir: t.TempDir(), Salt: format.NewSalt(), Base: imageBase{sound}})
	if err != nil {
		t.Fatal(err)
	}
	defer partial.Close()
	if _, err := partial.Check(t.Context(), Quick); !errors.Is(err, errPartial) {
		t.Errorf("an image that lacks pages: %v", err)
	}
}
