package snapshot

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/litestash/litestash/format"
)

// An Image is a copy of a database at one instant. It owns temporary files without a name, which
// vanish when it is closed or the process ends. All methods may be called concurrently, except
// that Close must come after the others have returned.
type Image struct {
	salt        format.Salt
	pageSize    int
	pages       uint32
	root        format.Root
	taken       time.Time
	look        string
	stats       Stats
	partial     bool // it lacks pages that its base has
	data, table *os.File
	close       sync.Once
	closeErr    error
}

// PageSize returns the size of a page in bytes, or 0 if the database is empty: a file of 0 bytes.
func (m *Image) PageSize() int { return m.pageSize }

// Pages returns how many pages there are.
func (m *Image) Pages() uint32 { return m.pages }

// Size returns the size of the image in bytes.
func (m *Image) Size() int64 { return int64(m.pages) * int64(m.pageSize) }

// Salt returns the salt of the page hashes.
func (m *Image) Salt() format.Salt { return m.salt }

// Root returns the root of the image.
func (m *Image) Root() format.Root { return m.root }

// Taken returns the time, in UTC, at which the instant of the image was pinned: every transaction
// that had been committed by then is in it.
func (m *Image) Taken() time.Time { return m.taken }

// Look returns what [Look] said of the database at the instant of the image, and the empty string
// if that cannot be told.
func (m *Image) Look() string { return m.look }

// Whole reports whether every page of the database was read for it.
func (m *Image) Whole() bool { return !m.stats.Followed }

// Stats returns what taking the image was like.
func (m *Image) Stats() Stats { return m.stats }

// ReadAt reads the bytes of the image: it implements [io.ReaderAt]. Pages that are read as a whole are compared with
// what was copied; one that is not the same, or was left out because the base has it, is a [SpoiltError].
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.data.ReadAt(p, off)
	if m.pageSize == 0 {
		return n, err
	}
	size := int64(m.pageSize)
	first := (off + size - 1) / size
	for skip := first*size - off; int64(n) >= skip+size; {
		var buf [64 * entrySize]byte
		some := buf[:min(int64(len(buf)), (int64(n)-skip)/size*entrySize)]
		if err := m.readEntries(uint32(first)+1, some); err != nil {
			return 0, err
		}
		for ; len(some) > 0; some = some[entrySize:] {
			if !(*entry)(some).fits(p[skip : skip+size]) {
				return 0, &SpoiltError{Page: uint32(first) + 1}
			}
			first, skip = first+1, skip+size
		}
	}
	return n, err
}

// ReadHashes fills dst with the hashes of the pages from first on, which are numbered from 1.
func (m *Image) ReadHashes(first uint32, dst []format.PageHash) error {
	if first < 1 || int64(first)-1+int64(len(dst)) > int64(m.pages) {
		return fmt.Errorf("read hashes of %d pages from %d on: there are %d pages", len(dst), first, m.pages)
	}
	buf := make([]byte, min(len(dst), 1<<12)*entrySize)
	for len(dst) > 0 {
		some := buf[:min(len(dst)*entrySize, len(buf))]
		if err := m.readEntries(first, some); err != nil {
			return err
		}
		for ; len(some) > 0; some = some[entrySize:] {
			dst[0] = (*entry)(some).hash()
			first, dst = first+1, dst[1:]
		}
	}
	return nil
}

// readEntries fills b with the entries of the pages from first on.
func (m *Image) readEntries(first uint32, b []byte) error {
	n, err := m.table.ReadAt(b, int64(first-1)*entrySize)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read hashes of pages: %w", err)
}

// Close releases the temporary files. It may be called again.
func (m *Image) Close() error {
	m.close.Do(func() {
		m.closeErr = m.data.Close()
		if err := m.table.Close(); m.closeErr == nil {
			m.closeErr = err
		}
	})
	return m.closeErr
}
