package snapshot

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
)

// A WAL that was begun anew is written from the start of its file, over what it held before. The frames behind those that it has
// now are still there: those that it had last, and behind them, if it has been longer, those that it had even earlier.
//
// The first salt counts how often the WAL was begun, and the second is random then: walRestartHdr in SQLite's wal.c.

// isNext reports whether a WAL with the salts is was begun anew once since it had the salts was.
func isNext(was, is [8]byte) bool {
	return binary.BigEndian.Uint32(is[:]) == binary.BigEndian.Uint32(was[:])+1
}

// isEarlier reports whether a frame with such salts is from before the WAL was begun with the salts of r. Salts of zero are of any
// time, also a later one: SQLite writes them where it is to compute the checksums at the commit, walEncodeFrame in its wal.c.
func (r *walReader) isEarlier(salts [8]byte) bool {
	if salts == [8]byte{} {
		return false
	}
	const farthest = 1 << 16 // further back it may be anything
	back := binary.BigEndian.Uint32(r.salts[:]) - binary.BigEndian.Uint32(salts[:])
	return back >= 1 && back <= farthest && [4]byte(salts[4:]) != [4]byte(r.salts[4:])
}

// A walTail is what is left of a WAL that has been begun anew: the commits behind some frame.
type walTail struct {
	newest map[uint32]uint32 // frames, by their page
	fewest uint32            // pages that the database had after a commit; at most [math.MaxUint32]

	file  io.ReaderAt
	off   int64             // of the first frame, or of what is in its place
	first [frameHeader]byte // its header
}

// tail reads the frames after a frame with the running checksum sums, to where the WAL ended when it was begun anew. That
// is sure only where a frame of an earlier time follows: whatever came later would be over it. It fails if tooMany says so of the number of frames.
//
// The count in the salts starts from 1 in each WAL whose application cuts it off when it opens the database, and copies are
// written over databases. So that the frames are in the WAL that was remembered, one at least has to have its checksum: that frame itself, if
// none follow.
func (r *walReader) tail(after uint32, sums walSums, tooMany func(uint32) bool) (*walTail, error) {
	t := &walTail{newest: map[uint32]uint32{}, fewest: math.MaxUint32, file: r.file, off: r.offset(after + 1)}
	in := bufio.NewReaderSize(io.NewSectionReader(r.file, t.off, math.MaxInt64-t.off), 1<<20)
	b := make([]byte, frameHeader+r.pageSize)
	begun := map[uint32]uint32{} // frames of the commit that is being read
	for frame := after + 1; ; frame++ {
		if tooMany(frame - after) {
			return nil, notFollowed("there were too many new frames when the WAL was begun anew")
		}
		switch _, err := io.ReadFull(in, b); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, notFollowed("the WAL was begun anew, and where it ended then cannot be told")
		case err != nil:
			return nil, fmt.Errorf("read the WAL: %w", err)
		}
		if frame == after+1 {
			t.first = [frameHeader]byte(b)
		}
		f, salts := parseFrame(b)
		if r.isEarlier(salts) && f.page > 0 {
			if frame == after+1 {
				return t, r.isThere(after, sums)
			}
			return t, nil
		}
		sums.add(b[:8], r.order)
		sums.add(b[frameHeader:], r.order)
		if salts != r.salts || f.page == 0 || sums != storedSums(b[16:]) {
			return nil, errOtherWAL
		}
		begun[f.page] = frame
		if f.pages > 0 {
			maps.Copy(t.newest, begun)
			clear(begun)
			t.fewest = min(t.fewest, f.pages)
		}
	}
}

// isThere fails if a frame with the running checksum sums is not there any more.
func (r *walReader) isThere(frame uint32, sums walSums) error {
	var b [frameHeader]byte
	if _, err := r.file.ReadAt(b[:], r.offset(frame)); err != nil {
		return fmt.Errorf("read the WAL: %w", err)
	}
	if _, salts := parseFrame(b[:]); salts != r.salts || storedSums(b[16:]) != sums {
		return errOtherWAL
	}
	return nil
}

// confirm fails if what was read of the tail may not have been: a WAL is written in the order of its frames, so with the first
// all the others were as they had been.
func (t *walTail) confirm() error {
	var b [frameHeader]byte
	if _, err := t.file.ReadAt(b[:], t.off); err != nil {
		return fmt.Errorf("read the WAL: %w", err)
	}
	if b != t.first {
		return errOtherWAL
	}
	return nil
}
