package retention_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
)

// TestPlanDelete plans deletions that may not be.
func TestPlanDelete(t *testing.T) {
	h := newHistory(t)
	st := h.copyTo(t)
	absent := format.Name{Time: 1, ID: 1}
	plan := func(database string, want ...format.Name) (*retention.Deletion, error) {
		names := retention.Names{}
		for _, n := range want {
			names[n] = true
		}
		return retention.PlanDelete(t.Context(), st, database, names)
	}
	if _, err := plan("none.db", h.names[13]); !errors.As(err, new(*catalog.NotFoundError)) {
		t.Errorf("of no database: %v", err)
	}
	missing, ok := errors.AsType[*catalog.NotFoundError](second(plan("app.db", h.names[13], absent)))
	if !ok || missing.What != absent.String() {
		t.Errorf("one that there is not: %v", missing)
	}
	held, ok := errors.AsType[*retention.HeldError](second(plan("app.db", h.names[13], h.names[10])))
	if !ok || held.Snapshot.Name != h.names[10] {
		t.Errorf("a held one: %v", held)
	}
	rest, ok := errors.AsType[*retention.RestError](second(plan("app.db", h.names[12])))
	if !ok || rest.Snapshot.Name != h.names[12] || rest.Dependent.Name != h.names[13] {
		t.Errorf("one that another rests on: %v", rest)
	}
	d, err := plan("app.db", h.names[13], h.names[12])
	if err != nil || len(d.Snapshots) != 2 || d.Snapshots[0].Name != h.names[12] || d.Snapshots[1].Name != h.names[13] {
		t.Errorf("two: %v, %v", d, err)
	}
	if announced, err := catalog.Announcements(t.Context(), st, "app.db"); err != nil || len(announced) != 1 {
		t.Errorf("announced are %v, %v", announced, err) // by the history
	}
}

func second[T any](_ T, err error) error { return err }

// TestNeededMeanwhile deletes what somebody has held, or built on, since that was planned: the rest goes, and it is said
// that this does not.
func TestNeededMeanwhile(t *testing.T) {
	for what, do := range map[string]func(r *rig, n format.Name){
		"held": func(r *rig, n format.Name) {
			if err := retention.Hold(t.Context(), r.st, "app.db", n); err != nil {
				t.Error(err)
			}
		},
		"built on": func(r *rig, _ format.Name) { r.push() },
	} {
		r := newRig(t)
		all := r.list()
		leaf, newest := all[2], all[5]
		d, err := retention.PlanDelete(t.Context(), r.st, "app.db", retention.Names{leaf.Name: true, newest.Name: true})
		if err != nil {
			t.Fatal(err)
		}
		do(r, newest.Name)
		var gone []format.Name
		err = d.Run(t.Context(), retention.Options{Deleted: func(s catalog.Snapshot) { gone = append(gone, s.Name) }})
		if !errors.Is(err, retention.ErrNeeded) || !slices.Equal(gone, []format.Name{leaf.Name}) {
			t.Errorf("%s: %v are gone, %v", what, gone, err)
		}
		r.check(what)
	}
}
