package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A Writer puts an object together, in order: the header when it is made, then all data frames,
// then the segments of the page table, and on Close the index and the seek table. It buffers
// nothing and writes each part with one Write. It refuses what would make an object that cannot be
// read; after an error it writes nothing more. It is not safe for concurrent use.
type Writer struct {
	w       io.Writer
	index   *Index
	header  Header // as it was written
	frames  []writtenFrame
	content int64  // bytes of pages in frames so far
	covered uint32 // pages in segments so far
	last    uint32 // the last page in segments so far
	tables  []writtenFrame
	size    int64
	err     error
}

type writtenFrame struct{ stored, content, checksum uint32 }

// NewWriter writes the header of the object that x describes to w. Close reads x once more: until
// then the root and whatever else is not in the header may still change.
func NewWriter(w io.Writer, x *Index) (*Writer, error) {
	if _, err := AppendIndex(nil, x); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	header, err := AppendHeader(nil, &x.Header)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	o := &Writer{w: w, index: x, header: x.Header}
	o.write(header, &o.tables, 0)
	return o, o.err
}

// write writes one frame and enters it into list.
func (o *Writer) write(frame []byte, list *[]writtenFrame, content int) {
	if o.err != nil {
		return
	}
	if _, o.err = o.w.Write(frame); o.err != nil {
		return
	}
	o.size += int64(len(frame))
	*list = append(*list, writtenFrame{uint32(len(frame)), uint32(content), 0})
}

// Frame writes the next data frame, as a [Compressor] made it from content bytes of pages. All but
// the last hold [FrameSize].
func (o *Writer) Frame(frame []byte, content int) error {
	left := int64(o.index.Carried)*int64(o.index.PageSize) - o.content
	if o.err == nil && (len(o.tables) > 1 || content == 0 || int64(content) != min(left, FrameSize) || len(frame) > MaxFrame) {
		o.err = fmt.Errorf("write data frame %d: %d bytes of pages in %d are not what belongs there", len(o.frames), content, len(frame))
	}
	o.write(frame, &o.frames, content)
	if o.err == nil {
		o.frames[len(o.frames)-1].checksum = Checksum(frame)
		o.content += int64(content)
	}
	return o.err
}

// Segment writes the next segment of the page table: the pages in runs and their hashes. All but
// the last cover [SegmentPages].
func (o *Writer) Segment(runs []Run, hashes []PageHash) error {
	s := Segment{Ordinal: o.covered, Runs: runs, Hashes: hashes}
	if o.err == nil {
		o.err = o.checkSegment(&s)
	}
	if o.err != nil {
		return o.err
	}
	perSegment := framesFor(SegmentPages, o.index.PageSize)
	from := o.covered / SegmentPages * perSegment
	to := from + framesFor(uint32(len(hashes)), o.index.PageSize)
	for _, f := range o.frames[from:to] {
		s.Frames = append(s.Frames, f.checksum)
	}
	o.covered += uint32(len(hashes))
	o.last = runs[len(runs)-1].First + runs[len(runs)-1].Count - 1
	o.write(AppendSegment(nil, &s), &o.tables, 0)
	return o.err
}

// checkSegment checks that s is what comes next.
func (o *Writer) checkSegment(s *Segment) error {
	count := min(SegmentPages, o.index.Carried-o.covered)
	switch {
	case o.content != int64(o.index.Carried)*int64(o.index.PageSize):
		return fmt.Errorf("write segment %d: data frames are missing", len(o.tables)-1)
	case count == 0 || len(s.Hashes) != int(count):
		return fmt.Errorf("write segment %d: %d pages where %d belong", len(o.tables)-1, len(s.Hashes), count)
	}
	if err := s.checkRuns(count, o.index); err != nil {
		return fmt.Errorf("write segment %d: %w", len(o.tables)-1, err)
	}
	if s.Runs[0].First <= o.last {
		return fmt.Errorf("write segment %d: page %d is not after page %d", len(o.tables)-1, s.Runs[0].First, o.last)
	}
	return nil
}

// Close writes the index and the seek table. It fails if pages that the index announces have not
// been written. It does not close the underlying writer.
func (o *Writer) Close() error {
	if o.err == nil {
		o.err = o.checkWhole()
	}
	if o.err != nil {
		return o.err
	}
	frame, err := AppendIndex(nil, o.index)
	if err != nil {
		o.err = fmt.Errorf("index: %w", err)
		return o.err
	}
	o.write(frame, &o.tables, 0)
	if o.err != nil {
		return o.err
	}
	table := o.seekTable()
	if _, o.err = o.w.Write(table); o.err != nil {
		return o.err
	}
	o.size += int64(len(table))
	o.err = errors.New("the object is closed")
	return nil
}

// checkWhole checks that all that the index announces has been written.
func (o *Writer) checkWhole() error {
	if o.header != o.index.Header {
		return errors.New("close object: the index no longer agrees with the header")
	}
	want := int64(o.index.Carried) * int64(o.index.PageSize)
	if o.covered != o.index.Carried || o.content != want {
		return fmt.Errorf("close object: %d pages and %d bytes written of %d pages", o.covered, o.content, o.index.Carried)
	}
	return nil
}

// Size returns how many bytes have been written.
func (o *Writer) Size() int64 { return o.size }

// seekTable returns the seek table of everything written: the header, the data, the rest.
func (o *Writer) seekTable() []byte {
	return appendSkippable(nil, seekTableMagic, func(b []byte) []byte {
		for _, list := range [][]writtenFrame{o.tables[:1], o.frames, o.tables[1:]} {
			for _, f := range list {
				b = binary.LittleEndian.AppendUint32(b, f.stored)
				b = binary.LittleEndian.AppendUint32(b, f.content)
			}
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(len(o.frames)+len(o.tables)))
		b = append(b, 0)
		return binary.LittleEndian.AppendUint32(b, seekFooterMagic)
	})
}
