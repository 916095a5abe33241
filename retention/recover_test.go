package retention_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
)

// versionsOf puts all that a directory holds into a store that keeps versions.
func versionsOf(t *testing.T, dir *store.Dir) *versions {
	t.Helper()
	vs := newVersions()
	for o, err := range dir.List(t.Context(), store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir.String(), o.Key))
		if err != nil {
			t.Fatal(err)
		}
		vs.put(o.Key, text, false)
	}
	return vs
}

// A stopper is stopped after some deletions.
type stopper struct {
	*versions
	left int
}

func (s *stopper) Delete(ctx context.Context, key string) error {
	if s.left == 0 {
		return errors.New("stopped")
	}
	s.left--
	return s.versions.Delete(ctx, key)
}

// recoverAll recovers the database, and returns what it says to have brought back.
func recoverAll(t *testing.T, st store.Versioner) []format.Name {
	t.Helper()
	var back []format.Name
	err := retention.Recover(t.Context(), st, "app.db", retention.RecoverOptions{}, func(c retention.Covered) { back = append(back, c.Name) })
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// TestRecoverLasts stops a prune by mistake at each of its deletions: what is brought back then can be held, and a prune
// that keeps everything keeps it.
func TestRecoverLasts(t *testing.T) {
	r := newRig(t)
	keepAll := retention.Policy{Within: 10_000 * time.Hour}
	for stop := 1; ; stop++ {
		vs := versionsOf(t, r.st)
		one := retention.PruneOptions{Options: retention.Options{Concurrency: 1}}
		_, err := retention.Prune(t.Context(), &stopper{vs, stop}, "app.db", retention.Policy{Hourly: 1}, one)
		back := recoverAll(t, vs)
		if err == nil {
			if stop < 3 || len(back) != 2 {
				t.Errorf("a prune that nobody stopped deletes %v", back)
			}
			return
		}
		for _, n := range back {
			if err := retention.Hold(t.Context(), vs, "app.db", n); err != nil {
				t.Errorf("stopped at %d: what came back cannot be held: %v", stop, err)
			}
		}
		p, err := retention.Prune(t.Context(), vs, "app.db", keepAll, retention.PruneOptions{})
		if err != nil || len(p.Gone) > 0 {
			t.Errorf("stopped at %d: a policy that keeps everything deletes %v, %v", stop, p.Gone, err)
		}
		all, err := catalog.List(t.Context(), vs, "app.db")
		if err != nil {
			t.Fatal(err)
		}
		if want := r.list(); !slices.EqualFunc(all, want, func(a, b catalog.Snapshot) bool { return a.Name == b.Name }) {
			t.Errorf("stopped at %d: there is %v, want %v", stop, all, want)
		}
	}
}
