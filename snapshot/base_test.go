package snapshot

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/litestash/litestash/format"
)

// imageBase has the pages of another image.
type imageBase struct{ m *Image }

func (b imageBase) Same(first uint32, hashes []format.PageHash, same []bool) error {
	for i := range hashes {
		n := first + uint32(i)
		if n > b.m.Pages() {
			break
		}
		var h [1]format.PageHash
		if err := b.m.ReadHashes(n, h[:]); err != nil {
			return err
		}
		same[i] = h[0] == hashes[i]
	}
	return nil
}

func (b imageBase) Since() (string, uint32) { return "", b.m.Pages() }

func (b imageBase) Newest(first uint32, hashes []format.PageHash, same []bool) error {
	for i := range same {
		same[i] = true
	}
	return b.m.ReadHashes(first, hashes)
}

// TestBase takes a snapshot beside an earlier one: hashes and root are those of the whole database,
// and the pages that changed can be read.
func TestBase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM c WHERE x<20000) INSERT INTO t SELECT x, hex(randomblob(60)) FROM c;")
	salt := format.NewSalt()
	before := take(t, path, Options{Salt: salt})
	run(t, path, "UPDATE t SET b='changed' WHERE a % 5000 = 7; INSERT INTO t(b) SELECT hex(randomblob(900)) FROM t LIMIT 50;")
	whole := take(t, path, Options{Salt: salt})
	base := imageBase{before}
	delta, err := Take(t.Context(), path, Options{TempDir: t.TempDir(), Salt: salt, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	defer delta.Close()

	if delta.Root() != whole.Root() || delta.Pages() != whole.Pages() {
		t.Fatalf("root %v of %d pages beside a base, %v of %d without", delta.Root(), delta.Pages(), whole.Root(), whole.Pages())
	}
	hashes := make([]format.PageHash, whole.Pages())
	if err := whole.ReadHashes(1, hashes); err != nil {
		t.Fatal(err)
	}
	same := make([]bool, whole.Pages())
	if err := base.Same(1, hashes, same); err != nil {
		t.Fatal(err)
	}
	got, want := make([]byte, whole.PageSize()), make([]byte, whole.PageSize())
	changed := 0
	for i := range same {
		if same[i] && i > 0 {
			continue
		}
		changed++
		off := int64(i) * int64(len(want))
		if _, err := whole.ReadAt(want, off); err != nil {
			t.Fatal(err)
		}
		if _, err := delta.ReadAt(got, off); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("page %d differs", i+1)
		}
	}
	if changed < 5 || changed > len(same)/2 {
		t.Errorf("%d pages changed of %d: the test shows nothing", changed, len(same))
	}
}
