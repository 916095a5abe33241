package restore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// push stores data as a snapshot of the database.
func push(t testing.TB, st store.Store, database string, pageSize int, data []byte) *upload.Result {
	t.Helper()
	opts := upload.Options{
		Database: database,
		Source:   format.Source{Host: "test", Path: "/" + database},
		Creator:  "test",
	}
	r, err := uploadtest.Push(t.Context(), st, opts, pageSize, data, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A pushed is a snapshot in a store of its own and what is in it.
type pushed struct {
	st   store.Store
	snap catalog.Snapshot
	root format.Root
	data []byte
}

func pushNew(t testing.TB, pageSize int, data []byte) *pushed {
	t.Helper()
	st := storetest.OpenDir(t, t.TempDir())
	r := push(t, st, "app.db", pageSize, data)
	return &pushed{st, r.Snapshot, r.Index.Root, data}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct{ pageSize, pages int }{
		{0, 0}, {512, 1}, {512, 2047}, {512, 2048}, {512, 2049}, {512, 1<<16 - 1}, {512, 1 << 16}, {512, 1<<16 + 1},
		{4096, 1}, {4096, 256}, {4096, 257}, {4096, 9000}, {65536, 1}, {65536, 15}, {65536, 16}, {65536, 17}, {65536, 400},
	} {
		if race.Enabled && c.pageSize*c.pages > 16<<20 {
			continue
		}
		st := storetest.OpenDir(t, t.TempDir())
		want := memimage.Text(uint64(c.pages), c.pageSize, c.pages)
		pushed := push(t, st, "dir/app.db", c.pageSize, want)

		if _, err := restore.Verify(t.Context(), st, pushed.Snapshot, restore.Options{}); err != nil {
			t.Errorf("%+v: verify: %v", c, err)
		}
		path := filepath.Join(t.TempDir(), "app.db")
		r, err := restore.File(t.Context(), st, pushed.Snapshot, path, restore.FileOptions{})
		if err != nil {
			t.Fatalf("%+v: restore: %v", c, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: the restored file differs (%v)", c, err)
		}
		if r.Index.Root != pushed.Index.Root {
			t.Errorf("%+v: root %v, pushed %v", c, r.Index.Root, pushed.Index.Root)
		}
		var out bytes.Buffer
		if _, err := restore.Stream(t.Context(), st, pushed.Snapshot, &out, restore.Options{}); err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%+v: the streamed copy differs (%v)", c, err)
		}
	}
}
