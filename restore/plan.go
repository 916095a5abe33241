package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/pageset"
	"github.com/litestash/litestash/store"
)

// A plan is what is to be fetched. It is made, and the page hashes in it are proved against the
// root, before any page is fetched.
type plan struct {
	opts  *Options
	index *format.Index // of the snapshot that is restored
	chain *chain.Chain
	had   pageset.Set // pages that need not be fetched

	fetched, requests, reused atomic.Int64
}

func newPlan(ctx context.Context, st store.Store, snap catalog.Snapshot, opts *Options) (*plan, error) {
	p := &plan{opts: opts}
	st = countReads{st, p}
	c, err := chain.Open(ctx, st, snap, opts.chain())
	var hole *chain.HoleError
	if errors.Is(err, format.ErrDamaged) && !errors.As(err, &hole) {
		opts.logger().Warn("read damaged data, reading it again", "key", snap.Object.Key, "err", err)
		c, err = chain.Open(ctx, st, snap, opts.chain())
	}
	if err != nil {
		return nil, err
	}
	p.chain, p.index = c, c.Index
	if opts.Root != nil && *opts.Root != p.index.Root {
		c.Close()
		return nil, fmt.Errorf("%s: %w", snap.Object.Key, &RootError{*opts.Root, p.index.Root})
	}
	opts.Meter.Expect(p.size())
	return p, nil
}

// Close releases the plan's temporary files.
func (p *plan) Close() error { return p.chain.Close() }

func (p *plan) size() int64 { return p.index.Size() }

func (p *plan) result() *Result {
	return &Result{
		Index:    p.index,
		Links:    len(p.chain.Links),
		Fetched:  p.fetched.Load(),
		Requests: p.requests.Load(),
		Reused:   p.reused.Load(),
	}
}

// countReads counts what is read of a store.
type countReads struct {
	store.Store
	p *plan
}

func (c countReads) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	c.p.requests.Add(1)
	r, err := c.Store.Open(ctx, o, off, n)
	if err != nil {
		return nil, err
	}
	return &countedBody{r, c.p}, nil
}

type countedBody struct {
	io.ReadCloser
	p *plan
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.p.fetched.Add(int64(n))
	return n, err
}
