package upload_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
)

// TestMemoryDamagedMeanwhile damages what is remembered after it was opened, as a disk may while a watch goes
// on for weeks. What it says of pages must not be believed then.
func TestMemoryDamagedMeanwhile(t *testing.T) {
	data := versions(3)
	for name, damage := range map[string]func(t *testing.T, table string){
		"a span's bit": func(t *testing.T, table string) {
			b, err := os.ReadFile(table)
			if err != nil {
				t.Fatal(err)
			}
			const entry = format.PageHashSize + 1
			b[10*entry+format.PageHashSize] = 0 // page 11 has changed since the first of the minute
			if err := os.WriteFile(table, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"the end": func(t *testing.T, table string) {
			if err := os.Truncate(table, 100); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			st, dir := storetest.OpenDir(t, t.TempDir()), t.TempDir()
			m, err := state.Open(dir, state.Key{Store: st.String(), Database: "app.db", Source: here}, t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			now := time.Date(2026, 11, 22, 12, 10, 20, 0, time.UTC)
			pushAt := func(data []byte, later time.Duration) *upload.Result {
				t.Helper()
				now = now.Add(later)
				p, err := upload.Begin(t.Context(), st, upload.Options{Database: "app.db", Source: here, Memory: m, Now: func() time.Time { return now }})
				if err != nil {
					t.Fatal(err)
				}
				return commit(t, p, data, now)
			}
			pushAt(data[0], 0)
			if r := pushAt(data[1], time.Second); r.Why != "" {
				t.Fatal(r.Why)
			}
			tables, err := filepath.Glob(filepath.Join(dir, "*.pages"))
			if err != nil || len(tables) != 1 {
				t.Fatal(tables, err)
			}
			damage(t, tables[0])
			r := pushAt(data[2], time.Minute)
			if !strings.Contains(r.Why, "damaged") {
				t.Errorf("it was stored because %q", r.Why)
			}
			checkStored(t, st, r.Snapshot, data[2])
			if r := pushAt(data[3], time.Minute); r.Why != "" {
				t.Errorf("the next one is a full, because %q", r.Why)
			}
		})
	}
}

// TestMemoryUnwritable takes the place of the memory away. What is remembered is so by this process alone from the
// next push on, and the one after that asks the store for nothing but what every push does.
func TestMemoryUnwritable(t *testing.T) {
	data := versions(3)
	st, dir := storetest.OpenDir(t, t.TempDir()), t.TempDir()
	var log strings.Builder
	m, err := state.Open(dir, state.Key{Store: st.String(), Database: "app.db", Source: here}, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	now := time.Date(2026, 11, 22, 12, 10, 20, 0, time.UTC)
	for i, says := range []string{"", "cannot be remembered", "nothing can be remembered", ""} {
		log.Reset()
		now = now.Add(time.Millisecond)
		p, err := upload.Begin(t.Context(), st, upload.Options{
			Database: "app.db", Source: here, Memory: m, TempDir: t.TempDir(), Now: func() time.Time { return now },
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		r := commit(t, p, data[i], now)
		if !strings.Contains(log.String(), says) || says == "" && log.Len() > 0 || r.Why != "" && i > 0 {
			t.Errorf("push %d is a full because %q, and logs %q, want %q", i, r.Why, &log, says)
		}
		if remembers := m.Facts() != nil && m.Facts().Newest().Key == r.Snapshot.Base(); remembers != (i != 1) {
			t.Errorf("push %d is remembered: %v", i, remembers)
		}
		checkStored(t, st, r.Snapshot, data[i])
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}
