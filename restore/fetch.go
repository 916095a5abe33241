package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
)

// maxRange is how much is asked for in one read of the store: enough that the requests do not
// matter, and little enough that several are under way in a small database too.
const maxRange = 8 << 20

// maxGap is how much that is not needed is read through rather than asked around.
const maxGap = 256 << 10

// A span is a range of data frames of one link of which some are needed: the first and the last
// are, and those between that are not are read over.
type span struct {
	link     uint32
	from, to int
}

// fetch reads the pages that p needs, checks each, and writes them to w, which must bear concurrent
// writes.
func (p *plan) fetch(ctx context.Context, w io.WriterAt) error {
	if err := p.fetchPages(ctx, w); err != nil || !p.opts.headers {
		return err
	}
	return p.checkHeaders(ctx)
}

func (p *plan) fetchPages(ctx context.Context, w io.WriterAt) error {
	g, ctx := errgroup.WithContext(ctx)
	spans := make(chan span)
	g.Go(func() error {
		defer close(spans)
		return p.spans(func(s span) error {
			select {
			case spans <- s:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	for range p.opts.concurrency() {
		g.Go(func() error {
			f := newFetcher(p, w)
			defer f.Close()
			for s := range spans {
				if err := f.fetch(ctx, s); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// checkHeaders checks the start of each object, which a restore makes nothing of.
func (p *plan) checkHeaders(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opts.concurrency())
	for _, l := range p.chain.Links {
		g.Go(func() error { return p.checkHeader(ctx, l) })
	}
	return g.Wait()
}

func (p *plan) checkHeader(ctx context.Context, l *chain.Link) error {
	err := l.CheckHeader(ctx, l.Open)
	if errors.Is(err, format.ErrDamaged) {
		p.opts.logger().Warn("read damaged data, reading it again", "key", l.Object.Key, "err", err)
		err = l.CheckHeader(ctx, l.OpenStored)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.chain.Hole(l)
	case err != nil:
		return fmt.Errorf("read %s: %w", l.Object.Key, err)
	}
	return nil
}

// spans calls do with the spans of frames that are needed, the newest link's first: should one of
// the older objects vanish meanwhile, little has been done.
func (p *plan) spans(do func(span) error) error {
	for i := len(p.chain.Links) - 1; i >= 0; i-- {
		if err := p.linkSpans(uint32(i), do); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) linkSpans(link uint32, do func(span) error) error {
	data := p.chain.Links[link].Tail.Data
	return joinSpans(link, data, func(i int) (bool, error) { return p.needs(link, i) }, do)
}

// joinSpans calls do with spans of the data frames of a link that are needed, as large as makes sense.
func joinSpans(link uint32, data []format.Span, needs func(frame int) (bool, error), do func(span) error) error {
	s := span{link: link, from: -1}
	for i := range data {
		needed, err := needs(i)
		if err != nil {
			return err
		}
		if !needed {
			continue
		}
		if s.from >= 0 && (data[i].Off-data[s.to-1].End() > maxGap || data[i].End()-data[s.from].Off > maxRange) {
			if err := do(s); err != nil {
				return err
			}
			s.from = -1
		}
		if s.from < 0 {
			s.from = i
		}
		s.to = i + 1
	}
	if s.from < 0 {
		return nil
	}
	return do(s)
}

// where returns the range of the object whose data frames data are.
func (s span) where(data []format.Span) format.Span {
	return format.Span{Off: data[s.from].Off, Len: data[s.to-1].End() - data[s.from].Off}
}

// needs reports whether a data frame holds a page that is to be restored from it.
func (p *plan) needs(link uint32, frame int) (bool, error) {
	if len(p.chain.Links) == 1 && p.had == nil {
		return true, nil
	}
	numbers, entries, err := p.framePages(link, frame)
	if err != nil {
		return false, err
	}
	for i := range numbers {
		if p.wants(link, numbers[i], entries[i]) {
			return true, nil
		}
	}
	return false, nil
}

// wants reports whether a page is to be restored from a link that holds a copy of it.
func (p *plan) wants(link uint32, page uint32, e chain.Entry) bool {
	return page <= p.index.Pages && e.Link == link && !p.had.Has(page)
}

// framePages returns the numbers of the pages in a data frame and their entries.
func (p *plan) framePages(link uint32, frame int) ([]uint32, []chain.Entry, error) {
	numbers, err := p.chain.Links[link].PageNumbers(frame)
	if err != nil {
		return nil, nil, err
	}
	entries := make([]chain.Entry, len(numbers))
	for i := 0; i < len(numbers); {
		n := i + 1
		for n < len(numbers) && numbers[n] == numbers[n-1]+1 {
			n++
		}
		if err := p.chain.ReadEntries(numbers[i], entries[i:n]); err != nil {
			return nil, nil, err
		}
		i = n
	}
	return numbers, entries, nil
}

// A fetcher fetches one span after the other. It belongs to one goroutine.
type fetcher struct {
	p      *plan
	w      io.WriterAt
	frames *format.FrameChecker
	frame  []byte
}

func newFetcher(p *plan, w io.WriterAt) *fetcher {
	return &fetcher{
		p:      p,
		w:      w,
		frames: format.NewFrameChecker(p.index.Salt),
		frame:  make([]byte, format.MaxFrame),
	}
}

func (f *fetcher) Close() { f.frames.Close() }

// fetch reads a span in one go. What turns out damaged is read once more, from there on, in case
// it was the way that damaged it.
func (f *fetcher) fetch(ctx context.Context, s span) error {
	l := f.p.chain.Links[s.link]
	for again := false; ; {
		next, err := f.read(ctx, l, s, again)
		if err == nil {
			return nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return f.p.chain.Hole(l)
		}
		if !errors.Is(err, format.ErrDamaged) || again && next == s.from {
			return fmt.Errorf("%s: %w", l.Object.Key, err)
		}
		f.p.opts.logger().Warn("read damaged data, reading it again", "key", l.Object.Key, "err", err)
		again, s.from = true, next
	}
}

// read reads, checks and writes frames until one fails, and returns which one is next. Again, it
// takes nothing from memory.
func (f *fetcher) read(ctx context.Context, l *chain.Link, s span, again bool) (next int, err error) {
	data := l.Tail.Data
	where := s.where(data)
	var body io.ReadCloser
	if again {
		body, err = l.OpenStored(ctx, where)
	} else {
		body, err = l.Open(ctx, where)
	}
	if err != nil {
		return s.from, err
	}
	defer body.Close()
	for i := s.from; i < s.to; i++ {
		frame := f.frame[:data[i].Len]
		if _, err := io.ReadFull(body, frame); err != nil {
			return i, err
		}
		if err := f.write(l, s.link, i, frame); err != nil {
			return i, err
		}
	}
	return s.to, nil
}

// write checks a frame and each of its pages that is wanted, and writes those.
func (f *fetcher) write(l *chain.Link, link uint32, frame int, stored []byte) error {
	pages, err := f.frames.Pages(l.Tail, frame, stored, l.Checksums[frame])
	if err != nil {
		return err
	}
	numbers, entries, err := f.p.framePages(link, frame)
	if err != nil {
		return err
	}
	for i := 0; i < len(numbers); {
		n, err := f.checkRun(link, numbers[i:], entries[i:], pages, i)
		if err != nil {
			return err
		}
		if n > 0 {
			size := f.p.index.PageSize
			if err := f.p.write(f.w, numbers[i], pages[i*size:(i+n)*size]); err != nil {
				return err
			}
		}
		i += max(n, 1)
	}
	return nil
}

// checkRun checks the wanted pages with consecutive numbers at the beginning of numbers, and
// returns how many there are. The first of them is number i of pages.
func (f *fetcher) checkRun(link uint32, numbers []uint32, entries []chain.Entry, pages []byte, i int) (n int, err error) {
	size := f.p.index.PageSize
	for n < len(numbers) && f.p.wants(link, numbers[n], entries[n]) && numbers[n] == numbers[0]+uint32(n) {
		if !f.frames.Matches(pages[(i+n)*size:(i+n+1)*size], entries[n].Hash) {
			return 0, fmt.Errorf("%w: page %d", format.ErrDamaged, numbers[n])
		}
		n++
	}
	return n, nil
}

// write writes checked pages, from first on, to where they belong in w.
func (p *plan) write(w io.WriterAt, first uint32, pages []byte) error {
	if _, err := w.WriteAt(pages, int64(first-1)*int64(p.index.PageSize)); err != nil {
		return fmt.Errorf("write pages: %w", err)
	}
	p.opts.Meter.Add(int64(len(pages)))
	return nil
}
