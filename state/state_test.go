package state_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
)

var key = state.Key{Store: "s3://bucket", Database: "app.db", Source: format.Source{Host: "h", Path: "/app.db"}}

// hashOf returns a hash that stands for a page's content.
func hashOf(page uint32, version byte) format.PageHash {
	return format.PageHash{byte(page), byte(page >> 8), byte(page >> 16), version}
}

// facts returns those of a snapshot with so many pages.
func facts(pages uint32) *state.Facts {
	return &state.Facts{
		Path:     []state.Link{{Link: format.Link{Key: "20261122T073500.004Z-7q3dk29f0a1bc.full.db.zst", Size: 7}, Root: format.Root{1}}},
		Salt:     format.Salt{2},
		PageSize: 4096,
		Pages:    pages,
		Look:     "look",
	}
}

// versions of pages, by which hashes are made.
func hashes(version func(page uint32) byte) func(uint32, []format.PageHash) error {
	return func(first uint32, dst []format.PageHash) error {
		for i := range dst {
			dst[i] = hashOf(first+uint32(i), version(first+uint32(i)))
		}
		return nil
	}
}

func open(t *testing.T, dir string, log *bytes.Buffer) *state.Memory {
	t.Helper()
	m, err := state.Open(dir, key, t.TempDir(), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// same asks about one page.
func same(t *testing.T, m *state.Memory, since state.Span, page uint32, version byte) bool {
	t.Helper()
	out := make([]bool, 1)
	if err := m.Same(since, page, []format.PageHash{hashOf(page, version)}, out); err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func TestMemory(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	all := [state.Spans]bool{true, true, true}
	m := open(t, dir, &log)
	if m.Facts() != nil {
		t.Fatal("it remembers what never was")
	}
	const pages = 10_000 // more than are read at once
	if err := m.Save(facts(pages), all, hashes(func(uint32) byte { return 1 })); err != nil {
		t.Fatal(err)
	}
	// Within the minute page 5 changes, then in the next one page 9000.
	if err := m.Save(facts(pages), [state.Spans]bool{}, hashes(func(p uint32) byte { return 1 + b2b(p == 5) })); err != nil {
		t.Fatal(err)
	}
	second := hashes(func(p uint32) byte { return 1 + b2b(p == 5 || p == 9000) })
	if err := m.Save(facts(pages+1), [state.Spans]bool{state.Minute: true}, second); err != nil {
		t.Fatal(err)
	}
	m.Close()

	m = open(t, dir, &log)
	if f := m.Facts(); f == nil || f.Pages != pages+1 || f.Look != "look" || f.Newest().Root != (format.Root{1}) {
		t.Fatalf("it remembers %+v", f)
	}
	for _, c := range []struct {
		since   state.Span
		page    uint32
		version byte
		want    bool
	}{
		{state.Newest, 1, 1, true}, {state.Newest, 1, 2, false},
		{state.Newest, 5, 2, true}, {state.Minute, 5, 2, true}, {state.Hour, 5, 2, false}, {state.Day, 5, 2, false},
		{state.Newest, 9000, 2, true}, {state.Minute, 9000, 2, true}, {state.Hour, 9000, 2, false},
		{state.Hour, 4, 1, true}, {state.Day, 9999, 1, true},
		{state.Newest, pages + 1, 1, true}, {state.Minute, pages + 1, 1, true}, {state.Hour, pages + 1, 1, false},
		{state.Newest, pages + 2, 1, false},
	} {
		if got := same(t, m, c.since, c.page, c.version); got != c.want {
			t.Errorf("page %d in version %d since %v: same is %v", c.page, c.version, c.since, got)
		}
	}
	if log.Len() > 0 {
		t.Errorf("it logged: %s", &log)
	}
}

func b2b(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// TestMemoryLook changes what the source looks like, which leaves the rest alone.
func TestMemoryLook(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	m := open(t, dir, &log)
	if err := m.Save(facts(50), [state.Spans]bool{true, true, true}, hashes(func(uint32) byte { return 1 })); err != nil {
		t.Fatal(err)
	}
	for i, look := range []string{"another", "another", "", "a third"} {
		read := time.Unix(int64(1000+i), 0).UTC()
		if err := m.SetLook(look, read); err != nil {
			t.Fatal(err)
		}
		m.Close()
		m = open(t, dir, &log)
		if f := m.Facts(); f == nil || f.Look != look || !f.Read.Equal(read) || f.Pages != 50 || f.Newest().Root != (format.Root{1}) {
			t.Fatalf("it remembers %+v", f)
		}
		if !same(t, m, state.Newest, 50, 1) {
			t.Error("it has forgotten the pages")
		}
	}
	if log.Len() > 0 {
		t.Errorf("it logged: %s", &log)
	}
	if err := m.SetPassed("full"); err != nil {
		t.Fatal(err)
	}
	m.Close()
	m = open(t, dir, &log)
	if f := m.Facts(); f == nil || f.Passed != "full" || f.Pages != 50 {
		t.Fatalf("it remembers %+v", f)
	}
	// What was forgotten meanwhile, because the snapshot was deleted, stays so.
	link := map[string]bool{m.Facts().Newest().Key: true}
	if err := state.ForgetDeleted(dir, key.Store, key.Database, link); err != nil {
		t.Fatal(err)
	}
	if err := m.SetLook("a fourth", time.Time{}); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if m = open(t, dir, &log); m.Facts() != nil {
		t.Errorf("it remembers %+v again", m.Facts())
	}
	// What outlives nothing can still be told.
	m, err := state.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Save(facts(5), [state.Spans]bool{true, true, true}, hashes(func(uint32) byte { return 1 })); err != nil {
		t.Fatal(err)
	}
	if err := m.SetLook("new", time.Time{}); err != nil || m.Facts().Look != "new" {
		t.Errorf("it remembers %q, %v", m.Facts().Look, err)
	}
}

// TestMemoryDamage flips and cuts the files: nothing is remembered then, and it is said.
func TestMemoryDamage(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	m := open(t, dir, &log)
	if err := m.Save(facts(50), [state.Spans]bool{true, true, true}, hashes(func(uint32) byte { return 1 })); err != nil {
		t.Fatal(err)
	}
	m.Close()
	for _, suffix := range []string{".facts", ".pages"} {
		files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		if err != nil || len(files) != 1 {
			t.Fatalf("files %q: %v", files, err)
		}
		whole, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(whole); i += 3 {
			flipped := bytes.Clone(whole)
			flipped[i] ^= 1 << (i % 8)
			for what, content := range map[string][]byte{"flipped": flipped, "cut": whole[:i]} {
				if err := os.WriteFile(files[0], content, 0o600); err != nil {
					t.Fatal(err)
				}
				log.Reset()
				m := open(t, dir, &log)
				if m.Facts() != nil {
					t.Fatalf("%s %s at %d: it remembers %+v", suffix, what, i, m.Facts())
				}
				m.Close()
				if !strings.Contains(log.String(), "damaged") {
					t.Fatalf("%s %s at %d: it logged %q", suffix, what, i, &log)
				}
			}
		}
		// What follows the table is none of it.
		if err := os.WriteFile(files[0], append(bytes.Clone(whole), 0), 0o600); err != nil {
			t.Fatal(err)
		}
		m := open(t, dir, &log)
		if (m.Facts() != nil) != (suffix == ".pages") {
			t.Errorf("%s longer: it remembers %+v", suffix, m.Facts())
		}
		m.Close()
		if err := os.WriteFile(files[0], whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if m := open(t, dir, &log); m.Facts() == nil {
		t.Error("whole again, it remembers nothing")
	}
}

// TestMemoryUnsaved has a snapshot that cannot be remembered, when its pages or its facts cannot be: the one before it
// is forgotten then, as its pages may be in the table no longer.
func TestMemoryUnsaved(t *testing.T) {
	all := [state.Spans]bool{true, true, true}
	for name, c := range map[string]struct {
		inTheWay string
		hashes   func(uint32, []format.PageHash) error
	}{
		"facts": {".facts.tmp", hashes(func(uint32) byte { return 2 })},
		"pages": {"", func(uint32, []format.PageHash) error { return os.ErrClosed }},
	} {
		dir := t.TempDir()
		var log bytes.Buffer
		m := open(t, dir, &log)
		if err := m.Save(facts(50), all, hashes(func(uint32) byte { return 1 })); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.facts"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if c.inTheWay != "" {
			if err := os.Mkdir(strings.TrimSuffix(files[0], ".facts")+c.inTheWay, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Save(facts(50), all, c.hashes); err == nil || m.Facts() != nil {
			t.Errorf("%s: %v, and it remembers %+v", name, err, m.Facts())
		}
		m.Close()
		if m := open(t, dir, &log); m.Facts() != nil || log.Len() > 0 {
			t.Errorf("%s: opened again it remembers %+v: %s", name, m.Facts(), &log)
		}
	}
}

// TestMemoryElsewhere uses directories that cannot be used, and one that another process is using.
func TestMemoryElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var first bytes.Buffer
	open(t, dir, &first)
	for name, dir := range map[string]string{"a file": file, "in use": dir} {
		var log bytes.Buffer
		m := open(t, dir, &log)
		if !strings.Contains(log.String(), "nothing is remembered") {
			t.Errorf("%s: it logged %q", name, &log)
		}
		if err := m.Save(facts(5), [state.Spans]bool{true, true, true}, hashes(func(uint32) byte { return 1 })); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !same(t, m, state.Newest, 5, 1) {
			t.Errorf("%s: it is of no use even for now", name)
		}
	}
}

// TestDetach detaches a memory. It goes on, and leaves what is on disk to others.
func TestDetach(t *testing.T) {
	all := [state.Spans]bool{true, true, true}
	dir := t.TempDir()
	var log bytes.Buffer
	m := open(t, dir, &log)
	if err := m.Save(facts(5), all, hashes(func(uint32) byte { return 1 })); err != nil {
		t.Fatal(err)
	}
	if err := m.Detach(filepath.Join(dir, "missing")); err == nil || m.Facts() == nil {
		t.Errorf("with no place to go on in: %v, and it remembers %+v", err, m.Facts())
	}
	if err := m.Detach(t.TempDir()); err != nil || m.Facts() != nil {
		t.Fatalf("%v, and it remembers %+v", err, m.Facts())
	}
	if err := m.Save(facts(9), all, hashes(func(uint32) byte { return 2 })); err != nil {
		t.Fatal(err)
	}
	if !same(t, m, state.Newest, 9, 2) {
		t.Error("it is of no use even for now")
	}
	other := open(t, dir, &log)
	if f := other.Facts(); f == nil || f.Pages != 5 || log.Len() > 0 {
		t.Errorf("on disk are %+v: %s", f, &log)
	}
	m.Close()
	if open(t, dir, &log).Facts() != nil {
		t.Error("closing it took the lock from whoever has what is on disk")
	}
}

// TestMemoryOfAnother looks for what is remembered of another database.
func TestMemoryOfAnother(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	m := open(t, dir, &log)
	if err := m.Save(facts(5), [state.Spans]bool{true, true, true}, hashes(func(uint32) byte { return 1 })); err != nil {
		t.Fatal(err)
	}
	other := key
	other.Source.Path = "/other.db"
	o, err := state.Open(dir, other, "", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if o.Facts() != nil {
		t.Error("it remembers another database")
	}
}

// TestRemembered tells what is remembered of a store, among what is damaged or of another.
func TestRemembered(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	at := func(day string) string { return "202611" + day + "T073500.004Z-7q3dk29f0a1bc" }
	save := func(k state.Key, day string) {
		t.Helper()
		m, err := state.Open(dir, k, t.TempDir(), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		f := facts(1)
		f.Path[0].Key = at(day) + ".full.db.zst"
		if err := m.Save(f, [state.Spans]bool{true, true, true}, hashes(func(uint32) byte { return 1 })); err != nil {
			t.Fatal(err)
		}
	}
	other, elsewhere, moved := key, key, key
	other.Database, elsewhere.Store, moved.Source.Path = "other.db", "s3://other", "/elsewhere"
	save(key, "21")
	save(other, "21")
	save(elsewhere, "23")
	save(moved, "22")
	if err := os.WriteFile(filepath.Join(dir, "damaged.facts"), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := state.Remembered(dir, key.Store)
	if err != nil || len(got) != 2 || got[key.Database].String() != at("22") || got["other.db"].String() != at("21") {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := state.Remembered(filepath.Join(dir, "missing"), key.Store); err != nil || len(got) > 0 {
		t.Errorf("nothing is remembered, got %v, %v", got, err)
	}
}

// TestForgetDeleted forgets what rests on a deleted snapshot and nothing else, whatever the directory is called.
func TestForgetDeleted(t *testing.T) {
	var log bytes.Buffer
	newest := facts(1).Newest().Key
	for _, c := range []struct {
		store, database, key string
		remembers            bool
	}{
		{key.Store, key.Database, newest, false},
		{"s3://other", key.Database, newest, true},
		{key.Store, "other.db", newest, true},
		{key.Store, key.Database, "other", true},
	} {
		dir := filepath.Join(t.TempDir(), "a[b*")
		m := open(t, dir, &log)
		if err := m.Save(facts(1), [state.Spans]bool{true, true, true}, hashes(func(uint32) byte { return 1 })); err != nil {
			t.Fatal(err)
		}
		m.Close()
		if err := state.ForgetDeleted(dir, c.store, c.database, map[string]bool{c.key: true}); err != nil {
			t.Error(err)
		}
		if got := open(t, dir, &log).Facts() != nil; got != c.remembers {
			t.Errorf("%+v: it remembers: %v", c, got)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "missing"), file + "-missing"} {
		if err := state.ForgetDeleted(dir, key.Store, key.Database, map[string]bool{newest: true}); err != nil {
			t.Errorf("%q: %v", dir, err)
		}
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}
