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

// TestRecoverForgetsDamage lets drills find damage while forgeries lie on top: what comes back, and what rests on it, is not
// believed to be that. What they found elsewhere stands.
func TestRecoverForgetsDamage(t *testing.T) {
	vs, lineage := newVersions(), format.NewLineage()
	at := func(day int) format.Name {
		return format.Name{Time: format.Time(1+day) * 86_400_000, ID: format.NewID(lineage)}
	}
	full := func(day int) catalog.Snapshot { return catalog.Snapshot{Key: format.FullKey("app.db", at(day))} }
	on := func(day int, parent catalog.Snapshot) catalog.Snapshot {
		return catalog.Snapshot{Key: format.Key{Database: "app.db", Name: at(day), Kind: format.Delta, HasParent: true, Parent: parent.Name.ID}}
	}
	base := full(0)
	hidden := on(1, base)
	leaf, other := on(2, hidden), full(3)
	rotten := on(4, other)
	for _, s := range []catalog.Snapshot{base, hidden, leaf, other, rotten, full(5)} {
		vs.put(s.Key.String(), []byte("pushed"), false)
	}
	vs.put(base.Key.String(), []byte("forged"), false)
	vs.put(hidden.Key.String(), nil, true)
	record := func(s catalog.Snapshot, level catalog.Level) {
		t.Helper()
		p := &catalog.Proof{Database: "app.db", Snapshot: s.Name, Level: level, Outcome: catalog.Damaged}
		if err := catalog.RecordProof(t.Context(), vs, p, catalog.ProofDetail{}); err != nil {
			t.Fatal(err)
		}
	}
	record(base, catalog.LevelPages)
	record(leaf, catalog.LevelPages)
	record(rotten, catalog.LevelPages)
	record(hidden, catalog.LevelFull) // as the database was when it was pushed
	if back := recoverAll(t, vs); len(back) != 2 {
		t.Fatalf("brought back are %v", back)
	}
	s, err := retention.Look(t.Context(), vs, "app.db")
	if err != nil {
		t.Fatal(err)
	}
	if _, stands := s.Standing[rotten.Name]; !stands || s.Standing[hidden.Name].Level != catalog.LevelFull || len(s.Standing) != 2 {
		t.Errorf("what stands is %v", s.Standing)
	}
	for _, v := range (retention.Policy{Daily: 3}).Plan(s, time.Now()) {
		if v.Goes() != (v.Snapshot.Name == rotten.Name) {
			t.Errorf("%v: %q", v.Snapshot.Name, v.Reasons)
		}
	}
}

// TestRecoverHeld hides a snapshot that is held, and everything: deletions leave the hold, so that what comes back is held.
func TestRecoverHeld(t *testing.T) {
	for _, hidden := range []int{1, 6} {
		vs, ctx := versionsOf(t, newRig(t).st), t.Context()
		all, err := catalog.List(ctx, vs, "app.db")
		if err != nil {
			t.Fatal(err)
		}
		leaf := all[2]
		if err := retention.Hold(ctx, vs, "app.db", leaf.Name); err != nil {
			t.Fatal(err)
		}
		for _, s := range append(slices.Clone(all[2:]), all[:2]...)[:hidden] { // by somebody else
			if err := vs.Delete(ctx, s.Object.Key); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := retention.Prune(ctx, vs, "app.db", retention.Policy{Last: 1}, retention.PruneOptions{}); err != nil {
			t.Errorf("%d hidden: prune: %v", hidden, err)
		}
		if _, err := deleteAll(ctx, vs, false, retention.Options{}); !errors.As(err, new(*retention.HeldError)) {
			t.Errorf("%d hidden: deleting all ends with %v", hidden, err)
		}
		back := recoverAll(t, vs)
		if !slices.Contains(back, leaf.Name) {
			t.Errorf("%d hidden: brought back are %v", hidden, back)
		}
		if s, err := retention.Look(ctx, vs, "app.db"); err != nil || !s.Held(leaf.Name) {
			t.Errorf("%d hidden: what came back is not held any more, %v", hidden, err)
		}
		if _, err := deleteAll(ctx, vs, true, retention.Options{}); err != nil {
			t.Errorf("%d hidden: deleting even what is held ends with %v", hidden, err)
		}
		if holds, err := catalog.Holds(ctx, vs, "app.db"); err != nil || len(holds) > 0 {
			t.Errorf("%d hidden: of all there are %v, %v", hidden, holds, err)
		}
	}
}
