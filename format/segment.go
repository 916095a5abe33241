package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// SegmentPages is how many pages a segment covers; the last one may cover fewer. It is a multiple
// of the pages in a data frame at every page size, so that no frame is in two segments.
const SegmentPages = 1 << 16

const (
	segmentMagic  = "LSTPAGES"
	segmentHeader = 8 + 4 + 4 + 4
)

// A Run is a range of consecutive pages.
type Run struct{ First, Count uint32 }

// A Segment is a part of an object's page table: which pages it carries, in ascending order, what
// each must hash to, and the checksum of each data frame that holds them. Segments are read one
// at a time, so that the table of a large database never has to be in memory.
type Segment struct {
	Ordinal uint32 // pages that the segments before this one cover
	Runs    []Run
	Hashes  []PageHash
	Frames  []uint32 // checksums, see [Checksum]
}

// AppendSegment appends the stored form of s, one skippable frame.
func AppendSegment(dst []byte, s *Segment) []byte {
	return appendSkippable(dst, ownMagic, func(b []byte) []byte {
		start := len(b)
		b = append(b, segmentMagic...)
		b = binary.LittleEndian.AppendUint32(b, s.Ordinal)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Hashes)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Runs)))
		for _, r := range s.Runs {
			b = binary.LittleEndian.AppendUint32(b, r.First)
			b = binary.LittleEndian.AppendUint32(b, r.Count)
		}
		for i := range s.Hashes {
			b = append(b, s.Hashes[i][:]...)
		}
		for _, c := range s.Frames {
			b = binary.LittleEndian.AppendUint32(b, c)
		}
		return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
	})
}

// ParseSegment reads the segment with index i of the object that t describes. It refuses one that
// is not exactly what the object's index and seek table call for, apart from the hashes and
// checksums themselves. That the runs of a delta ascend from one segment to the next as well is for
// the caller to check, who alone has seen both.
func ParseSegment(frame []byte, t *Tail, i int) (*Segment, error) {
	p, err := skippable(frame, ownMagic)
	if err != nil {
		return nil, err
	}
	if len(p) < segmentHeader+4 || string(p[:8]) != segmentMagic {
		return nil, damaged("page table segment %d: it is none", i)
	}
	body, sum := p[:len(p)-4], binary.LittleEndian.Uint32(p[len(p)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, damaged("page table segment %d: checksum", i)
	}
	count := t.segmentPages(i)
	frames := framesFor(count, t.Index.PageSize)
	s := &Segment{Ordinal: binary.LittleEndian.Uint32(p[8:])}
	runs := binary.LittleEndian.Uint32(p[16:])
	want := segmentHeader + 8*int64(runs) + PageHashSize*int64(count) + 4*int64(frames)
	if s.Ordinal != uint32(i)*SegmentPages || binary.LittleEndian.Uint32(p[12:]) != count || want != int64(len(body)) {
		return nil, damaged("page table segment %d: sizes do not fit", i)
	}
	rest := body[segmentHeader:]
	s.Runs = make([]Run, runs)
	for j := range s.Runs {
		r := rest[8*j:]
		s.Runs[j] = Run{binary.LittleEndian.Uint32(r), binary.LittleEndian.Uint32(r[4:])}
	}
	if err := s.checkRuns(count, t.Index); err != nil {
		return nil, damaged("page table segment %d: %v", i, err)
	}
	rest = rest[8*runs:]
	s.Hashes = make([]PageHash, count)
	for j := range s.Hashes {
		s.Hashes[j] = PageHash(rest[PageHashSize*j:])
	}
	rest = rest[PageHashSize*count:]
	s.Frames = make([]uint32, frames)
	for j := range s.Frames {
		s.Frames[j] = binary.LittleEndian.Uint32(rest[4*j:])
	}
	return s, nil
}

// checkRuns checks that the runs ascend, are as long as possible each, lie within the database that
// x describes, and hold count pages in all; and that in a full they leave no page out.
func (s *Segment) checkRuns(count uint32, x *Index) error {
	var total, next uint64
	for i, r := range s.Runs {
		first, end := uint64(r.First), uint64(r.First)+uint64(r.Count)
		if r.First == 0 || r.Count == 0 || end > uint64(x.Pages)+1 || i > 0 && first <= next {
			return fmt.Errorf("a run of %d pages from %d is out of place", r.Count, r.First)
		}
		next = end
		total += uint64(r.Count)
	}
	if total != uint64(count) {
		return fmt.Errorf("runs of %d pages where %d belong", total, count)
	}
	if x.Kind() == Full && (len(s.Runs) != 1 || s.Runs[0].First != s.Ordinal+1) {
		return fmt.Errorf("a full that does not hold every page")
	}
	return nil
}

// framesFor returns how many data frames hold the given number of pages.
func framesFor(pages uint32, pageSize int) uint32 {
	return uint32((int64(pages)*int64(pageSize) + FrameSize - 1) / FrameSize)
}
