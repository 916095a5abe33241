package catalog_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

func TestStaysIn(t *testing.T) {
	const full, delta, unknown = ".full.db.zst", ".delta.zst", ".patch.v9"
	one := listedAt(t, 1000, 1, 0, full)
	two := listedAt(t, 1001, 2, 1, delta)
	three := listedAt(t, 1002, 3, 2, delta)
	beside := listedAt(t, 1003, 4, 1, delta)
	later := listedAt(t, 1004, 5, 4, unknown)
	again := listedAt(t, 1001, 1, 0, full) // under the id of the first
	all := []catalog.Snapshot{one, two, three, beside, later}
	of := func(s catalog.Snapshot, gone bool) catalog.Trouble {
		return catalog.Trouble{Snapshot: s.Name, Gone: gone}
	}
	for _, c := range []struct {
		what      string
		there     []catalog.Snapshot
		announced map[format.Name]bool
		want      map[format.Name]catalog.Trouble
	}{
		{"all is there", all, nil, nil},
		{"one is announced on which others rest", all, map[format.Name]bool{two.Name: true}, map[format.Name]catalog.Trouble{
			two.Name: of(two, false), three.Name: of(two, false),
		}},
		{"one is gone on which others rest", without(all, 1), nil, map[format.Name]catalog.Trouble{
			two.Name: of(two, true), three.Name: {Snapshot: format.Name{ID: 2}, Gone: true},
		}},
		{"one is announced and what it rests on is gone", all[1:3], map[format.Name]bool{three.Name: true}, map[format.Name]catalog.Trouble{
			one.Name: of(one, true), two.Name: {Snapshot: format.Name{ID: 1}, Gone: true}, three.Name: of(three, false),
			beside.Name: of(beside, true), later.Name: of(later, true),
		}},
		{"one of two of an id is announced", slices.Insert(slices.Clone(all), 1, again), map[format.Name]bool{one.Name: true}, map[format.Name]catalog.Trouble{
			one.Name: of(one, false), two.Name: of(one, false), three.Name: of(one, false), beside.Name: of(one, false), later.Name: of(one, false),
		}},
		{"what is announced is gone", without(all, 4), map[format.Name]bool{later.Name: true}, map[format.Name]catalog.Trouble{later.Name: of(later, true)}},
	} {
		got := catalog.StaysIn(c.there, c.announced, one.Name, two.Name, three.Name, beside.Name, later.Name)
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, got, c.want)
		}
	}
}

func without(all []catalog.Snapshot, i int) []catalog.Snapshot {
	return slices.Delete(slices.Clone(all), i, i+1)
}

// TestStays looks at a store, at what is announced first.
func TestStays(t *testing.T) {
	dir, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	one := listedAt(t, 1000, 1, 0, ".full.db.zst")
	two := listedAt(t, 1001, 2, 1, ".delta.zst")
	for _, s := range []catalog.Snapshot{one, two} {
		if _, err := dir.Create(t.Context(), s.Object.Key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	check := func(announced []string, want map[format.Name]catalog.Trouble) {
		t.Helper()
		st := storetest.Fault(dir)
		got, err := catalog.Stays(t.Context(), st, "app.db", one.Name, two.Name)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
		var calls []string
		for _, c := range st.Calls() {
			calls = append(calls, c.Op+" "+c.Key)
		}
		order := slices.Concat([]string{"List .litestash/announced/app.db/"}, announced, []string{"List app.db/"})
		if !slices.Equal(calls, order) {
			t.Errorf("the calls are %q, want %q", calls, order)
		}
	}
	check(nil, nil)
	n := catalog.NewName()
	if err := catalog.Announce(t.Context(), dir, "app.db", n, []format.Name{one.Name}); err != nil {
		t.Fatal(err)
	}
	open := []string{"Open .litestash/announced/app.db/" + n.String() + ".json"}
	going := catalog.Trouble{Snapshot: one.Name}
	check(open, map[format.Name]catalog.Trouble{one.Name: going, two.Name: going})
	for _, s := range []catalog.Snapshot{one, two} {
		if err := dir.Delete(t.Context(), s.Object.Key); err != nil {
			t.Fatal(err)
		}
	}
	check(open, map[format.Name]catalog.Trouble{one.Name: {Snapshot: one.Name, Gone: true}, two.Name: {Snapshot: two.Name, Gone: true}})
	storetest.FailEach(t, dir, "stays", func(st store.Store) error {
		_, err := catalog.Stays(t.Context(), st, "app.db", one.Name)
		return err
	})
}
