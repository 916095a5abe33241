package chain_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

const (
	pageSize = 512
	pages    = 300
)

// pushes stores a full and two deltas on it: page 7 changes, then page 8, and one is added. It
// returns the directory of the store, the snapshots, and the last image.
func pushes(t *testing.T) (dir string, st store.Store, all []catalog.Snapshot, data []byte) {
	t.Helper()
	dir = t.TempDir()
	st = storetest.OpenDir(t, dir)
	data = memimage.Text(1, pageSize, pages)
	for i := range 3 {
		if i > 0 {
			copy(data[(5+i)*pageSize:], memimage.Text(uint64(i), pageSize, 1))
		}
		if i == 2 {
			data = append(data, memimage.Text(9, pageSize, 1)...)
		}
		opts := upload.Options{Database: "app.db", Source: format.Source{Host: "h", Path: "/app.db"}}
		r, err := uploadtest.Push(t.Context(), st, opts, pageSize, bytes.Clone(data), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.Snapshot)
	}
	return dir, st, all, data
}

func TestOpen(t *testing.T) {
	_, st, all, data := pushes(t)
	c, err := chain.Open(t.Context(), st, all[2], chain.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(c.Links) != 3 || c.Links[0].Name != all[0].Name || c.Links[2].Name != all[2].Name {
		t.Fatalf("%d links, want the three snapshots", len(c.Links))
	}
	entries := make([]chain.Entry, pages+1)
	if err := c.ReadEntries(1, entries); err != nil {
		t.Fatal(err)
	}
	hasher := format.NewPageHasher(c.Index.Salt)
	for i, e := range entries {
		link := uint32(0)
		switch i + 1 {
		case 7:
			link = 1
		case 8, pages + 1:
			link = 2
		}
		if e.Link != link || e.Hash != hasher.Hash(data[i*pageSize:(i+1)*pageSize]) {
			t.Errorf("page %d: %+v, want it in link %d", i+1, e, link)
		}
	}
	if a, b := c.Links[1].Tail.Index.Chain, c.Index.Chain; &a[0] != &b[0] {
		t.Error("the path of a delta is in memory once more")
	}
	numbers, err := c.Links[2].PageNumbers(0)
	if err != nil || len(numbers) != 2 || numbers[0] != 8 || numbers[1] != pages+1 {
		t.Errorf("the newest delta holds the pages %d (%v)", numbers, err)
	}
	if err := c.ReadEntries(pages+1, make([]chain.Entry, 2)); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("a page that is not there: %v", err)
	}
}

func TestOpenHole(t *testing.T) {
	for gone := range 3 {
		_, st, all, _ := pushes(t)
		if err := st.Delete(t.Context(), all[gone].Object.Key); err != nil {
			t.Fatal(err)
		}
		_, err := chain.Open(t.Context(), st, all[2], chain.Options{TempDir: t.TempDir()})
		var hole *chain.HoleError
		if !errors.As(err, &hole) || hole.Missing != all[gone].Key || hole.Snapshot.Name != all[2].Name || !errors.Is(err, format.ErrDamaged) {
			t.Errorf("without snapshot %d: %v", gone, err)
		}
	}
}

// TestOpenSwapped puts an object of another history, with the same pages, in the place of one that
// a delta rests on.
func TestOpenSwapped(t *testing.T) {
	dir, st, all, _ := pushes(t)
	other, _, others, _ := pushes(t)
	b, err := os.ReadFile(filepath.Join(other, others[0].Object.Key))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, all[0].Object.Key), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Open(t.Context(), st, all[2], chain.Options{TempDir: t.TempDir()}); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("with another full: %v", err)
	}
}
