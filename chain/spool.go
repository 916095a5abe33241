package chain

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/litestash/litestash/internal/tempfile"
)

// A spool keeps pieces of objects in an unlinked temporary file: those of a thousand would take more
// memory than we allow ourselves.
type spool struct {
	file *os.File
	size atomic.Int64
}

func newSpool(dir string) (*spool, error) {
	f, err := tempfile.Unlinked(dir)
	if err != nil {
		return nil, fmt.Errorf("make a spool: %w", err)
	}
	return &spool{file: f}, nil
}

// put appends b and returns where it can be read. It may be called concurrently.
func (s *spool) put(b []byte) (io.ReaderAt, error) {
	n := int64(len(b))
	off := s.size.Add(n) - n
	if _, err := s.file.WriteAt(b, off); err != nil {
		return nil, fmt.Errorf("write what was read of an object: %w", err)
	}
	return io.NewSectionReader(s.file, off, n), nil
}

// Close removes the file.
func (s *spool) Close() error { return s.file.Close() }
