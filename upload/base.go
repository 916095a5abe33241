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

// findLatest finds the newest snapshot of this source, if there is one that can be built on, and
// what is to be said of the others.
func (p *Push) findLatest(ctx context.Context) (*catalog.Snapshot, error) {
	if p.brief = p.isConfirmed(); p.brief {
		p.newest, p.trusted, p.lineage = p.opts.Confirmed, true, p.opts.Confirmed.Name.ID.Lineage()
		if err := p.checkPlain(); err != nil {
			return nil, err
		}
		return p.newest, p.checkClock(ctx)
	}
	newest, err := catalog.Find(ctx, p.st, p.opts.Database, catalog.Latest)
	none := errors.As(err, new(*catalog.NotFoundError))
	if err != nil && !none {
		return nil, err
	}
	if err := p.checkClock(ctx); err != nil {
		return nil, err
	}
	p.lineage = format.LineageOf(p.opts.Database, p.opts.Source)
	p.why = "it is the first snapshot"
	if !none {
		p.newest = &newest[0]
		p.warnOfFuture()
	}
	p.checkMemory()
	if err := p.checkPlain(); err != nil {
		return nil, err
	}
	switch {
	case none:
		return nil, nil
	case p.trusted:
		p.lineage = p.newest.Name.ID.Lineage()
		return p.newest, nil
	}
	return p.readLatest(ctx, newest)
}

// warnOfFuture warns if the newest snapshot is of a time that has not come, as after a push by a wrong clock: those after
// it are said to be later still, and a time that is asked for finds none of them.
func (p *Push) warnOfFuture() {
	if ahead := p.newest.Name.Time.UTC().Sub(p.opts.Now()); ahead > catalog.MaxSkew {
		p.log.Warn("the newest snapshot is of a time that has not come: until then later ones can be found by their names alone; delete it, if it can be done without",
			"key", p.newest.Key, "ahead", ahead.Round(time.Second))
	}
}

// isConfirmed reports whether the memory is about the snapshot that an earlier push has confirmed.
func (p *Push) isConfirmed() bool {
	c, facts := p.opts.Confirmed, p.opts.Memory.Facts()
	return c != nil && facts != nil && facts.Newest().Key == c.Base() && facts.Newest().Size == c.Object.Size
}

// checkMemory finds out whether the memory is about the newest snapshot, or about one that the
// store has lost: it was newer than all that are there.
func (p *Push) checkMemory() {
	facts := p.opts.Memory.Facts()
	if facts == nil {
		return
	}
	key := facts.Newest().Key
	switch {
	case p.newest != nil && p.newest.Base() == key:
		p.trusted = isOurs(p.newest.Object, facts.Newest())
	case (p.newest == nil || p.newest.Base() < key) && !p.opts.Memory.Forgotten():
		p.damage = &LostError{p.opts.Database, key}
	}
}

// isOurs reports whether an object is the very one that was pushed under its key, and not one that was put in its place.
func isOurs(o store.Object, pushed state.Link) bool {
	return o.Size == pushed.Size && (pushed.ETag == "" || o.ETag == pushed.ETag)
}

// checkPlain refuses to store as it is what has been encrypted so far: the newest snapshot tells, be it
// that one that the store has lost.
func (p *Push) checkPlain() error {
	if p.opts.Recipients != nil || p.opts.Plaintext {
		return nil
	}
	newest := p.newest
	if lost, ok := errors.AsType[*LostError](p.damage); ok {
		newest = &catalog.Snapshot{Key: format.Link{Key: lost.Key}.In(p.opts.Database)}
	}
	if newest == nil || !newest.Encrypted {
		return nil
	}
	return &PlaintextError{newest.Key}
}

// readLatest continues the newest snapshot's lineage if it was taken of the same file. What cannot
// be read, or has just been deleted, does not stop a backup: the newest one that can be read
// decides. Only the very newest is returned, to build on.
func (p *Push) readLatest(ctx context.Context, newest []catalog.Snapshot) (*catalog.Snapshot, error) {
	const most = 8 // it is about the source; more unreadable ones in a row will not tell it
	for i := range most {
		if i == len(newest) { // what was listed on the way was not enough
			all, err := catalog.List(ctx, p.st, p.opts.Database)
			if errors.As(err, new(*catalog.NotFoundError)) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			slices.Reverse(all)
			newest = all
		}
		if i >= len(newest) {
			return nil, nil
		}
		s := newest[i]
		t, err := catalog.ReadTail(ctx, p.st, s, p.opts.Identities)
		if replaced := p.replaced(s, t); replaced != nil {
			t, err = nil, replaced
		}
		if locked, ok := errors.AsType[*seal.LockedError](err); ok {
			return nil, p.locked(s, locked)
		}
		if unreadable(err) {
			p.log.Warn("a snapshot cannot be read", "key", s.Object.Key, "err", err)
			p.why = "the newest snapshot cannot be read"
			p.decayed(err)
			continue
		}
		if err != nil {
			return nil, err
		}
		switch {
		case t.Index.Source.Same(p.opts.Source):
			p.lineage = s.Name.ID.Lineage()
			if i == 0 {
				return &s, nil
			}
		case p.opts.Adopt:
			p.why = "the name was taken over from another source"
		default:
			return nil, &SourceError{s, t.Index.Source, p.opts.Source}
		}
		return nil, nil
	}
	return nil, nil
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

// locked is for a newest snapshot that cannot be opened, which does not stop a backup. Whose history it is
// then only its lineage tells, which follows from the source.
func (p *Push) locked(newest catalog.Snapshot, err *seal.LockedError) error {
	switch ours := newest.Name.ID.Lineage() == p.lineage; {
	case ours && p.opts.Memory.Facts() != nil && p.opts.Memory.Facts().Newest().Key == newest.Base():
		p.why = "the newest snapshot is another object than was pushed, and there is no identity to read it with"
		p.log.Warn("the newest snapshot is another object than was pushed: if nobody has copied it, somebody has replaced it", "key", newest.Object.Key)
	case ours:
		p.why = "there is no identity to read the newest snapshot with"
		if err.Tried > 0 {
			p.why = "the newest snapshot is encrypted for other identities than those given"
		}
		p.log.Info("whose history it is was told by its lineage alone: the newest snapshot is encrypted", "key", newest.Object.Key)
	case p.opts.Adopt:
		p.why = "the name was taken over from another source"
	default:
		return &UnknownSourceError{Newest: newest, Ours: p.opts.Source, Err: err}
	}
	return nil
}

// decayed notes the damage that err tells of, if it does and nothing worse is known. That a later
// version wrote a snapshot or somebody deletes it meanwhile is none.
func (p *Push) decayed(err error) {
	if p.damage == nil && errors.Is(err, format.ErrDamaged) {
		p.damage = &DecayError{p.opts.Database, err}
	}
}

func unreadable(err error) bool {
	return errors.Is(err, format.ErrDamaged) || errors.As(err, new(*format.VersionError)) ||
		errors.As(err, new(*chain.UnknownError)) || errors.Is(err, fs.ErrNotExist)
}

// chooseBase decides whether a delta is to be stored, and on what.
func (p *Push) chooseBase(ctx context.Context, latest *catalog.Snapshot) error {
	p.salt = format.NewSalt()
	switch {
	case p.opts.Full:
		p.why = "it was asked for"
		return nil
	case errors.As(p.damage, new(*LostError)):
		p.why = "the store has lost the newest snapshot"
		return nil
	case p.opts.Recipients == nil && p.newest != nil && p.newest.Encrypted:
		p.why = "the snapshots before are encrypted"
		return nil
	case latest == nil:
		return nil
	}
	if !p.trusted {
		err := p.rebuild(ctx, *latest)
		if errors.As(err, new(*seal.LockedError)) {
			p.log.Warn("what the newest snapshot rests on cannot be opened", "key", latest.Object.Key, "err", err)
			p.why = "what the newest snapshot rests on is encrypted for other identities than those given"
			return nil
		}
		if unreadable(err) {
			// Whoever deletes it and what it rests on begins with it.
			deleted, goneErr := isGone(ctx, p.st, latest.Key.String(), latest.Object.Size)
			switch {
			case goneErr != nil:
				return goneErr
			case deleted:
				p.why = "the newest snapshot has just been deleted"
				return nil
			}
			p.log.Warn("what the newest snapshot rests on cannot be read", "key", latest.Object.Key, "err", err)
			p.why = "what the newest snapshot rests on cannot be read"
			p.decayed(err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	facts := p.opts.Memory.Facts()
	now := format.TimeOf(p.opts.Now())
	times := pathTimes(p.opts.Database, facts.Path)
	if why := p.wantsFull(facts, times, now); why != "" {
		p.why = why
		return nil
	}
	parent, since := chooseParent(times, now)
	p.base, p.facts, p.why = p.newBase(facts, since), facts, ""
	p.salt = facts.Salt
	p.path = facts.Path[:parent+1]
	p.warnOfOthers()
	return nil
}

// warnOfOthers warns if a delta would rest on what others can read, or on what those who can read the delta
// cannot. A process that pushes again and again is told when all that it rests on is looked at.
func (p *Push) warnOfOthers() {
	if p.opts.Recipients == nil || p.brief {
		return
	}
	ours := p.opts.Recipients.Readers()
	for _, l := range p.path {
		switch {
		case !l.In(p.opts.Database).Encrypted:
			p.log.Warn("the snapshots that this one builds on are not encrypted; a full one (--full) builds on none", "key", l.Key)
			return
		case l.Readers != "" && ours.Differ(seal.ParseReaders(l.Readers)):
			p.log.Warn("the snapshots that this one builds on are encrypted for other recipients; a full one (--full) builds on none", "key", l.Key)
			return
		}
	}
}

// wantsFull returns why a path has become too long for another delta, or nothing.
func (p *Push) wantsFull(facts *state.Facts, times []format.Time, now format.Time) string {
	deltas := int64(0)
	for _, l := range facts.Path[1:] {
		deltas += l.Size
	}
	switch {
	case now-times[0] >= format.Time(p.opts.FullEvery.Milliseconds()):
		return fmt.Sprintf("the last one is older than %v", p.opts.FullEvery)
	case 2*deltas > facts.Path[0].Size: // or a restore would read more than one and a half times a full
		return "the deltas since the last one have more than half its size"
	}
	return ""
}

// makeFull turns p into a push of a full.
func (p *Push) makeFull(why string) {
	p.base, p.path, p.why = nil, nil, why
	p.salt = format.NewSalt()
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

// pathTimes returns when the snapshots of a path were taken.
func pathTimes(database string, path []state.Link) []format.Time {
	times := make([]format.Time, len(path))
	for i, l := range path {
		times[i] = l.In(database).Name.Time
	}
	return times
}

// A Base has the pages that a delta leaves out: those of the snapshot that was the first of its span. It also knows
// what the newest snapshot holds, by what is remembered. It is a base as the package snapshot wants it, where its
// methods are told of; they may be called concurrently.
type Base struct {
	m     *state.Memory
	facts *state.Facts // as they were when the push was planned
	since state.Span
	look  string // of the newest snapshot; empty if all pages are to be read
}

// newBase returns the base of a push that was planned on facts.
func (p *Push) newBase(facts *state.Facts, since state.Span) *Base {
	b := &Base{m: p.opts.Memory, facts: facts, since: since}
	if age := p.opts.Now().Sub(facts.Read); age >= 0 && age < p.opts.RereadEvery {
		b.look = facts.Look
	}
	return b
}

var errMemory = errors.New("what is remembered has changed since the push began: another one has used the memory")

// Same says which pages need not be kept.
func (b *Base) Same(first uint32, hashes []format.PageHash, same []bool) error {
	if b.m.Facts() != b.facts {
		return errMemory
	}
	if err := b.m.Same(b.since, first, hashes, same); err != nil {
		clear(same) // whatever has changed is carried; runs checks the memory and will tell
	}
	return nil
}

// Since says what the source looked like at the instant of the newest snapshot, and how many pages that has.
func (b *Base) Since() (look string, pages uint32) { return b.look, b.facts.Pages }

// Newest says what the newest snapshot holds.
func (b *Base) Newest(first uint32, hashes []format.PageHash, same []bool) error {
	if b.m.Facts() != b.facts {
		return errMemory
	}
	return b.m.Hashes(b.since, first, hashes, same)
}
