package restore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// happens lets something happen in a store before one of its reads.
type happens struct {
	store.Store
	read int // the read before which it does
	do   func()

	mu    sync.Mutex
	reads int
}

func (h *happens) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	h.mu.Lock()
	h.reads++
	if h.reads == h.read {
		h.do()
	}
	h.mu.Unlock()
	return h.Store.Open(ctx, o, off, n)
}

// TestAnew deletes what is being restored, as a deletion does it, before each of the reads.
func TestAnew(t *testing.T) {
	const pageSize, pages = 4096, 3000
	var images [][]byte
	data := memimage.Noise(1, pageSize, pages)
	for i := range 4 {
		change(data, pageSize, uint64(i), 1, 2+i, 1000+i, 2999)
		images = append(images, slices.Clone(data))
	}
	for _, c := range []struct {
		name   string
		delete []int // which of the four
		push   bool  // another one is stored then
		want   int   // which one is restored in the stead of the newest; -1 is none
	}{
		{"the newest", []int{3}, false, 2},
		{"some", []int{2, 3}, false, 1},
		{"some and a new one", []int{1, 2, 3}, true, 3},
		{"all", []int{0, 1, 2, 3}, false, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			others := 0 // restores that took another snapshot
			for read := 1; ; read++ {
				st := storetest.OpenDir(t, t.TempDir())
				push(t, st, "other.db", 0, nil) // or the directory goes with its last object
				var all []catalog.Snapshot
				for _, image := range images {
					all = append(all, push(t, st, "app.db", pageSize, image).Snapshot)
				}
				h := &happens{Store: st, read: read, do: func() {
					doomed := retention.Names{}
					for _, i := range c.delete {
						doomed[all[i].Name] = true
					}
					d, err := retention.PlanDelete(t.Context(), st, "app.db", doomed)
					if err == nil {
						err = d.Run(t.Context(), retention.Options{})
					}
					if err != nil {
						t.Error(err)
					}
					if c.push {
						push(t, st, "app.db", pageSize, images[3])
					}
				}}
				dir := t.TempDir()
				took, got, log, err := restoreLatest(t, h, filepath.Join(dir, "app.db"))
				happened := h.reads >= read
				switch {
				case happened && c.want < 0:
					// All reads may have been under way.
					if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
						t.Errorf("before read %d: %v", read, err)
					}
				case err != nil:
					t.Errorf("before read %d: %v", read, err)
				case !bytes.Equal(got, images[3]) && !(happened && bytes.Equal(got, images[c.want])):
					t.Errorf("before read %d: another database", read)
				case (took != all[3].Name) != strings.Contains(log, "taking another snapshot"):
					t.Errorf("before read %d: it took %v and logs %q", read, took, log)
				}
				if took != all[3].Name || err != nil {
					others++
				}
				if err != nil {
					checkNames(t, dir)
				}
				if !happened {
					if read < 7 || others == 0 {
						t.Errorf("only %d reads, and %d times another snapshot", read-1, others)
					}
					return
				}
			}
		})
	}
}

// restoreLatest restores the newest snapshot by the rules of Anew, and returns which it took, what it restored
// and what it logged.
func restoreLatest(t *testing.T, st store.Store, path string) (took format.Name, data []byte, log string, err error) {
	t.Helper()
	var lines strings.Builder
	opts := restore.Options{Concurrency: 1, Logger: slog.New(slog.NewTextHandler(&lines, nil))}
	err = restore.Anew(func() (catalog.Snapshot, error) {
		found, err := catalog.Find(t.Context(), st, "app.db", catalog.Latest)
		if err != nil {
			return catalog.Snapshot{}, err
		}
		return found[0], nil
	}, func(s catalog.Snapshot) error {
		took = s.Name
		_, err := restore.File(t.Context(), st, s, path, restore.FileOptions{Options: opts})
		return err
	}, opts.Logger)
	if err == nil {
		data, err = os.ReadFile(path)
	}
	return took, data, lines.String(), err
}

// TestAnewRealHole checks that a hole which stays is returned, and that other errors are, at once.
func TestAnewRealHole(t *testing.T) {
	st, snaps := copyChain(t)
	if err := st.Delete(t.Context(), snaps[2].Object.Key); err != nil {
		t.Fatal(err)
	}
	last := snaps[len(snaps)-1]
	finds := 0
	find := func() (catalog.Snapshot, error) { finds++; return last, nil }
	verify := func(s catalog.Snapshot) error {
		_, err := restore.Verify(t.Context(), st, s, restore.Options{})
		return err
	}
	hole, ok := errors.AsType[*chain.HoleError](restore.Anew(find, verify, nil))
	if !ok || hole.Missing != snaps[2].Key || finds != 2 {
		t.Errorf("got %v after %d looks", hole, finds)
	}
	finds = 0
	if err := restore.Anew(find, func(catalog.Snapshot) error { return format.ErrDamaged }, nil); err != format.ErrDamaged || finds != 1 {
		t.Errorf("got %v after %d looks", err, finds)
	}
}
