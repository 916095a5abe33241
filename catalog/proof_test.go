package catalog_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// record records a proof.
func record(t *testing.T, st store.Store, p catalog.Proof) catalog.Proof {
	t.Helper()
	if err := catalog.RecordProof(t.Context(), st, &p, catalog.ProofDetail{Host: "h", Fetched: 5}); err != nil {
		t.Fatal(err)
	}
	return p
}

// keys returns the keys of all that a store holds.
func keys(t *testing.T, st store.Store) []string {
	t.Helper()
	var all []string
	for o, err := range st.List(t.Context(), store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o.Key)
	}
	return all
}

// strangers are keys below the proofs of app.db that this version does not understand.
var strangers = []string{
	"README.txt",
	base(1, 1) + ".json",
	base(1, 1) + "." + base(2, 2),
	base(1, 1) + "." + base(2, 2) + ".quick.sound",
	base(1, 1) + "." + base(2, 2) + ".quick.splendid.json",
	base(1, 1) + "." + base(2, 2) + ".deep.sound.json",
	base(1, 1) + "." + base(2, 2) + ".sound.json",
	base(1, 1) + "." + base(2, 2) + ".quick.sound.json.json",
	base(1, 1) + "." + base(2, 2) + ".full.quick.sound.json",
	base(1, 1) + "." + strings.ToLower(base(2, 2)) + ".quick.sound.json",
	base(1, 1) + "x" + base(2, 2) + ".quick.sound.json",
	"..quick.sound.json",
}

// TestProofs records proofs and lists them among what others have put there.
func TestProofs(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	for _, s := range strangers {
		put(t, st, ".litestash/proofs/app.db/"+s)
	}
	before := time.Now().Truncate(time.Millisecond)
	later := record(t, st, catalog.Proof{Database: "app.db", Snapshot: format.Name{Time: 9, ID: 9}, Level: catalog.LevelFull, Outcome: catalog.Damaged})
	below := record(t, st, catalog.Proof{Database: "app.db/below", Snapshot: format.Name{Time: 1, ID: 1}, Level: catalog.LevelQuick, Outcome: catalog.Unchecked})
	first := record(t, st, catalog.Proof{Database: "app.db", Snapshot: format.Name{Time: 1, ID: 1}, Level: catalog.LevelPages, Outcome: catalog.Unmet})
	other := record(t, st, catalog.Proof{Database: "app.db2", Snapshot: format.Name{Time: 1, ID: 1}, Level: catalog.LevelQuick, Outcome: catalog.Sound})
	if at := first.Check.Time.UTC(); at.Before(before) || at.After(time.Now()) || first.Check.ID == later.Check.ID {
		t.Errorf("checked at %v", first.Check)
	}

	// Reading one would fail.
	unread := storetest.Fault(st)
	got, err := catalog.Proofs(t.Context(), unread, "app.db")
	if err != nil || !slices.Equal(got, []catalog.Proof{first, later}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if calls := unread.Calls(); len(calls) != 1 {
		t.Errorf("it took %v", calls)
	}
	if got, err := catalog.ProofsOf(t.Context(), st, "app.db", first.Snapshot); err != nil || !slices.Equal(got, []catalog.Proof{first}) {
		t.Errorf("of one snapshot: got %+v, %v", got, err)
	}
	var all []catalog.Proof
	for p, err := range catalog.AllProofs(t.Context(), st) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if want := []catalog.Proof{first, later, below, other}; !slices.Equal(all, want) {
		t.Errorf("got %+v, want %+v", all, want)
	}
	for range catalog.AllProofs(t.Context(), st) {
		break
	}

	// They are no snapshots.
	if found, err := catalog.Databases(t.Context(), st); err != nil || len(found) != 0 {
		t.Errorf("databases: %v, %v", found, err)
	}
}

// TestDeleteProofs deletes the proofs of some snapshots, and whatever a later version knows of these.
func TestDeleteProofs(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	gone, kept := format.Name{Time: 1, ID: 1}, format.Name{Time: 1, ID: 2}
	for _, s := range strangers {
		put(t, st, ".litestash/proofs/app.db/"+s)
	}
	record(t, st, catalog.Proof{Database: "app.db", Snapshot: gone, Outcome: catalog.Sound})
	record(t, st, catalog.Proof{Database: "app.db", Snapshot: gone, Outcome: catalog.Damaged})
	p := record(t, st, catalog.Proof{Database: "app.db", Snapshot: kept, Outcome: catalog.Sound})
	q := record(t, st, catalog.Proof{Database: "other.db", Snapshot: gone, Outcome: catalog.Sound})
	names := map[format.Name]bool{gone: true, {Time: 7, ID: 7}: true}
	if err := catalog.DeleteProofs(t.Context(), st, "app.db", names); err != nil {
		t.Fatal(err)
	}
	for _, name := range []struct {
		database string
		want     []catalog.Proof
	}{{"app.db", []catalog.Proof{p}}, {"other.db", []catalog.Proof{q}}} {
		if got, err := catalog.Proofs(t.Context(), st, name.database); err != nil || !slices.Equal(got, name.want) {
			t.Errorf("%s: left are %+v, %v", name.database, got, err)
		}
	}
	about := base(gone.Time, gone.ID) + "." + base(2, 2) + "."
	for _, key := range keys(t, st) {
		if strings.Contains(key, "app.db/"+about) {
			t.Errorf("%s is still there", key)
		}
	}
	if n := len(keys(t, st)); n != 2+6 {
		t.Errorf("%d objects are left: %q", n, keys(t, st))
	}
}

// TestStanding tells what is known of a snapshot after several checks.
func TestStanding(t *testing.T) {
	const pages, quick, full = catalog.LevelPages, catalog.LevelQuick, catalog.LevelFull
	type proof struct {
		level   catalog.Level
		outcome catalog.Outcome
	}
	for _, c := range []struct {
		proofs []proof
		want   int // which of them
	}{
		{[]proof{{quick, catalog.Sound}}, 0},
		{[]proof{{full, catalog.Sound}, {quick, catalog.Sound}}, 1},
		{[]proof{{quick, catalog.Sound}, {quick, catalog.Damaged}}, 1},
		{[]proof{{pages, catalog.Damaged}, {quick, catalog.Sound}}, 1},
		{[]proof{{quick, catalog.Damaged}, {quick, catalog.Sound}}, 1},
		{[]proof{{full, catalog.Damaged}, {quick, catalog.Sound}}, 0},
		{[]proof{{full, catalog.Damaged}, {quick, catalog.Sound}, {full, catalog.Sound}, {quick, catalog.Sound}}, 3},
		{[]proof{{quick, catalog.Damaged}, {full, catalog.Unchecked}}, 0},
		{[]proof{{pages, catalog.Damaged}, {full, catalog.Unchecked}}, 1},
		{[]proof{{full, catalog.Damaged}, {pages, catalog.Damaged}}, 1},
		{[]proof{{full, catalog.Damaged}, {pages, catalog.Damaged}, {quick, catalog.Sound}}, 0},
		{[]proof{{quick, catalog.Damaged}, {pages, catalog.Damaged}, {quick, catalog.Sound}}, 2},
		{[]proof{{full, catalog.Damaged}, {quick, catalog.Damaged}, {quick, catalog.Sound}}, 0},
		{[]proof{{full, catalog.Unmet}, {quick, catalog.Sound}}, 1},
		{[]proof{{quick, catalog.Sound}, {quick, catalog.Unmet}}, 1},
	} {
		var all []catalog.Proof
		for i, p := range c.proofs {
			for id := format.ID(1); id <= 2; id++ { // two snapshots
				all = append(all, catalog.Proof{Snapshot: format.Name{Time: 5, ID: id}, Check: format.Name{Time: format.Time(i), ID: 1}, Level: p.level, Outcome: p.outcome})
			}
		}
		got := catalog.Standing(all)
		for name, p := range got {
			if int(p.Check.Time) != c.want || p.Snapshot != name {
				t.Errorf("%v: got number %d", c.proofs, p.Check.Time)
			}
		}
		if len(got) != 2 {
			t.Errorf("%v: of %v", c.proofs, slices.Collect(maps.Keys(got)))
		}
	}
}

// TestProofFaults lets each step fail.
func TestProofFaults(t *testing.T) {
	dir := storetest.OpenDir(t, t.TempDir())
	p := record(t, dir, catalog.Proof{Database: "app.db", Snapshot: format.Name{Time: 1, ID: 1}, Outcome: catalog.Sound})
	for what, do := range map[string]func(store.Store) error{
		"record": func(st store.Store) error { return catalog.RecordProof(t.Context(), st, &p, catalog.ProofDetail{}) },
		"list":   func(st store.Store) error { _, err := catalog.Proofs(t.Context(), st, "app.db"); return err },
		"list all": func(st store.Store) (err error) {
			for _, e := range catalog.AllProofs(t.Context(), st) {
				err = errors.Join(err, e)
			}
			return err
		},
		"delete": func(st store.Store) error {
			return catalog.DeleteProofs(t.Context(), st, "app.db", map[format.Name]bool{p.Snapshot: true})
		},
	} {
		storetest.FailEach(t, dir, what, do)
	}
}

// A skewed store has another time than this host.
type skewed struct {
	store.Store
	skew time.Duration
}

func (s skewed) Skew(context.Context) (time.Duration, error) { return s.skew, nil }

// TestProofClock records nothing where the clock is off.
func TestProofClock(t *testing.T) {
	dir := storetest.OpenDir(t, t.TempDir())
	for _, skew := range []time.Duration{0, catalog.MaxSkew, -catalog.MaxSkew, catalog.MaxSkew + time.Second, -catalog.MaxSkew - time.Second} {
		p := catalog.Proof{Database: "app.db", Snapshot: format.Name{Time: 1, ID: 1}, Outcome: catalog.Sound}
		err := catalog.RecordProof(t.Context(), skewed{dir, skew}, &p, catalog.ProofDetail{})
		if refused := errors.As(err, new(*catalog.SkewError)); refused != (skew.Abs() > catalog.MaxSkew) || err != nil && !refused {
			t.Errorf("with the store's clock off by %v: %v", skew, err)
		}
	}
	if n := len(keys(t, dir)); n != 3 {
		t.Errorf("%d proofs are recorded", n)
	}
}
