package upload

import (
	"context"
	"errors"
	"slices"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/state"
)

// learn makes the memory one of the newest snapshot, from the store. That it cannot be read, with all that it rests on,
// is no error, but a reason not to build on it.
func (p *Push) learn(ctx context.Context, h *history) error {
	err := p.rebuild(ctx, *h.newest)
	switch {
	case err == nil:
		h.facts = p.opts.Memory.Facts()
		return nil
	case errors.As(err, new(*seal.LockedError)):
		p.log.Warn("what the newest snapshot rests on cannot be opened", "key", h.newest.Object.Key, "err", err)
		h.unfit = whyPathLocked
		return nil
	case !unreadable(err):
		return err
	}
	// Whoever deletes it and what it rests on begins with it.
	deleted, goneErr := isGone(ctx, p.st, h.newest.Key.String(), h.newest.Object.Size)
	switch {
	case goneErr != nil:
		return goneErr
	case deleted:
		h.unfit = whyDeleted
		return nil
	}
	p.log.Warn("what the newest snapshot rests on cannot be read", "key", h.newest.Object.Key, "err", err)
	h.unfit = whyPathUnreadable
	h.decayed(p.opts.Database, err)
	return nil
}

// rebuild makes the memory anew from what the store holds. Of one that cannot be written, as on a full disk, nothing
// will remain: it goes on in a temporary file.
func (p *Push) rebuild(ctx context.Context, latest catalog.Snapshot) error {
	c, err := chain.Open(ctx, p.st, latest, chain.Options{Identities: p.opts.Identities, TempDir: p.opts.TempDir})
	if err != nil {
		return err
	}
	defer c.Close()
	facts := &state.Facts{Salt: c.Index.Salt, PageSize: c.Index.PageSize, Pages: c.Index.Pages}
	for _, l := range c.Links {
		facts.Path = append(facts.Path, state.Link{
			Link: format.Link{Key: l.Base(), Size: l.Object.Size},
			Root: l.Tail.Index.Root,

			Readers: l.Readers().String(),
		})
	}
	times := pathTimes(p.opts.Database, facts.Path)
	var firsts [state.Spans]uint32
	for s := range firsts {
		firsts[s] = uint32(first(times, state.Span(s)))
	}
	var entries []chain.Entry
	var unread error // of the store's
	fill := func(page uint32, hashes []format.PageHash, bits []byte) error {
		entries = slices.Grow(entries[:0], len(hashes))[:len(hashes)]
		if unread = c.ReadEntries(page, entries); unread != nil {
			return unread
		}
		for i, e := range entries {
			hashes[i], bits[i] = e.Hash, 0
			for s, f := range firsts {
				if e.Link > f {
					bits[i] |= 1 << s
				}
			}
		}
		return nil
	}
	err = p.opts.Memory.Rebuild(facts, fill)
	if err == nil || unread != nil {
		return err
	}
	p.log.Warn("nothing can be remembered of this push", "err", err)
	if err := p.opts.Memory.Detach(p.opts.TempDir); err != nil {
		return err
	}
	return p.opts.Memory.Rebuild(facts, fill)
}
