package retention_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

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

// TestRepeatedIDs plans beside forgeries under the id of a snapshot that others rest on: a listing cannot tell which is
// meant, so that all of them stay as long as what rests on one of them does.
func TestRepeatedIDs(t *testing.T) {
	at := func(i int) format.Name { return format.Name{Time: format.Time(10 * i), ID: format.ID(i)} }
	later := func(i int) format.Name { return format.Name{Time: at(i).Time + 1, ID: at(i).ID} }
	sooner := func(i int) format.Name { return format.Name{Time: at(i).Time - 1, ID: at(i).ID} }
	listed := func(n format.Name, suffix string) catalog.Snapshot {
		k, ok := format.ParseKey("app.db/" + n.String() + "." + suffix)
		if !ok {
			t.Fatal(suffix)
		}
		return catalog.Snapshot{Key: k}
	}
	const full = "full.db.zst"
	on := func(i int) string { return "on-" + at(i).ID.String() + ".delta.zst" }
	chain := []catalog.Snapshot{listed(at(1), full), listed(at(2), on(1)), listed(at(3), on(2)), listed(at(5), full)}
	for _, c := range []struct {
		what   string
		forged catalog.Snapshot
		proofs []catalog.Proof
	}{
		{"later", listed(later(2), full), nil},
		{"earlier", listed(sooner(2), full), nil},
		{"of what all rest on", listed(later(1), full), nil},
		{"on itself", listed(later(2), on(2)), nil},
		{"on what is not there", listed(later(2), on(9)), nil},
		{"of the same name", listed(at(2), on(9)), nil},
		{"of the same name as the one that is kept", listed(at(3), on(9)), nil},
		{"of the same name, and read", listed(at(3), on(9)), []catalog.Proof{
			{Database: "app.db", Snapshot: at(3), Check: at(8), Level: catalog.LevelPages, Outcome: catalog.Damaged},
		}},
	} {
		all := append(slices.Clone(chain), c.forged)
		slices.SortFunc(all, func(a, b catalog.Snapshot) int { return strings.Compare(a.Key.String(), b.Key.String()) })
		held := []catalog.Hold{{Database: "app.db", Snapshot: at(3)}}
		s := retention.NewSurvey("app.db", all, nil, held, c.proofs)
		for _, v := range (retention.Policy{Last: 1}).Plan(s, time.Now()) {
			if v.Goes() {
				t.Errorf("%s: a policy lets %v go, on which a held one rests", c.what, v.Snapshot.Key)
			}
		}
		s = retention.NewSurvey("app.db", all, nil, nil, c.proofs)
		plan := (retention.Policy{Last: 2}).Plan(s, time.Now())
		for _, v := range plan {
			if v.Goes() && v.Snapshot.Key != c.forged.Key {
				t.Errorf("%s: a policy lets %v go: %+v", c.what, v.Snapshot.Key, plan)
			}
		}
		everything := retention.Names{}
		for _, o := range all {
			everything[o.Name] = o.Name != at(3)
		}
		for _, n := range s.Announceable(everything) {
			if n != at(5) {
				t.Errorf("%s: %v may be announced", c.what, n)
			}
		}
		s = retention.NewSurvey("app.db", all, []catalog.Announcement{{Names: slices.Collect(maps.Keys(everything))}}, held, c.proofs)
		for _, o := range slices.Concat(s.Deletable(everything)...) {
			if o.Name != at(5) {
				t.Errorf("%s: %v would be deleted", c.what, o.Name)
			}
		}
	}
}
