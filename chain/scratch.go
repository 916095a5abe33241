package chain

import (
	"io"
	"os"

	"github.com/litestash/litestash/internal/tempfile"
)

// inMemory is how many bytes a scratch keeps in memory.
const inMemory = 8 << 20

// A scratch holds bytes at offsets: few of them in memory, more in a temporary file without a name. The pages of deltas are
// scattered, and of a system call for each a small database's restore would take a good part of its time. It may be read
// concurrently once it has been written.
type scratch struct {
	dir  string
	most int64 // bytes in memory
	mem  []byte
	file *os.File // nil while all is in memory
}

func newScratch(dir string) *scratch { return &scratch{dir: dir, most: inMemory} }

// WriteAt implements [io.WriterAt], for one writer. What lies between what was written is zeros.
func (s *scratch) WriteAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	if s.file == nil && end > s.most {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	if s.file != nil {
		return s.file.WriteAt(p, off)
	}
	if n := end - int64(len(s.mem)); n > 0 {
		s.mem = append(s.mem, make([]byte, n)...)
	}
	return copy(s.mem[off:], p), nil
}

// spill moves what is in memory to a file.
func (s *scratch) spill() error {
	file, err := tempfile.Unlinked(s.dir)
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(s.mem, 0); err != nil {
		file.Close()
		return err
	}
	s.file, s.mem = file, nil
	return nil
}

// ReadAt implements [io.ReaderAt].
func (s *scratch) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	n := 0
	if off < int64(len(s.mem)) {
		n = copy(p, s.mem[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close drops what it holds.
func (s *scratch) Close() error {
	s.mem = nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
