package restore_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store/storetest"
)

// TestPlan compares what is planned with what a restore then reads.
func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name            string
		pageSize, pages int
	}{
		{"all in the end that is read first", 4096, 10},
		{"several ranges", 4096, 5000},
		{"a page table of several segments", 512, 140_000},
		{"an empty database", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := storetest.OpenDir(t, t.TempDir())
			data := memimage.Noise(1, c.pageSize, c.pages)
			snaps := []catalog.Snapshot{push(t, st, "app.db", c.pageSize, data).Snapshot}
			for i := range 3 {
				if c.pages == 0 {
					break
				}
				data = slices.Clone(data)
				for page := 1 + i; page < c.pages; page += c.pages/3 + 1 {
					change(data, c.pageSize, uint64(i), page)
				}
				snaps = append(snaps, push(t, st, "app.db", c.pageSize, data).Snapshot)
			}
			for i, snap := range snaps {
				plan, err := restore.Plan(t.Context(), st, snap, restore.Options{TempDir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				r, err := restore.File(t.Context(), st, snap, filepath.Join(t.TempDir(), "app.db"), restore.FileOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if got, want := *plan, (restore.Estimate{Objects: r.Links, Requests: r.Requests, Bytes: r.Fetched}); got != want {
					t.Errorf("snapshot %d: planned %+v, done %+v", i, got, want)
				}
				if i > 0 && plan.Objects < 2 {
					t.Errorf("snapshot %d is no delta", i)
				}
			}
		})
	}
}

// TestPlanGone plans what cannot be restored.
func TestPlanGone(t *testing.T) {
	st, snaps := copyChain(t)
	if err := st.Delete(t.Context(), snaps[0].Object.Key); err != nil {
		t.Fatal(err)
	}
	for _, snap := range snaps[:2] {
		_, err := restore.Plan(t.Context(), st, snap, restore.Options{})
		hole, ok := errors.AsType[*chain.HoleError](err)
		if !ok || hole.Missing != snaps[0].Key || !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%v: %v", snap.Name, err)
		}
	}
}
