package chain_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// listed returns a listing of snapshots: on says for each which earlier one it builds on, -1 for none.
func listed(t *testing.T, on ...int) []catalog.Snapshot {
	t.Helper()
	var all []catalog.Snapshot
	for i, parent := range on {
		n := format.Name{Time: format.Time(1000 + i), ID: format.ID(100 + i)}
		key := "app.db/" + n.String() + ".full.db.zst"
		if parent >= 0 {
			key = "app.db/" + n.String() + ".on-" + format.ID(100+parent).String() + ".delta.zst"
		}
		k, ok := format.ParseKey(key)
		if !ok {
			t.Fatal(key)
		}
		all = append(all, catalog.Snapshot{Key: k, Object: store.Object{Key: key, Size: int64(1) << i}})
	}
	return all
}

// without returns a listing in which the object with index i is gone.
func without(all []catalog.Snapshot, gone ...int) []catalog.Snapshot {
	var left []catalog.Snapshot
	for i, s := range all {
		if !slices.Contains(gone, i) {
			left = append(left, s)
		}
	}
	return left
}

func TestLosses(t *testing.T) {
	all := listed(t, -1, 0, 1, 2, 0, 4, -1, 6)
	for _, c := range []struct {
		gone []int
		want string // each loss: what is missing, what is lost, the nearest before and after
	}{
		{nil, ""},
		{[]int{3, 7}, ""}, // nothing rests on them
		{[]int{0}, "0: 1 2 3 4 5 none 6"},
		{[]int{1}, "1: 2 3 0 4"},
		{[]int{2}, "2: 3 1 4"},
		{[]int{1, 4}, "1: 2 3 0 6; 4: 5 0 6"},
		{[]int{6}, "6: 7 5 none"},
		{[]int{0, 6}, "0: 1 2 3 4 5 none none; 6: 7 none none"},
	} {
		var got []string
		for _, l := range chain.Losses(without(all, c.gone...)) {
			words := []string{index(l.Missing) + ":"}
			for _, s := range l.Lost {
				words = append(words, index(s.Name.ID))
			}
			got = append(got, strings.Join(append(words, near(l.Before), near(l.After)), " "))
		}
		if got := strings.Join(got, "; "); got != c.want {
			t.Errorf("without %v: %q, want %q", c.gone, got, c.want)
		}
	}
}

func index(id format.ID) string { return string(rune('0' + id - 100)) }

func near(s *catalog.Snapshot) string {
	if s == nil {
		return "none"
	}
	return index(s.Name.ID)
}

// TestLossOf compares with a model that walks from every snapshot to its full, in random forests of which
// random objects are gone.
func TestLossOf(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 0))
	for range 2000 {
		n := 2 + rng.IntN(14)
		on := make([]int, n)
		for i := range on {
			on[i] = rng.IntN(i+1) - 1
		}
		all := listed(t, on...)
		gone := map[int]bool{}
		for i := range n {
			if rng.IntN(5) == 0 {
				gone[i] = true
			}
		}
		// whole reports whether i can be restored, and else which of its path is gone first.
		whole := func(i int) bool {
			for ; i >= 0; i = on[i] {
				if gone[i] {
					return false
				}
			}
			return true
		}
		var there []catalog.Snapshot
		for i, s := range all {
			if !gone[i] {
				there = append(there, s)
			}
		}
		paths := catalog.Paths(there)
		for i, s := range there {
			if (paths[i].State == catalog.Whole) != whole(int(s.Name.ID)-100) {
				t.Fatalf("%v without %v: %v is %v", on, gone, s.Name, paths[i].State)
			}
		}
		for asked := range n {
			if gone[asked] || whole(asked) {
				continue
			}
			missing := on[asked]
			for !gone[missing] {
				missing = on[missing]
			}
			l := chain.LossOf(there, all[missing].Key, all[asked].Name)
			var before, after *catalog.Snapshot
			for i := range n {
				switch {
				case !whole(i):
				case i < asked:
					before = &all[i]
				case i > asked && after == nil:
					after = &all[i]
				}
			}
			if near(l.Before) != near(before) || near(l.After) != near(after) {
				t.Fatalf("%v without %v: beside %d got %s and %s, want %s and %s", on, gone, asked, near(l.Before), near(l.After), near(before), near(after))
			}
			for i := range n {
				lost := false // its path is there down to what is missing
				for j := i; !gone[j]; j = on[j] {
					if lost = on[j] == missing; lost || on[j] < 0 {
						break
					}
				}
				if got := slices.ContainsFunc(l.Lost, func(s catalog.Snapshot) bool { return s.Name == all[i].Name }); got != lost {
					t.Fatalf("%v without %v: %d is lost with %d: %v, want %v", on, gone, i, missing, got, lost)
				}
			}
		}
	}
}

// TestExplain names what is lost in words.
func TestExplain(t *testing.T) {
	_, st, all, _ := pushes(t)
	if err := st.Delete(t.Context(), all[1].Object.Key); err != nil {
		t.Fatal(err)
	}
	_, err := chain.Open(t.Context(), st, all[2], chain.Options{TempDir: t.TempDir()})
	err = chain.Explain(t.Context(), st, err)
	want := "the snapshot " + all[2].Name.String() + " rests on " + all[1].Object.Key + ", which is gone; lost with it: " +
		all[2].Name.String() + "; the nearest that can be restored: " + all[0].Name.String() + " before"
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	other := errors.New("other")
	if got := chain.Explain(t.Context(), st, other); got != other {
		t.Errorf("another error became %v", got)
	}
	// It is listed and yet cannot be read.
	l := chain.LossOf(all, all[0].Key, all[0].Name)
	if len(l.Lost) != 2 || l.Before != nil || l.After != nil || !strings.HasSuffix(l.String(), "; none can be restored") {
		t.Errorf("without the full: %v", l)
	}
	many := make([]int, 12)
	for i := range many {
		many[i] = i - 1
	}
	chained := listed(t, many...)
	losses := chain.Losses(chained[1:])
	text := (&chain.LossError{Database: "app.db", Loss: losses[0]}).Error()
	want = "app.db: the snapshot with the id 0000000000034 is gone; lost with it: 11 snapshots from " + chained[1].Name.String() + " to " +
		chained[11].Name.String() + "; none can be restored"
	if len(losses) != 1 || text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
