package retention_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// What a survey reads, in the order that is safe: see [retention.Look].
var surveyed = []string{"list announced", "list held", "list proofs", "list snapshots"}

// again is a survey once something is announced.
var again = slices.Insert(slices.Clone(surveyed), 1, "read an announcement")

// TestOrder holds the code to the order of requests that the model runs through, which writes it down a second time.
func TestOrder(t *testing.T) {
	r := newRig(t) // 1 and 2 rest on 0, one on the other, and so do 3, 4 and 5
	proof := &catalog.Proof{Database: "app.db", Snapshot: r.list()[4].Name, Level: catalog.LevelFull, Outcome: catalog.Sound}
	if err := catalog.RecordProof(t.Context(), r.st, proof, catalog.ProofDetail{}); err != nil {
		t.Fatal(err)
	}
	one := retention.Options{Concurrency: 1}
	tidied := []string{"list proofs", "delete a proof", "withdraw"}
	for _, c := range []struct {
		what string
		do   func(ctx context.Context, st store.Store, all []catalog.Snapshot) error
		want [][]string
	}{
		{"a survey", func(ctx context.Context, st store.Store, _ []catalog.Snapshot) error {
			_, err := retention.Look(ctx, st, "app.db")
			return err
		}, [][]string{surveyed}},
		{"a plan", func(ctx context.Context, st store.Store, all []catalog.Snapshot) error {
			_, err := retention.PlanDelete(ctx, st, "app.db", retention.Names{all[5].Name: true})
			return err
		}, [][]string{surveyed}},
		{"a deletion", func(ctx context.Context, st store.Store, all []catalog.Snapshot) error {
			want := retention.Names{}
			for _, s := range all[1:] {
				want[s.Name] = true
			}
			return deleteNamed(ctx, st, want, one)
		}, [][]string{surveyed, {"announce"}, again, {"delete 5", "delete 2", "delete 4", "delete 1", "delete 3"}, tidied}},
		{"a prune", func(ctx context.Context, st store.Store, _ []catalog.Snapshot) error {
			_, err := retention.Prune(ctx, st, "app.db", retention.Policy{Hourly: 1}, retention.PruneOptions{Options: one})
			return err
		}, [][]string{surveyed, {"announce"}, again, {"delete 2", "delete 1"}, {"list proofs", "withdraw"}}},
		{"a deletion of all", func(ctx context.Context, st store.Store, _ []catalog.Snapshot) error {
			_, err := deleteAll(ctx, st, false, one)
			return err
		}, [][]string{surveyed, {"announce"}, again, {"delete 5", "delete 2", "delete 4", "delete 1", "delete 3", "delete 0"}, tidied, surveyed}},
		{"a hold", func(ctx context.Context, st store.Store, all []catalog.Snapshot) error {
			return retention.Hold(ctx, st, "app.db", all[5].Name)
		}, [][]string{{"list snapshots", "hold", "list announced", "list snapshots"}}},
	} {
		copied := r.clone()
		all := copied.list()
		st := storetest.Fault(copied.st)
		if err := c.do(t.Context(), st, all); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		var got []string
		for _, call := range st.Calls() {
			got = append(got, spoken(call, all))
		}
		if want := slices.Concat(c.want...); !slices.Equal(got, want) {
			t.Errorf("%s makes the requests\n%s, want\n%s", c.what, strings.Join(got, ", "), strings.Join(want, ", "))
		}
	}
}

// spoken says in words what a call does.
func spoken(c storetest.Call, all []catalog.Snapshot) string {
	place, about := strings.CutPrefix(c.Key, ".litestash/")
	place, _, _ = strings.Cut(place, "/")
	switch {
	case c.Op == "List" && about:
		return "list " + place
	case c.Op == "List" && c.Key == "app.db/":
		return "list snapshots"
	case about:
		if verb := map[storetest.Call]string{
			{Op: "Create", Key: "announced"}: "announce",
			{Op: "Open", Key: "announced"}:   "read an announcement",
			{Op: "Delete", Key: "announced"}: "withdraw",
			{Op: "Create", Key: "held"}:      "hold",
			{Op: "Delete", Key: "proofs"}:    "delete a proof",
		}[storetest.Call{Op: c.Op, Key: place}]; verb != "" {
			return verb
		}
	case c.Op == "Delete":
		if k, ok := format.ParseKey(c.Key); ok {
			return fmt.Sprintf("delete %d", slices.IndexFunc(all, func(s catalog.Snapshot) bool { return s.Name == k.Name }))
		}
	}
	return c.Op + " " + c.Key
}
