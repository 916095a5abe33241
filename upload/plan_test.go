package upload

import (
	"errors"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/state"
)

// TestPlan plans pushes upon a full and two deltas of one minute.
func TestPlan(t *testing.T) {
	const week = 7 * 24 * time.Hour
	start := time.Date(2026, 11, 22, 12, 10, 20, 0, time.UTC)
	key := func(after time.Duration, encrypted bool) format.Key {
		k := format.FullKey("app.db", format.Name{Time: format.TimeOf(start.Add(after)), ID: 1})
		k.Encrypted = encrypted
		return k
	}
	// known is a history of which all is remembered, and the source was read as a whole with the newest snapshot.
	known := func(encrypted bool) *history {
		h := &history{newest: &catalog.Snapshot{Key: key(2*time.Second, encrypted)}}
		h.facts = &state.Facts{Salt: format.Salt{7}, PageSize: 512, Pages: 9, Look: "look", Read: start.Add(2 * time.Second)}
		for i, size := range []int64{1000, 300, 200} {
			k := key(time.Duration(i)*time.Second, encrypted)
			h.facts.Path = append(h.facts.Path, state.Link{Link: format.Link{Key: k.Base(), Size: size}})
		}
		return h
	}
	unfit := func(h *history, why string) *history {
		h.facts, h.unfit = nil, why
		return h
	}
	lost := func(h *history) *history {
		h.facts, h.damage = nil, &LostError{"app.db", "gone"}
		return h
	}
	sealed := func(o *Options) { o.Recipients = new(seal.Recipients) }
	asked := func(o *Options) { o.Full = true }
	soon := 3 * time.Second
	for _, c := range []struct {
		name  string
		h     *history
		opts  func(*Options)
		after time.Duration // since the full
		why   string        // nothing for a delta
		rests int           // on so many
		since state.Span
		look  string
	}{
		{name: "in the same minute", h: known(false), after: soon, rests: 3, since: state.Newest, look: "look"},
		{name: "in another minute", h: known(false), after: time.Minute, rests: 1, since: state.Minute, look: "look"},
		{name: "in another hour, to be read as a whole", h: known(false), after: time.Hour + soon, rests: 1, since: state.Hour},
		{name: "on another day", h: known(false), after: 24 * time.Hour, rests: 1, since: state.Day},
		{name: "by a clock that was set back", h: known(false), after: time.Second, rests: 3, since: state.Newest},
		{name: "encrypted upon what is not", h: known(false), opts: sealed, after: soon, rests: 3, since: state.Newest, look: "look"},
		{name: "encrypted upon what is so", h: known(true), opts: sealed, after: soon, rests: 3, since: state.Newest, look: "look"},
		{name: "plain upon what is encrypted", h: known(true), after: soon, why: whyEncrypted},
		{name: "almost too late", h: known(false), after: week - time.Millisecond, rests: 1, since: state.Day},
		{name: "too late", h: known(false), after: week, why: "the last one is older than 168h0m0s"},
		{name: "too much", h: func() *history {
			h := known(false)
			h.facts.Path[2].Size++
			return h
		}(), after: soon, why: whyOutweighed},
		{name: "none before", h: &history{unfit: whyFirst}, why: whyFirst},
		{name: "what cannot be read", h: unfit(known(false), whyUnreadable), why: whyUnreadable},
		{name: "decayed", h: func() *history {
			h := unfit(known(false), whyPathUnreadable)
			h.damage = &DecayError{"app.db", errors.New("damage")}
			return h
		}(), why: whyPathUnreadable},
		{name: "lost", h: lost(&history{unfit: whyFirst}), why: whyLost},
		{name: "lost, and the one before cannot be read", h: lost(unfit(known(true), whyUnreadable)), why: whyLost},
		{name: "encrypted, and cannot be read", h: unfit(known(true), whyNoIdentity), why: whyEncrypted},
		{name: "encrypted, and cannot be opened", h: unfit(known(true), whyNoIdentity), opts: sealed, why: whyNoIdentity},
		{name: "asked for", h: known(false), opts: asked, after: soon, why: whyAsked},
		{name: "asked for, and lost", h: lost(known(false)), opts: asked, why: whyAsked},
		{name: "asked for, and the first", h: &history{unfit: whyFirst}, opts: asked, why: whyAsked},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := Options{Database: "app.db", FullEvery: week, RereadEvery: time.Hour}
			if c.opts != nil {
				c.opts(&opts)
			}
			p := newPlan(c.h, &opts, start.Add(c.after))
			if p.why != c.why || len(p.path) != c.rests || !p.replaces.IsZero() {
				t.Fatalf("it rests on %d, and is a full because %q; want %d, %q", len(p.path), p.why, c.rests, c.why)
			}
			if c.why != "" {
				if p.base != nil || p.salt == (format.Salt{}) || c.h.facts != nil && p.salt == c.h.facts.Salt {
					t.Errorf("a full has the base %+v and the salt %v", p.base, p.salt)
				}
				return
			}
			if p.base.since != c.since || p.base.look != c.look || p.base.facts != c.h.facts || p.salt != c.h.facts.Salt {
				t.Errorf("the base is %+v, want it since %v with %q", p.base, c.since, c.look)
			}
		})
	}
}
