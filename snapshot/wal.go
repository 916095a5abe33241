package snapshot

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/litestash/litestash/internal/pageset"
)

// See https://sqlite.org/fileformat2.html#walformat.
const (
	walHeader   = 32
	frameHeader = 24
)

// walSums is the running checksum of a WAL.
type walSums [2]uint32

func (s *walSums) add(b []byte, order binary.ByteOrder) {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
}

// A walFrame is a page in a WAL.
type walFrame struct {
	page uint32
	// pages is how many pages the database has if the frame is the last of a commit, otherwise 0.
	pages   uint32
	content []byte
}

// A walReader reads frames, which are numbered from 1, of the WAL that it is. Nothing keeps the WAL from being
// begun anew meanwhile: what the frames carry tells.
type walReader struct {
	file     io.ReaderAt
	pageSize int
	order    binary.ByteOrder
	salts    [8]byte
}

// errOtherWAL means that frames are not those that were looked for.
var errOtherWAL = errors.New("the WAL was begun anew")

func (r *walReader) offset(frame uint32) int64 {
	return walHeader + int64(frame-1)*int64(frameHeader+r.pageSize)
}

// read calls do with the frames from first to last. sums are those of the frame before; in the end they are those
// of the last. The content is do's until it returns, and only good if sums then are what they should be.
func (r *walReader) read(first, last uint32, sums *walSums, do func(walFrame) error) error {
	off := r.offset(first)
	in := bufio.NewReaderSize(io.NewSectionReader(r.file, off, r.offset(last+1)-off), 1<<20)
	b := make([]byte, frameHeader+r.pageSize)
	for range last - first + 1 {
		if _, err := io.ReadFull(in, b); err != nil {
			return fmt.Errorf("read the WAL: %w", err)
		}
		f, err := r.parse(b)
		if err != nil {
			return err
		}
		sums.add(b[:8], r.order)
		sums.add(b[frameHeader:], r.order)
		f.content = b[frameHeader:]
		if err := do(f); err != nil {
			return err
		}
	}
	return nil
}

// parse reads the header of a frame.
func (r *walReader) parse(b []byte) (walFrame, error) {
	f, salts := parseFrame(b)
	if salts != r.salts || f.page == 0 {
		return f, errOtherWAL
	}
	return f, nil
}

func parseFrame(header []byte) (f walFrame, salts [8]byte) {
	return walFrame{page: binary.BigEndian.Uint32(header), pages: binary.BigEndian.Uint32(header[4:])}, [8]byte(header[8:])
}

// begin returns the running checksum that the first frame goes on from.
func (r *walReader) begin() (sums walSums, err error) {
	var b [walHeader]byte
	if _, err := r.file.ReadAt(b[:], 0); err != nil {
		return sums, fmt.Errorf("read the WAL: %w", err)
	}
	if sums.add(b[:24], r.order); [8]byte(b[16:]) != r.salts || sums != storedSums(b[24:]) {
		return sums, errOtherWAL
	}
	return sums, nil
}

// storedSums reads a running checksum as it is in a WAL.
func storedSums(b []byte) walSums {
	return walSums{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// find returns the newest of the frames from 1 to last for each of the pages in want that has one. More than
// maxFollowed it does not keep in memory.
func (r *walReader) find(ctx context.Context, last uint32, want pageset.Set) (map[uint32]uint32, error) {
	found := make(map[uint32]uint32)
	var b [frameHeader]byte
	for frame := uint32(1); frame <= last; frame++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := r.file.ReadAt(b[:], r.offset(frame)); err != nil {
			return nil, fmt.Errorf("read the WAL: %w", err)
		}
		f, err := r.parse(b[:])
		if err != nil {
			return nil, err
		}
		if want.Has(f.page) {
			found[f.page] = frame
		}
		if len(found) > maxFollowed {
			return nil, notFollowed("the base lacks too many pages that are in the WAL")
		}
	}
	return found, nil
}

// readPage reads the page of a frame.
func (r *walReader) readPage(frame uint32, page []byte) error {
	if _, err := r.file.ReadAt(page, r.offset(frame)+frameHeader); err != nil {
		return fmt.Errorf("read the WAL: %w", err)
	}
	return nil
}
