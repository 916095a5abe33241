package format

import "encoding/binary"

// The seek table is that of the zstd seekable format, version 0.1.0:
// https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
const (
	seekFooterMagic = 0x8F92EAB1
	seekFooter      = 4 + 1 + 4 // number of frames, descriptor, magic
	seekEntry       = 4 + 4     // stored size, size of the content
	minFrames       = 2         // a header and an index

	// The page hashes of a whole data frame take at least this many bytes of an object, so that
	// all frames but the header, the index and the last of each other sort stand for as many. A
	// seek table that ignores this would make a reader hold as much as half of a large object.
	bytesPerFrame = FrameSize / maxPageSize * PageHashSize
)

// A Span is a range of an object's bytes.
type Span struct{ Off, Len int64 }

// End returns the offset after the span.
func (s Span) End() int64 { return s.Off + s.Len }

// A Tail is what the end of an object tells: its index, and where everything is.
type Tail struct {
	Index    *Index
	Header   Span
	Data     []Span // in the order of the pages
	Segments []Span
}

// FirstTail is a good number of bytes to read from the end of an object at first: enough for the
// tail of a database of some 10 GiB.
const FirstTail = 128 << 10

// ParseTail reads the end of an object of size bytes. When end is too short, need says how many
// bytes it has to have, more than it has and at most size; otherwise need is 0.
func ParseTail(end []byte, size int64) (t *Tail, need int64, err error) {
	if int64(len(end)) > size {
		return nil, 0, damaged("%d bytes of an object of %d", len(end), size)
	}
	short := func(need int64) (*Tail, int64, error) {
		if need > size {
			return nil, 0, damaged("cut short: a tail of %d bytes in an object of %d", need, size)
		}
		return nil, need, nil
	}
	if len(end) < seekFooter {
		return short(seekFooter)
	}
	footer := end[len(end)-seekFooter:]
	frames := binary.LittleEndian.Uint32(footer)
	if binary.LittleEndian.Uint32(footer[5:]) != seekFooterMagic || footer[4] != 0 || frames < minFrames {
		return nil, 0, damaged("no seek table at the end")
	}
	table := skippableHeader + int64(frames)*seekEntry + seekFooter
	if int64(frames)*bytesPerFrame > size+4*bytesPerFrame {
		return nil, 0, damaged("seek table: %d frames in an object of %d bytes", frames, size)
	}
	if int64(len(end)) < table {
		return short(table)
	}
	entries, err := skippable(end[int64(len(end))-table:], seekTableMagic)
	if err != nil {
		return nil, 0, err
	}
	t = new(Tail)
	index, err := t.parseSeekTable(entries[:len(entries)-seekFooter], size-table)
	if err != nil {
		return nil, 0, err
	}
	if want := table + index.Len; int64(len(end)) < want {
		return short(want)
	}
	from := int64(len(end)) - table - index.Len
	if t.Index, err = ParseIndex(end[from : from+index.Len]); err != nil {
		return nil, 0, err
	}
	if err := t.fits(entries); err != nil {
		return nil, 0, err
	}
	return t, 0, nil
}

// parseSeekTable finds every frame and returns where the index is. The frames must fill exactly
// the size bytes before the seek table.
func (t *Tail) parseSeekTable(entries []byte, size int64) (index Span, err error) {
	n := len(entries) / seekEntry
	var off int64
	for i := range n {
		e := entries[i*seekEntry:]
		s := Span{off, int64(binary.LittleEndian.Uint32(e))}
		off = s.End()
		content := binary.LittleEndian.Uint32(e[4:])
		switch {
		case s.Len < skippableHeader+1 || off > size:
			return Span{}, damaged("seek table: frame %d has %d bytes", i, s.Len)
		case content > 0 && (len(t.Segments) > 0 || i == 0 || i == n-1 || s.Len > MaxFrame):
			return Span{}, damaged("seek table: frame %d out of place", i)
		case content > 0:
			t.Data = append(t.Data, s)
		case (i == 0 || i == n-1) && s.Len > MaxFacts:
			return Span{}, damaged("seek table: frame %d has %d bytes", i, s.Len)
		case i == 0:
			t.Header = s
		case i == n-1:
			index = s
		default:
			t.Segments = append(t.Segments, s)
		}
	}
	if off != size {
		return Span{}, damaged("seek table: frames of %d bytes where there are %d", off, size)
	}
	return index, nil
}

// fits checks that the seek table is the one that the index calls for.
func (t *Tail) fits(entries []byte) error {
	if int64(len(t.Data)) != int64(framesFor(t.Index.Carried, t.Index.PageSize)) {
		return damaged("seek table: %d data frames for %d pages", len(t.Data), t.Index.Carried)
	}
	if len(t.Segments) != segmentsFor(t.Index.Carried) {
		return damaged("seek table: %d page table segments for %d pages", len(t.Segments), t.Index.Carried)
	}
	for i := range t.Data {
		content := binary.LittleEndian.Uint32(entries[(i+1)*seekEntry+4:])
		if int(content) != t.FrameLen(i) {
			return damaged("seek table: data frame %d holds %d bytes where %d belong", i, content, t.FrameLen(i))
		}
	}
	for i, s := range t.Segments {
		count := int64(t.segmentPages(i))
		rest := skippableHeader + segmentHeader + count*PageHashSize + 4*int64(framesFor(uint32(count), t.Index.PageSize)) + 4
		if runs := s.Len - rest; runs < 8 || runs > 8*count || runs%8 != 0 {
			return damaged("seek table: page table segment %d has %d bytes", i, s.Len)
		}
	}
	return nil
}

// FrameLen returns how many bytes of pages data frame i holds.
func (t *Tail) FrameLen(i int) int {
	all := int64(t.Index.Carried) * int64(t.Index.PageSize)
	return int(min(FrameSize, all-int64(i)*FrameSize))
}

// segmentPages returns how many pages segment i covers.
func (t *Tail) segmentPages(i int) uint32 {
	return min(SegmentPages, t.Index.Carried-uint32(i)*SegmentPages)
}

func segmentsFor(pages uint32) int {
	return int((int64(pages) + SegmentPages - 1) / SegmentPages)
}
