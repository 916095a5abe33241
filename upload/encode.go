package upload

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/progress"
)

// mostStored returns an upper bound for the stored size of the object that x describes.
func mostStored(x *format.Index) int64 {
	data := int64(x.Carried) * int64(x.PageSize)
	frames := data/format.FrameSize + 1
	const (
		perPage  = format.PageHashSize + 8 // hash and at worst a run of its own
		perFrame = format.MaxFrame - format.FrameSize + 4 + 8
		facts    = 3 * format.MaxFacts
	)
	return data + int64(x.Carried)*perPage + frames*perFrame + facts
}

// A piece is one data frame on its way: pages are read and compressed by a worker, frames are
// written in order.
type piece struct {
	runs  []format.Run
	pages []byte
	frame []byte
	ready chan struct{} // receives once frame is whole
}

// encode writes the object of the pages of img in runs to w. Frames are
// compressed on all cores and written in order; a few of them are in memory at a time, whatever the
// image's size.
func encode(ctx context.Context, w io.Writer, x *format.Index, img Image, runs []format.Run, m *progress.Meter) error {
	out, err := format.NewWriter(w, x)
	if err != nil {
		return err
	}
	m.Expect(int64(x.Carried) * int64(x.PageSize))
	if err := encodePages(ctx, out, x.PageSize, runs, img, m); err != nil {
		return err
	}
	if err := encodePageTable(out, runs, img); err != nil {
		return err
	}
	return out.Close()
}

func encodePages(ctx context.Context, out *format.Writer, pageSize int, runs []format.Run, img io.ReaderAt, m *progress.Meter) error {
	if len(runs) == 0 {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	workers := min(runtime.GOMAXPROCS(0), 4)
	idle := make(chan *piece, 2*workers)
	for range cap(idle) {
		idle <- &piece{ready: make(chan struct{}, 1)}
	}
	todo := make(chan *piece, cap(idle))    // to be compressed by any worker
	inOrder := make(chan *piece, cap(idle)) // to be written, in this order
	g.Go(func() error {
		defer close(todo)
		defer close(inOrder)
		for part := range split(runs, uint32(format.FrameSize/pageSize)) {
			select {
			case p := <-idle:
				p.runs = append(p.runs[:0], part...)
				todo <- p
				inOrder <- p
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			c := format.NewCompressor()
			for p := range todo {
				if err := p.read(img, pageSize); err != nil {
					return fmt.Errorf("read the image: %w", err)
				}
				p.frame = c.Compress(p.frame[:0], p.pages)
				p.ready <- struct{}{}
			}
			return nil
		})
	}
	g.Go(func() error {
		for p := range inOrder {
			select {
			case <-p.ready:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if err := out.Frame(p.frame, len(p.pages)); err != nil {
				return err
			}
			m.Add(int64(len(p.pages)))
			idle <- p
		}
		return nil
	})
	return g.Wait()
}

// read reads the piece's pages.
func (p *piece) read(img io.ReaderAt, pageSize int) error {
	p.pages = p.pages[:0]
	for _, r := range p.runs {
		from := len(p.pages)
		p.pages = append(p.pages, make([]byte, int(r.Count)*pageSize)...)
		if n, err := img.ReadAt(p.pages[from:], int64(r.First-1)*int64(pageSize)); n < len(p.pages)-from {
			return err
		}
	}
	return nil
}

// split yields runs in parts of count pages each; the last may have fewer. What it yields is valid
// until the next.
func split(runs []format.Run, count uint32) iter.Seq[[]format.Run] {
	return func(yield func([]format.Run) bool) {
		var part []format.Run
		left := count
		for _, r := range runs {
			for r.Count > 0 {
				n := min(r.Count, left)
				part = append(part, format.Run{First: r.First, Count: n})
				r.First, r.Count, left = r.First+n, r.Count-n, left-n
				if left == 0 {
					if !yield(part) {
						return
					}
					part, left = part[:0], count
				}
			}
		}
		if len(part) > 0 {
			yield(part)
		}
	}
}

// encodePageTable writes the segments of the page table.
func encodePageTable(out *format.Writer, runs []format.Run, img Image) error {
	hashes := make([]format.PageHash, 0, format.SegmentPages)
	for part := range split(runs, format.SegmentPages) {
		hashes = hashes[:0]
		for _, r := range part {
			from := len(hashes)
			hashes = hashes[:from+int(r.Count)]
			if err := img.ReadHashes(r.First, hashes[from:]); err != nil {
				return fmt.Errorf("read page hashes: %w", err)
			}
		}
		if err := out.Segment(part, hashes); err != nil {
			return err
		}
	}
	return nil
}
