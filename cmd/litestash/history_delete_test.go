package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/state"
)

// must expects that nothing goes wrong.
func (h *history) must(do func(context.Context) error) {
	h.t.Helper()
	if err := do(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) delete() { h.must(h.tryDelete) }

// tryDelete deletes some snapshots as delete does, on this host or on another one, which does not know what
// this one remembers.
func (h *history) tryDelete(ctx context.Context) error {
	all := h.list()
	if len(all) == 0 {
		return nil
	}
	want := retention.Names{}
	for range 1 + h.rnd.IntN(8) {
		want[all[h.rnd.IntN(len(all))].Name] = true
	}
	if h.rnd.IntN(2) == 0 { // and all that rests on them
		ids := map[format.ID]bool{}
		for _, s := range all {
			if want[s.Name] || s.HasParent && ids[s.Parent] {
				ids[s.Name.ID], want[s.Name] = true, true
			}
		}
	}
	return h.remove(ctx, want)
}

// deleteNewest deletes the newest snapshot alone.
func (h *history) deleteNewest() {
	if n, k := h.newest(); k != nil {
		h.must(func(ctx context.Context) error { return h.remove(ctx, retention.Names{n: true}) })
	}
}

func (h *history) remove(ctx context.Context, want retention.Names) error {
	gone := map[string]bool{}
	d, err := retention.PlanDelete(ctx, h.st, "app.db", want)
	if errors.As(err, new(*retention.RestError)) || errors.As(err, new(*retention.HeldError)) {
		h.count("refused deletions")
		return nil
	}
	if err != nil {
		return err
	}
	err = d.Run(ctx, h.deletion(gone))
	h.forget(gone)
	return err
}

// deletion returns options that note in gone what is deleted, one after the other: a seed gives the same run again, and of
// what fails no call is under way any more.
func (h *history) deletion(gone map[string]bool) retention.Options {
	return retention.Options{Concurrency: 1, Deleted: func(s catalog.Snapshot) {
		gone[s.Base()] = true
		h.lose(s.Name, s.Base())
	}}
}

// lose notes that a snapshot is deleted.
func (h *history) lose(n format.Name, base string) {
	if h.held[n] {
		h.t.Errorf("%v was held, and is deleted", n)
	}
	h.deleted[base] = true
	delete(h.kept, n)
	h.count("deleted snapshots")
}

func (h *history) prune() { h.must(h.tryPrune) }

// tryPrune prunes by a random policy. What is kept, check will restore.
func (h *history) tryPrune(ctx context.Context) error {
	few := func() int { return max(0, h.rnd.IntN(8)-3) }
	policy := retention.Policy{Last: few(), Hourly: few(), Daily: few(), Weekly: few(), Within: time.Duration(few()) * time.Hour}
	gone, stay := map[string]bool{}, h.unprunable()
	r, err := retention.Prune(ctx, h.st, "app.db", policy, retention.PruneOptions{
		Options: h.deletion(gone), Now: func() time.Time { return h.now },
	})
	if errors.Is(err, retention.ErrNoPolicy) || errors.As(err, new(*catalog.NotFoundError)) {
		return nil
	}
	h.forget(gone)
	left := h.list()
	for what, n := range stay {
		if !slices.ContainsFunc(left, func(s catalog.Snapshot) bool { return s.Name == n }) {
			h.t.Errorf("%v was %s, and is pruned", n, what)
		}
	}
	if r == nil {
		return err
	}
	for _, v := range r.Plan {
		if _, deleted := r.Gone[v.Snapshot.Name]; deleted && !v.Goes() {
			h.t.Errorf("%v is deleted, and the plan keeps it: %q", v.Snapshot.Key, v.Reasons)
		}
		if slices.Equal(v.Reasons, []string{"the newest proved"}) {
			h.count("proved snapshots that a prune spared")
		}
	}
	h.count("prunes")
	h.counts["pruned snapshots"] += len(gone)
	return err
}

// unprunable returns what no policy may let go. What others have announced to delete goes by that.
func (h *history) unprunable() map[string]format.Name {
	stay := map[string]format.Name{}
	if len(h.announced()) > 0 {
		return stay
	}
	proofs, err := catalog.Proofs(h.t.Context(), h.sound, "app.db")
	if err != nil {
		h.t.Fatal(err)
	}
	standing := catalog.Standing(proofs)
	for _, n := range h.sure() {
		stay["the newest"] = n
		if standing[n].Outcome.Good() {
			stay["the newest proved"] = n
		}
	}
	return stay
}

func (h *history) announced() map[format.Name]bool {
	h.t.Helper()
	announced, err := catalog.Announced(h.t.Context(), h.sound, "app.db")
	if err != nil {
		h.t.Fatal(err)
	}
	return announced
}

func (h *history) hold() { h.must(h.tryHold) }

// tryHold holds a snapshot, so that no deletion takes it.
func (h *history) tryHold(ctx context.Context) error {
	n, ok := h.pick()
	if !ok {
		return nil
	}
	if err := retention.Hold(ctx, h.st, "app.db", n); err != nil {
		if errors.As(err, new(*retention.GoingError)) {
			return nil // it is announced by a deletion that something keeps from its end
		}
		return err
	}
	h.held[n] = true
	h.count("holds")
	return nil
}

func (h *history) unhold() {
	for n := range h.held {
		if _, err := retention.Unhold(h.t.Context(), h.st, "app.db", n); err != nil {
			h.t.Fatal(err)
		}
		delete(h.held, n)
	}
}

func (h *history) prove() { h.must(h.tryProve) }

// tryProve proves a snapshot, so that no prune takes it while it is the newest proved.
func (h *history) tryProve(ctx context.Context) error {
	n, ok := h.pick()
	if !ok {
		return nil
	}
	snap, err := catalog.Get(ctx, h.st, "app.db", n)
	if err != nil {
		return err
	}
	if _, err := restore.Verify(ctx, h.st, snap, h.restoring()); err != nil {
		return err
	}
	if err := catalog.RecordProof(ctx, h.st, &catalog.Proof{Database: "app.db", Snapshot: n, Outcome: catalog.Unchecked}, catalog.ProofDetail{}); err != nil {
		return err
	}
	h.count("proofs")
	return nil
}

// forget lets the hosts know what was deleted, or not.
func (h *history) forget(gone map[string]bool) {
	if h.rnd.IntN(2) > 0 {
		return
	}
	for _, s := range h.sites {
		if err := state.ForgetDeleted(s.state, h.st.String(), "app.db", gone); err != nil {
			h.t.Fatal(err)
		}
	}
}
