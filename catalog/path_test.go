package catalog_test

import (
	"slices"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// listedAt returns what is listed under a name, of 1 << id bytes. on is the id that it builds on; 0 is none.
func listedAt(t *testing.T, at, id, on int, suffix string) catalog.Snapshot {
	t.Helper()
	key := "app.db/" + format.Name{Time: format.Time(at), ID: format.ID(id)}.String()
	if on > 0 {
		key += ".on-" + format.ID(on).String()
	}
	k, ok := format.ParseKey(key + suffix)
	if !ok {
		t.Fatal(key + suffix)
	}
	return catalog.Snapshot{Key: k, Object: store.Object{Key: k.String(), Size: 1 << id}}
}

func TestPaths(t *testing.T) {
	const full, delta, unknown = ".full.db.zst", ".delta.zst", ".patch.v9"
	all := []catalog.Snapshot{
		listedAt(t, 1000, 1, 0, full),
		listedAt(t, 1001, 2, 1, delta),
		listedAt(t, 1002, 3, 2, delta),
		listedAt(t, 1003, 4, 1, delta),
		listedAt(t, 1004, 5, 0, full),
		listedAt(t, 1005, 6, 5, delta),
		listedAt(t, 1006, 7, 6, unknown),
	}
	want := []catalog.Path{
		{Parent: -1, Objects: 1, Stored: 2},
		{Parent: 0, Objects: 2, Stored: 6},
		{Parent: 1, Objects: 3, Stored: 14},
		{Parent: 0, Objects: 2, Stored: 18},
		{Parent: -1, Objects: 1, Stored: 32},
		{Parent: 4, Objects: 2, Stored: 96},
		{Parent: 5, Objects: 3, Stored: 224, State: catalog.Foreign},
	}
	if got := catalog.Paths(all); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Without the second, what is there of the third's path is the third alone.
	got := catalog.Paths(slices.Delete(slices.Clone(all), 1, 2))
	if want := (catalog.Path{Parent: -1, Objects: 1, Stored: 8, State: catalog.Broken, Missing: 2}); got[1] != want {
		t.Errorf("got %+v, want %+v", got[1], want)
	}
}

// TestPathsOfOneTime lists snapshots whose parents are not earlier than they are, as the index of none can be.
func TestPathsOfOneTime(t *testing.T) {
	const full, delta = ".full.db.zst", ".delta.zst"
	all := []catalog.Snapshot{
		listedAt(t, 1000, 1, 0, full),
		listedAt(t, 1000, 2, 1, delta), // of the same time
		listedAt(t, 1001, 3, 2, delta),
		listedAt(t, 1002, 4, 4, delta), // on itself
		listedAt(t, 1003, 5, 6, delta), // on a later one
		listedAt(t, 1004, 6, 1, delta),
	}
	want := []catalog.Path{
		{Parent: -1, Objects: 1, Stored: 2},
		{Parent: -1, Objects: 1, Stored: 4, State: catalog.Broken, Missing: 1},
		{Parent: 1, Objects: 2, Stored: 12, State: catalog.Broken, Missing: 1},
		{Parent: -1, Objects: 1, Stored: 16, State: catalog.Broken, Missing: 4},
		{Parent: -1, Objects: 1, Stored: 32, State: catalog.Broken, Missing: 6},
		{Parent: 0, Objects: 2, Stored: 66},
	}
	if got := catalog.Paths(all); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestPathsOfOneID lists several objects under the id of what another builds on.
func TestPathsOfOneID(t *testing.T) {
	const full, delta = ".full.db.zst", ".delta.zst"
	base, child := listedAt(t, 1001, 1, 0, full), listedAt(t, 1005, 2, 1, delta)
	early, late := listedAt(t, 1000, 1, 9, delta), listedAt(t, 1002, 1, 9, delta) // on what is not there
	again, after := listedAt(t, 1003, 1, 0, full), listedAt(t, 1006, 1, 0, full)
	for _, c := range []struct {
		what string
		all  []catalog.Snapshot
		want catalog.Path // of the child
	}{
		{"broken ones beside a whole one", []catalog.Snapshot{early, base, late, child}, catalog.Path{Parent: 1, Objects: 2, Stored: 6}},
		{"two whole ones", []catalog.Snapshot{base, late, again, child}, catalog.Path{Parent: 0, Objects: 2, Stored: 6}},
		{"a whole one that is later than the child", []catalog.Snapshot{late, child, after}, catalog.Path{Parent: 0, Objects: 2, Stored: 6, State: catalog.Broken, Missing: 9}},
		{"one of the same name", []catalog.Snapshot{base, listedAt(t, 1001, 1, 9, delta), child}, catalog.Path{Parent: 0, Objects: 2, Stored: 6}},
	} {
		at := slices.Index(c.all, child)
		if got := catalog.Paths(c.all)[at]; got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.what, got, c.want)
		}
	}
}
