package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
)

// A checker lets the bytes of an object through, a frame at a time, as far as they are right: each page has
// its hash, in a full the hashes make the root, and the rest is what was read and checked before. Whether the
// hashes of a delta make its root only the page tables of all its chain could tell. It is an [io.Reader] that
// ends without an error only if all was right, and is not for concurrent use.
type checker struct {
	ctx    context.Context
	kind   format.Kind
	object *seal.Object
	tail   *format.Tail
	end    []byte // the last bytes of the object
	body   io.Reader

	next  int    // frame, counted from the header
	frame []byte // what is left of the one that was checked last
	buf   []byte

	frames  *format.FrameChecker
	root    *format.RootHasher
	sums    [][sha256.Size]byte // of the page table segments that were read
	segment *format.Segment     // the last of them
	err     error
}

// newChecker returns what checks body, which is all that an object holds, decrypted.
func newChecker(ctx context.Context, kind format.Kind, object *seal.Object, tail *format.Tail, end []byte, body io.Reader) *checker {
	x := tail.Index
	return &checker{
		ctx: ctx, kind: kind, object: object, tail: tail, end: end, body: body,
		frames: format.NewFrameChecker(x.Salt),
		root:   format.NewRootHasher(x.PageSize, x.Pages, x.Salt),
	}
}

func (c *checker) Read(p []byte) (int, error) {
	for len(c.frame) == 0 && c.err == nil {
		c.err = c.load()
	}
	if len(c.frame) == 0 {
		return 0, c.err
	}
	n := copy(p, c.frame)
	c.frame = c.frame[n:]
	return n, nil
}

// Close releases what checks the frames.
func (c *checker) Close() error {
	c.frames.Close()
	return nil
}

// load reads the next frame and checks it. The index and the seek table are one to it.
func (c *checker) load() error {
	t, i := c.tail, c.next
	c.next++
	if i == 0 {
		return c.pass(t.Header, t.CheckHeader)
	}
	if i--; i < len(t.Data) {
		return c.pass(t.Data[i], func(b []byte) error { return c.checkData(i, b) })
	}
	if i -= len(t.Data); i < len(t.Segments) {
		return c.pass(t.Segments[i], func(b []byte) error { return c.checkSegment(i, b) })
	}
	if i > len(t.Segments) {
		return io.EOF
	}
	last := t.Header
	for _, s := range [][]format.Span{t.Data, t.Segments} {
		if len(s) > 0 {
			last = s[len(s)-1]
		}
	}
	return c.pass(format.Span{Off: last.End(), Len: c.object.Size() - last.End()}, c.checkEnd)
}

// pass reads a range, which is the next of the body, and lets it through if check does.
func (c *checker) pass(s format.Span, check func([]byte) error) error {
	if int64(cap(c.buf)) < s.Len {
		c.buf = make([]byte, s.Len)
	}
	b := c.buf[:s.Len]
	if _, err := io.ReadFull(c.body, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := check(b); err != nil {
		return err
	}
	c.frame = b
	return nil
}

func (c *checker) checkData(i int, stored []byte) error {
	size := c.tail.Index.PageSize
	first := i * (format.FrameSize / size) // page of those that are carried
	for len(c.sums) <= first/format.SegmentPages {
		if err := c.readSegment(); err != nil {
			return err
		}
	}
	at := first % format.SegmentPages
	pages, err := c.frames.Pages(c.tail, i, stored, c.segment.Frames[at/(format.FrameSize/size)])
	if err != nil {
		return err
	}
	for n := 0; n < len(pages)/size; n++ {
		if !c.frames.Matches(pages[n*size:(n+1)*size], c.segment.Hashes[at+n]) {
			return fmt.Errorf("%w: page %d of data frame %d", format.ErrDamaged, n, i)
		}
	}
	return nil
}

// readSegment reads the next segment of the page table, ahead of where it is in the object.
func (c *checker) readSegment() error {
	i := len(c.sums)
	frame, err := c.object.Read(c.ctx, c.tail.Segments[i])
	if err != nil {
		return err
	}
	if c.segment, err = format.ParseSegment(frame, c.tail, i); err != nil {
		return err
	}
	for _, h := range c.segment.Hashes {
		c.root.Write(h[:])
	}
	c.sums = append(c.sums, sha256.Sum256(frame))
	return nil
}

func (c *checker) checkSegment(i int, b []byte) error {
	if sha256.Sum256(b) != c.sums[i] {
		return fmt.Errorf("%w: page table segment %d is another the second time", format.ErrDamaged, i)
	}
	return nil
}

func (c *checker) checkEnd(b []byte) error {
	if !bytes.Equal(b, c.end[len(c.end)-len(b):]) {
		return fmt.Errorf("%w: the end is another the second time", format.ErrDamaged)
	}
	if c.kind == format.Full {
		return c.root.Check(c.tail.Index.Root)
	}
	return nil
}
