package main

import (
	"context"

	"github.com/litestash/litestash/store/storetest"
)

// A mishap is a way in which something ends before its time.
type mishap string

const (
	failed mishap = "failed"      // one call of the store fails
	killed mishap = "were killed" // and nothing more reaches the store, be it to clean up
)

// aDeletion is a call that deletes something, of which there are few among many: its answer is lost.
var aDeletion = storetest.Step{Call: 1, Op: "Delete", How: storetest.After}

// someCall is one of the first n calls, which goes wrong in some way.
func (h *history) someCall(n int) storetest.Step {
	hows := []storetest.How{storetest.Before, storetest.After, storetest.Cut}
	return storetest.Step{Call: 1 + h.rnd.IntN(n), How: hows[h.rnd.IntN(len(hows))]}
}

// plan returns the steps of a mishap at a call. What is killed here ends its context at that call or goes on after it, and all that
// it tries then fails; but it still cleans up on this host: real processes are killed by TestKill and TestKillChain.
func (h *history) plan(how mishap, call storetest.Step, kill context.CancelFunc) []storetest.Step {
	plan := []storetest.Step{call}
	if how == failed {
		return plan
	}
	if h.rnd.IntN(3) == 0 {
		plan[0].How, plan[0].Stalled = storetest.Stall, kill
	}
	for later := range 100 {
		plan = append(plan, storetest.Step{Call: call.Call + 1 + later, How: storetest.Before})
	}
	return plan
}

// fail does something that fails or is killed on the way, and at times does it again at once; otherwise what comes later has
// to get by with what it left. What it may store is what pushed holds; nil is nothing.
func (h *history) fail(what string, how mishap, call storetest.Step, pushed *keptSnapshot, do func(context.Context) error) {
	ctx, kill := context.WithCancel(h.t.Context())
	defer kill()
	h.fault.Plan(h.plan(how, call, kill)...)
	err := do(ctx)
	hit := h.fault.Hit() > 0
	h.fault.Plan()
	h.loseAnnounced()
	h.adopt(pushed)
	switch {
	case err == nil:
		return // there were not so many calls, or it got by
	case !hit:
		h.t.Fatalf("%s: %v", what, err)
	}
	h.count(what + " that " + string(how))
	if pushed == nil && h.rnd.IntN(2) == 0 {
		h.must(do)
	}
}

// adopt notes what is listed and was not claimed: it is what pushed holds.
func (h *history) adopt(pushed *keptSnapshot) {
	h.t.Helper()
	for _, s := range h.list() {
		if h.kept[s.Name] != nil {
			continue
		}
		if pushed == nil {
			h.t.Errorf("%v is listed, and nobody has stored it", s.Key)
			continue
		}
		h.kept[s.Name] = &keptSnapshot{image: pushed.image, site: pushed.site, base: s.Base()}
		h.count("snapshots that nobody claimed")
	}
}

// loseAnnounced notes what is gone though no deletion says so. It has to be announced: whoever deletes does that first, and
// withdraws it when the store has confirmed that all of it is gone.
func (h *history) loseAnnounced() {
	listed := map[string]bool{}
	for _, s := range h.list() {
		listed[s.Base()] = true
	}
	announced := h.announced()
	for n, k := range h.kept {
		if listed[k.base] {
			continue
		}
		if !announced[n] {
			h.t.Errorf("%s is gone, and nobody has deleted it", k.base)
		}
		h.lose(n, k.base)
		h.count("deletions without an answer")
	}
}
