package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/litestash/litestash/internal/sqliteshell"
)

// A sqlWriter runs random SQL in a sqlite3 shell on a database of a random schema. What it runs depends on
// the random numbers alone.
type sqlWriter struct {
	t      *testing.T
	rnd    *rand.Rand
	cards  *deck[sqlStep]
	path   string
	schema schema
	shell  *sqliteshell.Shell
	ran    []string // in the last step: its kind, and what more there is to be said
}

// A sqlStep is SQL, or whatever else a writer does, of one kind.
type sqlStep struct {
	kind string
	run  func(*sqlWriter)
}

// sqlSteps are all kinds, with how many of a hundred or so steps are of each.
var sqlSteps = []struct {
	times int
	sqlStep
}{
	{3, sqlStep{"CREATE TABLE", (*sqlWriter).createTable}},
	{22, sqlStep{"INSERT", func(w *sqlWriter) { w.insert(w.table(), 1+w.rnd.IntN(8)) }}},
	{2, sqlStep{"INSERT of many rows", func(w *sqlWriter) { w.insert(w.table(), 100+w.rnd.IntN(300)) }}},
	{20, sqlStep{"UPDATE", func(w *sqlWriter) { w.do("%s", w.update()) }}},
	{5, sqlStep{"DELETE", (*sqlWriter).deleteRows}},
	{5, sqlStep{"blob", (*sqlWriter).blob}},
	{3, sqlStep{"CREATE INDEX", (*sqlWriter).createIndex}},
	{1, sqlStep{"DROP INDEX", (*sqlWriter).dropIndex}},
	{1, sqlStep{"DROP TABLE", (*sqlWriter).dropTable}},
	{1, sqlStep{"REINDEX", func(w *sqlWriter) { w.do("REINDEX;") }}},
	{1, sqlStep{"VACUUM", func(w *sqlWriter) { w.do("VACUUM;") }}},
	{1, sqlStep{"VACUUM to another auto_vacuum", func(w *sqlWriter) { w.do("PRAGMA auto_vacuum=%d; VACUUM;", w.rnd.IntN(3)) }}},
	{2, sqlStep{"incremental_vacuum", (*sqlWriter).incrementalVacuum}},
	{2, sqlStep{"incremental_vacuum of few pages", func(w *sqlWriter) { w.do("PRAGMA incremental_vacuum(%d);", 1+w.rnd.IntN(10)) }}},
	{1, sqlStep{"page_size", (*sqlWriter).pageSize}},
	{2, sqlStep{"journal_mode=WAL", func(w *sqlWriter) { w.journalMode("WAL") }}},
	{1, sqlStep{"journal_mode=DELETE", func(w *sqlWriter) { w.journalMode("DELETE") }}},
	{1, sqlStep{"journal_mode=TRUNCATE", func(w *sqlWriter) { w.journalMode("TRUNCATE") }}},
	{1, sqlStep{"journal_mode=PERSIST", func(w *sqlWriter) { w.journalMode("PERSIST") }}},
	{1, sqlStep{"journal_mode=MEMORY", func(w *sqlWriter) { w.journalMode("MEMORY") }}},
	{1, sqlStep{"journal_mode=OFF", func(w *sqlWriter) { w.journalMode("OFF") }}},
	{2, sqlStep{"ROLLBACK", (*sqlWriter).rollback}},
	{2, sqlStep{"SAVEPOINT", (*sqlWriter).savepoint}},
	{2, sqlStep{"user_version", func(w *sqlWriter) {
		w.do("PRAGMA user_version=%d; PRAGMA application_id=%d;", w.rnd.IntN(3), w.rnd.IntN(3))
	}}},
	{3, sqlStep{"wal_checkpoint", func(w *sqlWriter) {
		w.do("PRAGMA wal_checkpoint(%s);", w.pick("PASSIVE", "FULL", "RESTART", "TRUNCATE"))
	}}},
	{2, sqlStep{"end of the writer", func(w *sqlWriter) { w.leave((*sqliteshell.Shell).End) }}},
	{2, sqlStep{"kill of the writer", func(w *sqlWriter) { w.leave((*sqliteshell.Shell).Kill) }}},
	{9, sqlStep{"nothing", func(*sqlWriter) {}}},
}

func newSQLSteps(rnd *rand.Rand) *deck[sqlStep] {
	d := &deck[sqlStep]{rnd: rnd}
	for _, s := range sqlSteps {
		d.add(s.times, s.sqlStep)
	}
	return d
}

// A schema is what a sqlWriter has to know of its database. The columns of all tables are id, a text, b, an
// integer, and c, a blob, and some have more.
type schema struct {
	mode    string // of the journal
	page    int    // bytes; not in WAL mode
	tables  []string
	indexes []string
	made    int // tables and indexes, for their names
}

func (s schema) clone() schema {
	s.tables, s.indexes = slices.Clone(s.tables), slices.Clone(s.indexes)
	return s
}

// newSQLWriter returns a writer to a database of 0 bytes.
func newSQLWriter(t *testing.T, rnd *rand.Rand, cards *deck[sqlStep], path string) *sqlWriter {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &sqlWriter{t: t, rnd: rnd, cards: cards, path: path, schema: schema{mode: "DELETE", page: 512 << rnd.IntN(4)}}
	t.Cleanup(func() {
		if w.shell != nil {
			w.shell.Kill()
		}
	})
	return w
}

// do runs SQL or commands of the shell.
func (w *sqlWriter) do(format string, args ...any) {
	w.t.Helper()
	if w.shell == nil {
		var err error
		if w.shell, err = sqliteshell.Start(w.path, "PRAGMA synchronous=OFF; PRAGMA cache_spill=20"); err != nil {
			w.t.Fatal(err)
		}
		w.do("PRAGMA page_size=%d; PRAGMA journal_mode=%s;", w.schema.page, w.schema.mode)
	}
	if err := w.shell.Do(fmt.Sprintf(format, args...)); err != nil {
		w.t.Fatal(err)
	}
}

// backup returns what SQLite's own backup makes of the database. It is made of a copy of the files by another
// process: the writer's cache has something else in free pages than the file, and whoever is the last to close
// the database itself would remove the -wal.
func (w *sqlWriter) backup() []byte {
	w.t.Helper()
	dir := filepath.Dir(w.path)
	files, out := filepath.Join(dir, "copy"), filepath.Join(dir, "backup")
	defer os.Remove(out)
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(w.path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(files+suffix, b, 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		defer os.Remove(files + suffix)
	}
	if pages := sh(w.t, files, "PRAGMA page_count", ".backup '"+out+"'"); pages == "0\n" {
		return []byte{} // of which the backup is a database without tables
	}
	image, err := os.ReadFile(out)
	if err != nil {
		w.t.Fatal(err)
	}
	return image
}

// change runs one step, which may change nothing.
func (w *sqlWriter) change() {
	if len(w.schema.tables) == 0 {
		w.ran = nil // it has 0 bytes
		if w.rnd.IntN(10) < 7 {
			w.createTable()
		}
		return
	}
	s := w.cards.deal()
	w.ran = []string{s.kind}
	s.run(w)
}

// journalMode goes over to another one.
func (w *sqlWriter) journalMode(mode string) {
	w.schema.mode = mode
	w.do("PRAGMA journal_mode=%s;", mode)
}

// mayRollBack sees to it that there is a journal: without one a rollback leaves a database that is not sound.
func (w *sqlWriter) mayRollBack() {
	if w.schema.mode == "OFF" {
		w.journalMode("DELETE")
	}
}

func (w *sqlWriter) rollback() {
	w.mayRollBack()
	w.do("BEGIN; %s DELETE FROM %s; ROLLBACK;", w.update(), w.table())
}

func (w *sqlWriter) savepoint() {
	w.mayRollBack()
	w.do("BEGIN; %s SAVEPOINT s; %s ROLLBACK TO s; %s COMMIT;", w.update(), w.update(), w.update())
}

// incrementalVacuum makes free pages and gives all of them back, which needs the mode of auto_vacuum for that.
func (w *sqlWriter) incrementalVacuum() {
	w.do("PRAGMA auto_vacuum=2; VACUUM;")
	table := w.table()
	w.insertBlob(table, 1000, 8000+w.rnd.IntN(8000))
	w.do("DELETE FROM %s WHERE id = 1000;", table)
	before := w.pages()
	w.do("PRAGMA incremental_vacuum;")
	if w.pages() < before {
		w.ran = append(w.ran, "pages freed by incremental_vacuum")
	}
}

// pages asks another process how many there are.
func (w *sqlWriter) pages() int {
	n, err := strconv.Atoi(strings.TrimSpace(sh(w.t, w.path, "PRAGMA page_count")))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// pageSize goes over to another one, which SQLite does in a rollback-journal mode alone.
func (w *sqlWriter) pageSize() {
	s := &w.schema
	s.page = 512 << ((bits.Len(uint(s.page/512)) + w.rnd.IntN(3)) % 4)
	w.do("PRAGMA journal_mode=DELETE; PRAGMA page_size=%d; VACUUM; PRAGMA journal_mode=%s;", s.page, s.mode)
}

// leave ends the shell in one way or another; the next step starts another.
func (w *sqlWriter) leave(how func(*sqliteshell.Shell) error) {
	if w.shell == nil {
		return
	}
	if err := how(w.shell); err != nil {
		w.t.Fatal(err)
	}
	w.shell = nil
}

func (w *sqlWriter) pick(from ...string) string { return from[w.rnd.IntN(len(from))] }

func (w *sqlWriter) table() string { return w.pick(w.schema.tables...) }

func (w *sqlWriter) name(kind string) string {
	w.schema.made++
	return fmt.Sprintf("%s%d", kind, w.schema.made)
}

// createTable makes a table, and first drops one if there are many.
func (w *sqlWriter) createTable() {
	if len(w.schema.tables) > 6 {
		w.dropTable()
	}
	name := w.name("t")
	switch w.rnd.IntN(5) {
	case 0:
		w.do("CREATE TABLE %s (id INTEGER PRIMARY KEY, a TEXT, b INT, c BLOB);", name)
	case 1:
		w.do("CREATE TABLE %s (a TEXT, id INT, b INT, c BLOB, PRIMARY KEY (a, id)) WITHOUT ROWID;", name)
	case 2:
		w.do("CREATE TABLE %s (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT UNIQUE, b INT, c BLOB, long GENERATED ALWAYS AS (a || a) STORED);", name)
	case 3:
		w.do("CREATE TABLE %s (c BLOB, id INT, a TEXT COLLATE NOCASE, b INT DEFAULT 7); CREATE INDEX %[1]s_ab ON %[1]s (a, b) WHERE b > 0;", name)
	case 4:
		name = w.name("fts")
		w.do("CREATE VIRTUAL TABLE %s USING fts5 (id, a, b, c);", name)
	}
	w.schema.tables = append(w.schema.tables, name)
	w.insert(name, 100+w.rnd.IntN(300))
}

// insert adds n rows.
func (w *sqlWriter) insert(table string, n int) {
	w.do(`WITH RECURSIVE r (i, x) AS (SELECT %d, %d UNION ALL SELECT i + 1, (x * 1103515245 + 12345) %% 2147483648 FROM r LIMIT %d)
		INSERT OR REPLACE INTO %s (id, a, b, c) SELECT i, printf('%%08x %%d', x, i), x %% 1000, CAST(printf('%%.*c', x %% %d, char(65 + x %% 26)) AS BLOB) FROM r;`,
		w.rnd.IntN(500), w.rnd.Uint32()>>1, n, table, 1+w.rnd.IntN(200))
}

// update returns SQL that changes some rows. The first way back is the same again.
func (w *sqlWriter) update() string {
	which := fmt.Sprintf("WHERE id = %d", w.rnd.IntN(300))
	if w.rnd.IntN(6) == 0 {
		which = fmt.Sprintf("WHERE id %% %d = %d", 2+w.rnd.IntN(40), w.rnd.IntN(2))
	}
	switch w.rnd.IntN(3) {
	case 0:
		return fmt.Sprintf("UPDATE %s SET b = -b %s;", w.table(), which)
	case 1:
		return fmt.Sprintf("UPDATE %s SET c = zeroblob(%d) %s;", w.table(), w.rnd.IntN(300), which)
	}
	return fmt.Sprintf("UPDATE OR IGNORE %s SET a = a || '%d' %s;", w.table(), w.rnd.IntN(100), which)
}

func (w *sqlWriter) deleteRows() {
	from := w.rnd.IntN(300)
	w.do("DELETE FROM %s WHERE id BETWEEN %d AND %d;", w.table(), from, from+w.rnd.IntN(300))
}

// blob stores one that does not compress, over many pages.
func (w *sqlWriter) blob() { w.insertBlob(w.table(), w.rnd.IntN(20), w.rnd.IntN(10_000)) }

func (w *sqlWriter) insertBlob(table string, id, size int) {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(w.rnd.Uint32())
	}
	w.do("INSERT OR REPLACE INTO %s (id, a, b, c) VALUES (%d, 'blob', 1, x'%x');", table, id, b)
}

// createIndex builds an index, or what FTS5 has instead of them.
func (w *sqlWriter) createIndex() {
	table := w.table()
	if strings.HasPrefix(table, "fts") {
		w.do("INSERT INTO %s (%[1]s) VALUES ('optimize');", table)
		return
	}
	name := w.name(table + "_i")
	w.do("CREATE INDEX %s ON %s (%s);", name, table, w.pick("a", "b", "b, a", "c", "length(c)"))
	w.schema.indexes = append(w.schema.indexes, name)
}

// dropIndex drops one, which it makes if there is none.
func (w *sqlWriter) dropIndex() {
	s := &w.schema
	if len(s.indexes) == 0 {
		w.createIndex()
	}
	if len(s.indexes) == 0 {
		return // there is FTS5 alone
	}
	i := w.rnd.IntN(len(s.indexes))
	w.do("DROP INDEX %s;", s.indexes[i])
	s.indexes = slices.Delete(s.indexes, i, i+1)
}

// dropTable drops one, and makes another if it was the last.
func (w *sqlWriter) dropTable() {
	s := &w.schema
	i := w.rnd.IntN(len(s.tables))
	w.do("DROP TABLE %s;", s.tables[i])
	s.indexes = slices.DeleteFunc(s.indexes, func(index string) bool { return strings.HasPrefix(index, s.tables[i]+"_") })
	s.tables = slices.Delete(s.tables, i, i+1)
	if len(s.tables) == 0 {
		w.createTable()
	}
}
