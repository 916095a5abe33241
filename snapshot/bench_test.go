package snapshot

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkTake takes a database of text with two indexes, of about 120 MB or, if it is set,
// the one that LITESTASH_BENCH_DB names. The transaction that is held is what matters to others.
func BenchmarkTake(b *testing.B) {
	path := os.Getenv("LITESTASH_BENCH_DB")
	if path == "" {
		path = filepath.Join(b.TempDir(), "app.db")
		run(b, path, `PRAGMA journal_mode=wal; PRAGMA synchronous=off;
			CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT);
			INSERT INTO t(a, b, c) SELECT hex(randomblob(8)), hex(randomblob(8)), 'the quick brown fox ' || hex(randomblob(60)) FROM generate_series(1, 500000);
			CREATE INDEX ta ON t(a); CREATE INDEX tb ON t(b)`)
	}
	var held time.Duration
	for b.Loop() {
		m, err := Take(b.Context(), path, Options{TempDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(m.Size())
		held += m.Stats().Held
		m.Close()
	}
	b.ReportMetric(float64(held.Milliseconds())/float64(b.N), "held-ms/op")
}

// BenchmarkCheck checks such a database.
func BenchmarkCheck(b *testing.B) {
	path := os.Getenv("LITESTASH_BENCH_DB")
	if path == "" {
		b.Skip("LITESTASH_BENCH_DB is not set")
	}
	for b.Loop() {
		r, err := Check(b.Context(), path, Quick)
		if err != nil || r.Outcome != Sound {
			b.Fatal(r, err)
		}
	}
}
