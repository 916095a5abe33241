package retention_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
)

// TestStrangeKeys plans deletions beside snapshots of later versions, and beside one whose key says
// that it rests on itself.
func TestStrangeKeys(t *testing.T) {
	at := func(i int) format.Name { return format.Name{Time: format.Time(i), ID: format.ID(i)} }
	parse := func(suffix string, i int) catalog.Snapshot {
		k, ok := format.ParseKey("app.db/" + at(i).String() + "." + suffix)
		if !ok {
			t.Fatal(suffix)
		}
		return catalog.Snapshot{Key: k}
	}
	on := func(i int) string { return "on-" + at(i).ID.String() + "." }
	for _, c := range []struct {
		name string
		all  []catalog.Snapshot
		want []int
		free []int // of want
	}{
		{"one that rests on itself", []catalog.Snapshot{parse("full.db.zst", 1), parse(on(2)+"delta.zst", 2)}, []int{1}, []int{1}},
		{"two that rest on each other", []catalog.Snapshot{parse(on(2)+"delta.zst", 1), parse(on(1)+"delta.zst", 2)}, []int{1}, nil},
		{"an unknown kind", []catalog.Snapshot{parse("full.db.zst", 1), parse("new.kind", 2), parse("full.db.zst", 3)}, []int{1, 3}, []int{3}},
		{"an unknown kind that is to go as well", []catalog.Snapshot{parse("full.db.zst", 1), parse("new.kind", 2)}, []int{1, 2}, []int{1, 2}},
		{"a delta on an unknown kind", []catalog.Snapshot{parse("full.db.zst", 1), parse("new.kind", 2), parse(on(2)+"delta.zst", 3)}, []int{1, 2}, nil},
		{"an unknown kind with a parent", []catalog.Snapshot{parse("full.db.zst", 1), parse("full.db.zst", 2), parse(on(2)+"new.kind", 3)}, []int{1, 2}, []int{1}},
	} {
		want := retention.Names{}
		for _, i := range c.want {
			want[at(i)] = true
		}
		var free []format.Name
		for _, i := range c.free {
			free = append(free, at(i))
		}
		s := retention.NewSurvey("app.db", c.all, nil, nil, nil)
		if got := s.Announceable(want); !slices.Equal(got, free) {
			t.Errorf("%s: %v may go, want %v", c.name, got, free)
		}
		s = retention.NewSurvey("app.db", c.all, []catalog.Announcement{{Names: slices.Collect(maps.Keys(want))}}, nil, nil)
		got := slices.Concat(s.Deletable(want)...)
		if len(got) != len(free) {
			t.Errorf("%s: %v would be deleted, want %v", c.name, got, free)
		}
	}
}

// TestSparedBeyondDoubt announces everything beside damage: one that may not restore does not stand for
// the good one before it.
func TestSparedBeyondDoubt(t *testing.T) {
	at := func(i int) format.Name { return format.Name{Time: format.Time(i), ID: format.ID(i)} }
	var all []catalog.Snapshot
	for i, suffix := range []string{"full.db.zst", "full.db.zst", "on-" + at(2).ID.String() + ".delta.zst"} {
		k, ok := format.ParseKey("app.db/" + at(i+1).String() + "." + suffix)
		if !ok {
			t.Fatal(suffix)
		}
		all = append(all, catalog.Snapshot{Key: k})
	}
	damaged := catalog.Proof{Database: "app.db", Snapshot: at(2), Check: at(4), Level: catalog.LevelPages, Outcome: catalog.Damaged}
	announced := []catalog.Announcement{{Names: []format.Name{at(1), at(2), at(3)}}}
	s := retention.NewSurvey("app.db", all, announced, nil, []catalog.Proof{damaged})
	if got := slices.Concat(s.Deletable(nil)...); len(got) != 0 {
		t.Errorf("%v would be deleted", got)
	}
	proved := catalog.Proof{Database: "app.db", Snapshot: at(3), Check: at(5), Level: catalog.LevelQuick, Outcome: catalog.Sound}
	s = retention.NewSurvey("app.db", all, announced, nil, []catalog.Proof{damaged, proved})
	if got := slices.Concat(s.Deletable(nil)...); len(got) != 1 || got[0].Name != at(1) {
		t.Errorf("%v would be deleted, want the first", got)
	}
}
