package upload

import (
	"fmt"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
)

// A plan is what a push stores.
type plan struct {
	salt     format.Salt
	base     *Base        // nil for a full
	path     []state.Link // what a delta rests on, its parent last
	why      string       // it is a full; empty for a delta
	replaces format.Name  // a delta that this push has stored, and that rests on what does not stay
}

// Why a full is stored, as people are told. There are more reasons, with figures and names in them.
const (
	whyFirst           = "it is the first snapshot"
	whyAsked           = "it was asked for"
	whyLost            = "the store has lost the newest snapshot"
	whyEncrypted       = "the snapshots before are encrypted"
	whyAdopted         = "the name was taken over from another source"
	whyUnreadable      = "the newest snapshot cannot be read"
	whyReplaced        = "the newest snapshot is another object than was pushed, and there is no identity to read it with"
	whyNoIdentity      = "there is no identity to read the newest snapshot with"
	whyOtherIdentities = "the newest snapshot is encrypted for other identities than those given"
	whyDeleted         = "the newest snapshot has just been deleted"
	whyPathUnreadable  = "what the newest snapshot rests on cannot be read"
	whyPathLocked      = "what the newest snapshot rests on is encrypted for other identities than those given"
	whyForgotten       = "what was remembered of the newest snapshot is damaged"
	whyOutweighed      = "the deltas since the last one have more than half its size"
	whyPageSize        = "the page size has changed"
)

// newFull returns the plan of a full.
func newFull(why string) plan { return plan{salt: format.NewSalt(), why: why} }

// newPlan decides whether a delta is stored, and on what. Unless [whyFull] says something the history must have facts.
func newPlan(h *history, opts *Options, now time.Time) plan {
	if why := whyFull(h, opts); why != "" {
		return newFull(why)
	}
	times, at := pathTimes(opts.Database, h.facts.Path), format.TimeOf(now)
	if why := whyTooLong(h.facts.Path, at-times[0], opts.FullEvery); why != "" {
		return newFull(why)
	}
	parent, since := chooseParent(times, at)
	b := &Base{m: opts.Memory, facts: h.facts, since: since}
	if age := now.Sub(h.facts.Read); age >= 0 && age < opts.RereadEvery {
		b.look = h.facts.Look
	}
	return plan{salt: h.facts.Salt, base: b, path: h.facts.Path[:parent+1]}
}

// whyFull returns why nothing is built on the newest snapshot, whatever that rests on, or nothing.
func whyFull(h *history, opts *Options) string {
	switch {
	case opts.Full:
		return whyAsked
	case h.lost() != nil:
		return whyLost
	case opts.Recipients == nil && h.newest != nil && h.newest.Encrypted:
		return whyEncrypted
	}
	return h.unfit
}

// whyTooLong returns why a path, whose full is of some age, has become too long for another delta, or nothing.
func whyTooLong(path []state.Link, age format.Time, fullEvery time.Duration) string {
	deltas := int64(0)
	for _, l := range path[1:] {
		deltas += l.Size
	}
	switch {
	case age >= format.Time(fullEvery.Milliseconds()):
		return fmt.Sprintf("the last one is older than %v", fullEvery)
	case 2*deltas > path[0].Size: // or a restore would read more than one and a half times a full
		return whyOutweighed
	}
	return ""
}

// pathTimes returns when the snapshots of a path were taken.
func pathTimes(database string, path []state.Link) []format.Time {
	times := make([]format.Time, len(path))
	for i, l := range path {
		times[i] = l.In(database).Name.Time
	}
	return times
}
