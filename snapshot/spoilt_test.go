package snapshot

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/litestash/litestash/format"
)

// TestSpoilt has a disk lose what was written to the temporary file: zeros, a flipped bit, and what a base was to
// have. None of it may be taken for the database.
func TestSpoilt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM c WHERE x<20000) INSERT INTO t SELECT x, hex(randomblob(60)) FROM c;")
	m := take(t, path, Options{Salt: format.NewSalt()})
	size := int64(m.PageSize())
	whole := make([]byte, m.Size())
	if _, err := m.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	const page = 200 // beyond what is compared at once
	off := (page - 1) * size
	good := whole[off : off+size]
	flipped := append([]byte(nil), good...)
	flipped[17] ^= 1
	for what, bad := range map[string][]byte{"zeros": make([]byte, size), "a flipped bit": flipped} {
		if _, err := m.data.WriteAt(bad, off); err != nil {
			t.Fatal(err)
		}
		for _, r := range []struct{ from, pages int64 }{{page, 1}, {page - 1, 3}, {1, int64(m.Pages())}} {
			_, err := m.ReadAt(make([]byte, r.pages*size), (r.from-1)*size)
			if spoilt, ok := errors.AsType[*SpoiltError](err); !ok || spoilt.Page != page {
				t.Errorf("%s: %d pages from %d on: %v", what, r.pages, r.from, err)
			}
		}
		if _, err := m.ReadAt(make([]byte, 2*size), off-2*size); err != nil {
			t.Errorf("%s: the pages before: %v", what, err)
		}
	}
	if _, err := m.data.WriteAt(good, off); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadAt(make([]byte, size+1), off-1); err != nil {
		t.Errorf("what was put right: %v", err)
	}

	run(t, path, "UPDATE t SET b = 'changed' WHERE a = 1000")
	delta, err := Take(t.Context(), path, Options{TempDir: t.TempDir(), Salt: m.Salt(), Base: imageBase{m}})
	if err != nil {
		t.Fatal(err)
	}
	defer delta.Close()
	if _, err := delta.ReadAt(make([]byte, size), off); !errors.As(err, new(*SpoiltError)) {
		t.Errorf("a page that the base has: %v", err)
	}
}
