package restore

import (
	"context"
	"errors"
	"io/fs"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// An Estimate says what a restore of a snapshot reads of the store if no page is at hand and nothing has
// to be read twice. Looking for the snapshot is not in it.
type Estimate struct {
	Objects  int
	Requests int64
	Bytes    int64
}

// Plan returns what a restore would read. For that it reads what a restore reads before it fetches pages:
// for a full the end of the object, for a delta all page tables of its chain. It checks these.
func Plan(ctx context.Context, st store.Store, snap catalog.Snapshot, opts Options) (*Estimate, error) {
	if snap.Kind == format.Full {
		return planFull(ctx, st, snap, &opts)
	}
	p, err := newPlan(ctx, st, snap, &opts)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	e := &Estimate{Objects: len(p.chain.Links)}
	err = p.spans(func(s span) error {
		l := p.chain.Links[s.link]
		e.add(l, s.where(l.Tail.Data))
		return nil
	})
	e.Requests += p.requests.Load()
	e.Bytes += p.fetched.Load()
	return e, err
}

// planFull does without the page table: all of it is read, and all pages.
func planFull(ctx context.Context, st store.Store, snap catalog.Snapshot, opts *Options) (*Estimate, error) {
	p := &plan{opts: opts}
	l, err := chain.OpenLink(ctx, countReads{st, p}, snap, opts.Identities)
	if errors.Is(err, fs.ErrNotExist) {
		err = &chain.HoleError{Snapshot: snap, Missing: snap.Key}
	}
	if err != nil {
		return nil, err
	}
	e := &Estimate{Objects: 1, Requests: p.requests.Load(), Bytes: p.fetched.Load()}
	for _, s := range l.Tail.Segments {
		e.add(l, s)
	}
	all := func(int) (bool, error) { return true, nil }
	err = joinSpans(0, l.Tail.Data, all, func(s span) error {
		e.add(l, s.where(l.Tail.Data))
		return nil
	})
	return e, err
}

// add counts the read of a range, unless it is in memory.
func (e *Estimate) add(l *chain.Link, s format.Span) {
	if n := l.Fetches(s); n > 0 {
		e.Requests++
		e.Bytes += n
	}
}
