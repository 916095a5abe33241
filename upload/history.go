package upload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
)

// A history is what the store and the memory say of the snapshots under a name, before another is stored. It stays as
// it is once a plan has been made of it.
type history struct {
	newest    *catalog.Snapshot // nil if there is none
	confirmed bool              // newest is there, or was when it was confirmed, with all that it rests on
	lineage   format.Lineage    // of the source's snapshots
	facts     *state.Facts      // what is remembered of newest; nil if nothing is
	unfit     string            // why nothing can be built on newest, as far as reading that has told; empty if something can
	damage    error             // a LostError or a DecayError
}

// readHistory finds the newest snapshot, and whose it is.
func (p *Push) readHistory(ctx context.Context) (*history, error) {
	h, found, err := p.findNewest(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.checkClock(ctx); err != nil {
		return nil, err
	}
	p.warnOfFuture(h)
	if err := h.checkPlain(&p.opts); err != nil {
		return nil, err
	}
	if h.newest != nil && h.facts == nil {
		return h, p.readNewest(ctx, h, found)
	}
	return h, nil
}

// findNewest finds the newest snapshot, if there is one, and what the memory says of it. It is the first of found, which
// others may follow; one that is confirmed is not looked for.
func (p *Push) findNewest(ctx context.Context) (h *history, found []catalog.Snapshot, err error) {
	if h := p.confirmedHistory(); h != nil {
		return h, nil, nil
	}
	found, err = catalog.Find(ctx, p.st, p.opts.Database, catalog.Latest)
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		return nil, nil, err
	}
	h = &history{lineage: format.LineageOf(p.opts.Database, p.opts.Source), unfit: whyFirst}
	if len(found) > 0 {
		h.newest, h.unfit = &found[0], ""
	}
	p.recall(h)
	return h, found, nil
}

// confirmedHistory returns what is known if the memory is about the snapshot that an earlier push has confirmed, and
// otherwise nil.
func (p *Push) confirmedHistory() *history {
	c, facts := p.opts.Confirmed, p.opts.Memory.Facts()
	if c == nil || facts == nil || facts.Newest().Key != c.Base() || facts.Newest().Size != c.Object.Size {
		return nil
	}
	return &history{newest: c, confirmed: true, lineage: c.Name.ID.Lineage(), facts: facts}
}

func (p *Push) checkClock(ctx context.Context) error {
	skew, err := p.st.Skew(ctx)
	if err != nil {
		return fmt.Errorf("ask for the store's time: %w", err)
	}
	return catalog.CheckClock(p.opts.Now(), skew)
}

// warnOfFuture warns if the newest snapshot is of a time that has not come, as after a push by a wrong clock: those after
// it are said to be later still, and a time that is asked for finds none of them.
func (p *Push) warnOfFuture(h *history) {
	newest := h.newest
	if newest == nil || h.confirmed { // then it was told when that was found
		return
	}
	if ahead := newest.Name.Time.UTC().Sub(p.opts.Now()); ahead > catalog.MaxSkew {
		p.log.Warn("the newest snapshot is of a time that has not come: until then later ones can be found by their names alone; delete it, if it can be done without",
			"key", newest.Key, "ahead", ahead.Round(time.Second))
	}
}

// recall finds out whether the memory is about the newest snapshot, or about one that the store has lost: it was
// newer than all that are there.
func (p *Push) recall(h *history) {
	facts := p.opts.Memory.Facts()
	if facts == nil {
		return
	}
	key := facts.Newest().Key
	switch {
	case h.newest != nil && h.newest.Base() == key:
		if isOurs(h.newest.Object, facts.Newest()) {
			h.facts, h.lineage = facts, h.newest.Name.ID.Lineage()
		}
	case (h.newest == nil || h.newest.Base() < key) && !p.opts.Memory.Forgotten():
		h.damage = &LostError{p.opts.Database, key}
	}
}

// isOurs reports whether an object is the very one that was pushed under its key, and not one that was put in its place.
func isOurs(o store.Object, pushed state.Link) bool {
	return o.Size == pushed.Size && (pushed.ETag == "" || o.ETag == pushed.ETag)
}

// lost returns the snapshot that the store has lost, or nil.
func (h *history) lost() *LostError {
	lost, _ := errors.AsType[*LostError](h.damage)
	return lost
}

// checkPlain refuses to store as it is what has been encrypted so far: the newest snapshot tells, be it
// that one that the store has lost.
func (h *history) checkPlain(opts *Options) error {
	if opts.Recipients != nil || opts.Plaintext {
		return nil
	}
	newest := h.newest
	if lost := h.lost(); lost != nil {
		newest = &catalog.Snapshot{Key: format.Link{Key: lost.Key}.In(opts.Database)}
	}
	if newest == nil || !newest.Encrypted {
		return nil
	}
	return &PlaintextError{newest.Key}
}

// readNewest continues the newest snapshot's lineage if it was taken of the same file. What cannot be read, or has
// just been deleted, does not stop a backup: the newest one that can be read decides. newest are those that were
// found, the newest first.
func (p *Push) readNewest(ctx context.Context, h *history, newest []catalog.Snapshot) error {
	const most = 8 // it is about the source; more unreadable ones in a row will not tell it
	for i := range most {
		if i == len(newest) { // what was listed on the way was not enough
			all, err := catalog.List(ctx, p.st, p.opts.Database)
			if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
				return err
			}
			slices.Reverse(all)
			newest = all
		}
		if i >= len(newest) {
			return nil
		}
		s := newest[i]
		t, err := catalog.ReadTail(ctx, p.st, s, p.opts.Identities)
		if replaced := p.replaced(s, t); replaced != nil {
			t, err = nil, replaced
		}
		if locked, ok := errors.AsType[*seal.LockedError](err); ok {
			h.unfit, err = p.locked(s, h.lineage, locked)
			return err
		}
		if unreadable(err) {
			p.log.Warn("a snapshot cannot be read", "key", s.Object.Key, "err", err)
			h.unfit = whyUnreadable
			h.decayed(p.opts.Database, err)
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case t.Index.Source.Same(p.opts.Source):
			h.lineage = s.Name.ID.Lineage()
		case p.opts.Adopt:
			h.unfit = whyAdopted
		default:
			return &SourceError{s, t.Index.Source, p.opts.Source}
		}
		return nil
	}
	return nil
}

// replaced returns an error if a snapshot is not the one of its name that was pushed from here, as far as can be
// told: t may be nil, if it could not be read.
func (p *Push) replaced(s catalog.Snapshot, t *format.Tail) error {
	facts := p.opts.Memory.Facts()
	if facts == nil || facts.Newest().Key != s.Base() {
		return nil
	}
	pushed := facts.Newest()
	switch {
	case t == nil && s.Object.Size != pushed.Size:
		return fmt.Errorf("%s: %w: it has %d bytes, and what was pushed had %d", s.Object.Key, format.ErrDamaged, s.Object.Size, pushed.Size)
	case t != nil && t.Index.Root != pushed.Root:
		return fmt.Errorf("%s: %w: its root is %v, and what was pushed had %v", s.Object.Key, format.ErrDamaged, t.Index.Root, pushed.Root)
	}
	return nil
}

// locked returns why nothing can be built on a newest snapshot that cannot be opened, which does not stop a backup.
// Whose history it is then only its lineage tells, which follows from the source.
func (p *Push) locked(newest catalog.Snapshot, lineage format.Lineage, err *seal.LockedError) (why string, _ error) {
	facts := p.opts.Memory.Facts()
	switch ours := newest.Name.ID.Lineage() == lineage; {
	case ours && facts != nil && facts.Newest().Key == newest.Base():
		p.log.Warn("the newest snapshot is another object than was pushed: if nobody has copied it, somebody has replaced it", "key", newest.Object.Key)
		return whyReplaced, nil
	case ours:
		p.log.Info("whose history it is was told by its lineage alone: the newest snapshot is encrypted", "key", newest.Object.Key)
		if err.Tried > 0 {
			return whyOtherIdentities, nil
		}
		return whyNoIdentity, nil
	case p.opts.Adopt:
		return whyAdopted, nil
	}
	return "", &UnknownSourceError{Newest: newest, Ours: p.opts.Source, Err: err}
}

// decayed notes the damage that err tells of, if it does and nothing worse is known. That a later
// version wrote a snapshot or somebody deletes it meanwhile is none.
func (h *history) decayed(database string, err error) {
	if h.damage == nil && errors.Is(err, format.ErrDamaged) {
		h.damage = &DecayError{database, err}
	}
}

func unreadable(err error) bool {
	return errors.Is(err, format.ErrDamaged) || errors.As(err, new(*format.VersionError)) ||
		errors.As(err, new(*chain.UnknownError)) || errors.Is(err, fs.ErrNotExist)
}
