package chain

import (
	"context"
	"errors"
	"io"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

// A Link is one object of a chain.
type Link struct {
	catalog.Snapshot
	Tail      *format.Tail
	Checksums []uint32 // of the data frames

	object *seal.Object
	pages  *pageNumbers // of the data frames; nil in a full
}

// An UnknownError says that a snapshot is of a kind that this version cannot read.
type UnknownError struct{ Snapshot catalog.Snapshot }

func (e *UnknownError) Error() string {
	return e.Snapshot.Object.Key + ": this version cannot read such a snapshot"
}

// OpenLink reads what an object says about itself, at its end.
func OpenLink(ctx context.Context, st store.Store, s catalog.Snapshot, ids *seal.Identities) (*Link, error) {
	t, o, err := catalog.Open(ctx, st, s, ids)
	if s.Kind == format.Unknown && !errors.As(err, new(*format.VersionError)) {
		return nil, &UnknownError{s}
	}
	if err != nil {
		return nil, err
	}
	return &Link{Snapshot: s, Tail: t, object: o}, nil
}

// CheckHeader checks that the object says the same about itself at its start, of which nothing else is
// made. open is one of l's own, [Link.Open] or [Link.OpenStored].
func (l *Link) CheckHeader(ctx context.Context, open func(context.Context, format.Span) (io.ReadCloser, error)) error {
	r, err := open(ctx, l.Tail.Header)
	if err != nil {
		return err
	}
	frame, err := store.ReadBody(r, l.Tail.Header.Len)
	if err != nil {
		return err
	}
	return l.Tail.CheckHeader(frame)
}

// Open reads a range of the object, but not from the store if it is part of what was read already.
func (l *Link) Open(ctx context.Context, s format.Span) (io.ReadCloser, error) {
	return l.object.Open(ctx, s)
}

// OpenStored is as Open and reads from the store in any case.
func (l *Link) OpenStored(ctx context.Context, s format.Span) (io.ReadCloser, error) {
	return l.object.OpenStored(ctx, s)
}

// Fetches returns how many bytes of the store Open reads for a range: 0 if it was read already.
func (l *Link) Fetches(s format.Span) int64 { return l.object.Fetches(s) }

// Readers returns for whom the object is encrypted; none if it is not.
func (l *Link) Readers() seal.Readers { return l.object.Readers() }

// readPageTable enters the pages that the link carries into t, one segment at a time.
func (l *Link) readPageTable(ctx context.Context, t *table, number int) error {
	if l.Kind == format.Delta {
		l.pages = t.newPageNumbers()
	}
	for i, span := range l.Tail.Segments {
		frame, err := l.object.Read(ctx, span)
		if err != nil {
			return err
		}
		s, err := format.ParseSegment(frame, l.Tail, i)
		if err != nil {
			return err
		}
		l.Checksums = append(l.Checksums, s.Frames...)
		hashes := s.Hashes
		for _, r := range s.Runs {
			if err := t.set(r.First, hashes[:r.Count], number); err != nil {
				return err
			}
			hashes = hashes[r.Count:]
		}
		if l.pages != nil {
			if err := l.pages.append(s.Runs); err != nil {
				return err
			}
		}
	}
	return nil
}

// PageNumbers returns the numbers of the pages in a data frame, in ascending order.
func (l *Link) PageNumbers(frame int) ([]uint32, error) {
	size := l.Tail.Index.PageSize
	from, count := frame*(format.FrameSize/size), l.Tail.FrameLen(frame)/size
	numbers := make([]uint32, count)
	if l.pages != nil {
		return numbers, l.pages.read(from, numbers)
	}
	for i := range numbers {
		numbers[i] = uint32(from+i) + 1
	}
	return numbers, nil
}
