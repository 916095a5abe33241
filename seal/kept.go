package seal

import (
	"bytes"
	"io"
)

// A kept range is a piece of a stored object that need not be read from the store again.
type kept struct {
	io.ReaderAt // nil if size is 0
	size        int64
}

func inMemory(b []byte) kept { return kept{bytes.NewReader(b), int64(len(b))} }

// from returns the rest of k from an offset on.
func (k kept) from(off int64) kept {
	return kept{io.NewSectionReader(k, off, k.size-off), k.size - off}
}

// bytes returns all of k.
func (k kept) bytes() ([]byte, error) {
	b := make([]byte, k.size)
	_, err := io.ReadFull(io.NewSectionReader(k, 0, k.size), b)
	return b, err
}

// spill returns k as it is read from where put puts its bytes.
func (k kept) spill(put func([]byte) (io.ReaderAt, error)) (kept, error) {
	b, err := k.bytes()
	if err != nil {
		return k, err
	}
	r, err := put(b)
	if err != nil {
		return k, err
	}
	return kept{r, k.size}, nil
}
