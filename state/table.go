package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/litestash/litestash/format"
)

// A Span is a stretch of the calendar. The first snapshot of one is what the first of the next is
// built on, so it is remembered which pages have changed since.
type Span int

// The spans, in UTC.
const (
	Minute Span = iota
	Hour
	Day
	Spans // how many there are
)

// Newest stands for no span at all: pages are compared with the newest snapshot alone.
const Newest Span = -1

// An entry of the table is a page's hash and a byte of which bit s says that the page has changed
// since the first snapshot of the newest snapshot's span s.
const (
	entrySize = format.PageHashSize + 1
	chunk     = 1 << 12 // entries that are read or written at once
)

// Same reports of each page from first on whether it is what it was: its hash is the one remembered
// and, but for [Newest], has been all the time since the first snapshot of the newest one's span.
func (m *Memory) Same(since Span, first uint32, hashes []format.PageHash, same []bool) error {
	entries, err := m.entries(first, len(hashes))
	if err != nil {
		return err
	}
	clear(same)
	for i := range len(entries) / entrySize {
		e := entries[i*entrySize:]
		same[i] = format.PageHash(e) == hashes[i] && isSame(e, since)
	}
	return nil
}

// Hashes fills hashes with what is remembered of the pages from first on, all of which there must be, and sets same[i] to
// whether page first+i has been the same since the first snapshot of the newest one's span.
func (m *Memory) Hashes(since Span, first uint32, hashes []format.PageHash, same []bool) error {
	entries, err := m.entries(first, len(hashes))
	if err != nil {
		return err
	}
	if len(entries) < len(hashes)*entrySize {
		return fmt.Errorf("the remembered page table ends before page %d", first+uint32(len(hashes)))
	}
	for i := range hashes {
		e := entries[i*entrySize:]
		hashes[i], same[i] = format.PageHash(e), isSame(e, since)
	}
	return nil
}

// isSame reports whether the page of an entry has been the same since the first snapshot of a span.
func isSame(entry []byte, since Span) bool {
	return since == Newest || entry[format.PageHashSize]>>since&1 == 0
}

// entries returns the entries of n pages from first on, or of as many as there are.
func (m *Memory) entries(first uint32, n int) ([]byte, error) {
	if m.facts == nil || first > m.facts.Pages {
		return nil, nil
	}
	n = int(min(int64(n), int64(m.facts.Pages-first)+1))
	entries := make([]byte, n*entrySize)
	if _, err := m.table.ReadAt(entries, int64(first-1)*entrySize); err != nil {
		return nil, fmt.Errorf("read the remembered page table: %w", err)
	}
	return entries, nil
}

// Check makes sure that the table is what was saved with the facts, which there must be. The hashes that
// Same was asked about are only as good as the disk that they were read from.
func (m *Memory) Check() error {
	sum, err := m.sumTable(m.facts.Pages)
	if err == nil && sum != m.sum {
		err = errors.New("hash of the page table")
	}
	if err != nil {
		return fmt.Errorf("read what is remembered: %w", err)
	}
	return nil
}

// sumTable returns the hash of a table of so many pages.
func (m *Memory) sumTable(pages uint32) (string, error) {
	size := int64(pages) * entrySize
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(m.table, 0, size))
	if err != nil {
		return "", err
	}
	if n < size {
		return "", errors.New("the page table is cut short")
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// A fillFunc makes the entries after of the pages from first on. before are the entries that they
// had, of which there may be fewer; hashes is scratch of as many pages as there are.
type fillFunc func(first uint32, hashes []format.PageHash, before, after []byte) error

// updateTable turns the table of old, nil if there is none, into that of facts and returns its
// hash. Only what differs is written.
func (m *Memory) updateTable(old, facts *Facts, fill fillFunc) (string, error) {
	was := int64(0)
	if old != nil {
		was = int64(old.Pages)
	}
	sum := sha256.New()
	before, after := make([]byte, chunk*entrySize), make([]byte, chunk*entrySize)
	hashes := make([]format.PageHash, chunk)
	for done := int64(0); done < int64(facts.Pages); {
		n := min(chunk, int64(facts.Pages)-done)
		b, a := before[:max(0, min(n, was-done))*entrySize], after[:n*entrySize]
		if _, err := m.table.ReadAt(b, done*entrySize); err != nil {
			return "", err
		}
		if err := fill(uint32(done)+1, hashes[:n], b, a); err != nil {
			return "", err
		}
		if !bytes.Equal(a, b) {
			if _, err := m.table.WriteAt(a, done*entrySize); err != nil {
				return "", err
			}
		}
		sum.Write(a)
		done += n
	}
	if err := m.table.Truncate(int64(facts.Pages) * entrySize); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// update makes the entries after from those before, of which there may be fewer, and the new
// hashes. The bits in keep are kept; those of spans that begin are cleared.
func update(before, after []byte, hashes []format.PageHash, keep byte) {
	for i := range hashes {
		changed, bits := true, byte(0)
		if e := i * entrySize; e < len(before) {
			changed = format.PageHash(before[e:]) != hashes[i]
			bits = before[e+format.PageHashSize]
		}
		if changed {
			bits = 1<<Spans - 1
		}
		e := after[i*entrySize:]
		copy(e, hashes[i][:])
		e[format.PageHashSize] = bits & keep
	}
}
