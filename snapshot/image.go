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
	salt         format.Salt
	pageSize     int
	pages        uint32
	root         format.Root
	taken        time.Time
	look         string
	stats        Stats
	partial      bool // it lacks pages that its base has
	data, hashes *os.File
	close        sync.Once
	closeErr     error
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

// Stats returns what taking the image was like.
func (m *Image) Stats() Stats { return m.stats }

// ReadAt reads the bytes of the image: it implements [io.ReaderAt].
func (m *Image) ReadAt(p []byte, off int64) (int, error) { return m.data.ReadAt(p, off) }

// ReadHashes fills dst with the hashes of the pages from first on, which are numbered from 1.
func (m *Image) ReadHashes(first uint32, dst []format.PageHash) error {
	if first < 1 || int64(first)-1+int64(len(dst)) > int64(m.pages) {
		return fmt.Errorf("read hashes of %d pages from %d on: there are %d pages", len(dst), first, m.pages)
	}
	buf := make([]byte, min(len(dst)*format.PageHashSize, 1<<16))
	off := int64(first-1) * format.PageHashSize
	for len(dst) > 0 {
		chunk := buf[:min(len(dst)*format.PageHashSize, len(buf))]
		if n, err := m.hashes.ReadAt(chunk, off); n < len(chunk) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read hashes of pages: %w", err)
		}
		off += int64(len(chunk))
		for ; len(chunk) > 0; chunk = chunk[format.PageHashSize:] {
			dst[0] = format.PageHash(chunk)
			dst = dst[1:]
		}
	}
	return nil
}

// Close releases the temporary files. It may be called again.
func (m *Image) Close() error {
	m.close.Do(func() {
		m.closeErr = m.data.Close()
		if err := m.hashes.Close(); m.closeErr == nil {
			m.closeErr = err
		}
	})
	return m.closeErr
}
