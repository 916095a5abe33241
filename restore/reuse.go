package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/pageset"
)

// reuseChunk is how many bytes of a copy are read at a time: 64 pages or a multiple of that at every
// page size, so that no two chunks share a word of a [pageset.Set].
const reuseChunk = 4 << 20

// openCopy opens a file that pages are to be taken from, for reading. It does not wait for the other
// end of a pipe.
func openCopy(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("reuse: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errCopyNotFile
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("reuse %s: %w", path, err)
	}
	return f, nil
}

// errCopyNotFile says that what pages should be taken from is no regular file.
var errCopyNotFile = errors.New("it is not a file")

// openCopy opens the file that was named to reuse. Without one it is nil.
func (o *Options) openCopy() (*os.File, error) {
	if o.Reuse == "" {
		return nil, nil
	}
	return openCopy(o.Reuse)
}

// openCopy opens the file that was named to reuse, or else the database that will be replaced. That one
// need not be readable. It is nil if there is none.
func (t *target) openCopy() (*os.File, error) {
	if t.opts.Reuse != "" || t.old == nil {
		return t.opts.openCopy()
	}
	f, err := openCopy(t.path)
	if err != nil {
		return nil, t.opts.cannotReuse(err)
	}
	return f, nil
}

// cannotReuse is for an error in reading a copy. It is one if the copy was named; the one that just
// happens to be there can be done without.
func (o *Options) cannotReuse(err error) error {
	if o.Reuse != "" {
		return err
	}
	o.logger().Warn("the old database cannot be read, fetching its pages", "err", err)
	return nil
}

// reuse copies the pages that old has already to w, and marks them in p as had.
//
// It needs no lock and old may be written to meanwhile. Bytes that have the hash of a page are that
// page, wherever they come from, and it is the bytes that were hashed which are written. A page that
// is read half old and half new just does not match, and is fetched.
func (p *plan) reuse(ctx context.Context, old *os.File, w io.WriterAt) error {
	p.had = pageset.New(p.index.Pages)
	chunks := (p.size() + reuseChunk - 1) / reuseChunk
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(chunks, int64(p.opts.concurrency()), int64(runtime.GOMAXPROCS(0))) {
		g.Go(func() error {
			r := newReuser(p, old, w)
			for i := next.Add(1) - 1; i < chunks; i = next.Add(1) - 1 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				data, err := r.read(i)
				if err != nil {
					return p.opts.cannotReuse(err)
				}
				if err := r.take(i, data); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// A reuser takes pages from a copy, one chunk after the other. It belongs to one goroutine.
type reuser struct {
	p       *plan
	old     *os.File
	w       io.WriterAt
	hasher  *format.PageHasher
	data    []byte
	entries []chain.Entry
}

func newReuser(p *plan, old *os.File, w io.WriterAt) *reuser {
	size := min(reuseChunk, p.size())
	return &reuser{
		p:       p,
		old:     old,
		w:       w,
		hasher:  format.NewPageHasher(p.index.Salt),
		data:    make([]byte, size),
		entries: make([]chain.Entry, size/int64(p.index.PageSize)),
	}
}

// read returns what the copy holds of a chunk, which may be less than there should be or nothing.
func (r *reuser) read(chunk int64) ([]byte, error) {
	n, err := r.old.ReadAt(r.data, chunk*reuseChunk)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reuse: %w", err)
	}
	return r.data[:n], nil
}

// take writes the pages of a chunk that are as they should be.
func (r *reuser) take(chunk int64, data []byte) error {
	size := r.p.index.PageSize
	first := uint32(chunk*reuseChunk/int64(size)) + 1
	n := min(len(data)/size, int(r.p.index.Pages-first+1))
	entries := r.entries[:n]
	if err := r.p.chain.ReadEntries(first, entries); err != nil {
		return err
	}
	for i := 0; i < n; {
		run := r.matching(entries[i:], data[i*size:])
		if run > 0 {
			if err := r.p.write(r.w, first+uint32(i), data[i*size:(i+run)*size]); err != nil {
				return err
			}
			r.p.had.Add(first+uint32(i), run)
			r.p.reused.Add(int64(run * size))
		}
		i += run + 1 // the one after a run does not match
	}
	return nil
}

// matching returns how many pages at the beginning of data have the hashes of entries.
func (r *reuser) matching(entries []chain.Entry, data []byte) int {
	size := r.p.index.PageSize
	for i := range entries {
		if r.hasher.Hash(data[i*size:(i+1)*size]) != entries[i].Hash {
			return i
		}
	}
	return len(entries)
}
