package seal

import (
	"bytes"
	"io"
)

// A piece is a range of a stored object that is kept, so that it need not be read from the store again.
type piece struct {
	io.ReaderAt // nil if size is 0
	size        int64
}

func inMemory(b []byte) piece { return piece{bytes.NewReader(b), int64(len(b))} }

// from returns the rest of p from an offset on.
func (p piece) from(off int64) piece {
	return piece{io.NewSectionReader(p, off, p.size-off), p.size - off}
}

// bytes returns all of p.
func (p piece) bytes() ([]byte, error) {
	b := make([]byte, p.size)
	_, err := io.ReadFull(io.NewSectionReader(p, 0, p.size), b)
	return b, err
}

// spill returns p as it is read from where put puts its bytes.
func (p piece) spill(put func([]byte) (io.ReaderAt, error)) (piece, error) {
	b, err := p.bytes()
	if err != nil {
		return p, err
	}
	r, err := put(b)
	if err != nil {
		return p, err
	}
	return piece{r, p.size}, nil
}
