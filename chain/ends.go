package chain

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/litestash/litestash/internal/tempfile"
)

// ends are the last bytes of objects, in an unlinked temporary file: those of a thousand would take more
// memory than we allow ourselves.
type ends struct {
	file *os.File
	size atomic.Int64
}

func newEnds(dir string) (*ends, error) {
	f, err := tempfile.Unlinked(dir)
	if err != nil {
		return nil, fmt.Errorf("keep the ends of objects: %w", err)
	}
	return &ends{file: f}, nil
}

// put appends b and returns where it can be read. It may be called concurrently.
func (e *ends) put(b []byte) (io.ReaderAt, error) {
	n := int64(len(b))
	off := e.size.Add(n) - n
	if _, err := e.file.WriteAt(b, off); err != nil {
		return nil, fmt.Errorf("write what was read of an object: %w", err)
	}
	return io.NewSectionReader(e.file, off, n), nil
}

// Close gives the room back.
func (e *ends) Close() error { return e.file.Close() }
