package chain

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"github.com/litestash/litestash/format"
)

// An Entry says of a page what it must hash to and which link of the chain holds it.
type Entry struct {
	Hash format.PageHash
	Link uint32 // an index into [Chain.Links]
}

const entrySize = format.PageHashSize + 4

// A table holds the entry of every page and the page numbers of every delta. A large database's is kept in
// temporary files, because it would not fit into the memory we allow ourselves. It may be read concurrently once it has
// been written.
type table struct {
	entries *scratch
	numbers *scratch
	listed  int64 // page numbers
}

func newTable(dir string) *table {
	return &table{entries: newScratch(dir), numbers: newScratch(dir)}
}

// Close removes the table.
func (t *table) Close() error {
	err := t.entries.Close()
	if nerr := t.numbers.Close(); err == nil {
		err = nerr
	}
	return err
}

// set enters pages from first on, all in one link.
func (t *table) set(first uint32, hashes []format.PageHash, link int) error {
	b := make([]byte, 0, len(hashes)*entrySize)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(link))
	}
	if _, err := t.entries.WriteAt(b, int64(first-1)*entrySize); err != nil {
		return fmt.Errorf("write the page table: %w", err)
	}
	return nil
}

// get reads the entries of the pages from first on.
func (t *table) get(first uint32, entries []Entry) error {
	b := make([]byte, len(entries)*entrySize)
	if n, err := t.entries.ReadAt(b, int64(first-1)*entrySize); n < len(b) {
		if err == io.EOF {
			err = fmt.Errorf("%w: pages that no object holds", format.ErrDamaged)
		}
		return fmt.Errorf("read the page table: %w", err)
	}
	for i := range entries {
		e := b[i*entrySize:]
		entries[i] = Entry{format.PageHash(e), binary.LittleEndian.Uint32(e[format.PageHashSize:])}
	}
	return nil
}

// all yields the entries of pages 1 to pages in order, some at a time. What it yields is valid
// until the next.
func (t *table) all(pages uint32) iter.Seq2[[]Entry, error] {
	return func(yield func([]Entry, error) bool) {
		const most = 1 << 14
		entries := make([]Entry, min(pages, most))
		for done := int64(0); done < int64(pages); {
			e := entries[:min(most, int64(pages)-done)]
			if err := t.get(uint32(done)+1, e); err != nil {
				yield(nil, err)
				return
			}
			if !yield(e, nil) {
				return
			}
			done += int64(len(e))
		}
	}
}

// pageNumbers are the numbers of the pages that a delta carries, in a table's file.
type pageNumbers struct {
	t     *table
	start int64
	last  uint32
}

// newPageNumbers begins a list; the one before it must be complete.
func (t *table) newPageNumbers() *pageNumbers { return &pageNumbers{t: t, start: t.listed} }

// append adds the pages of a segment. They must ascend from segment to segment as they do in one.
func (p *pageNumbers) append(runs []format.Run) error {
	var b []byte
	for _, r := range runs {
		if r.First <= p.last {
			return fmt.Errorf("%w: page %d after page %d", format.ErrDamaged, r.First, p.last)
		}
		for n := range r.Count {
			b = binary.LittleEndian.AppendUint32(b, r.First+n)
		}
		p.last = r.First + r.Count - 1
	}
	if _, err := p.t.numbers.WriteAt(b, p.t.listed*4); err != nil {
		return fmt.Errorf("write page numbers: %w", err)
	}
	p.t.listed += int64(len(b) / 4)
	return nil
}

// read fills dst with the numbers from the one with index from on.
func (p *pageNumbers) read(from int, dst []uint32) error {
	b := make([]byte, 4*len(dst))
	if _, err := p.t.numbers.ReadAt(b, (p.start+int64(from))*4); err != nil {
		return fmt.Errorf("read page numbers: %w", err)
	}
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return nil
}
