package snapshot

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
)

// checksummed reports whether the pages of the database in f, which has the header h, end in the
// checksums of the checksum VFS (https://sqlite.org/cksumvfs.html).
func checksummed(f *os.File, h *header) (bool, error) {
	if h[offReserved] != 8 {
		return false, nil
	}
	page := make([]byte, h.pageSize())
	n, err := f.ReadAt(page, 0)
	if n < len(page) {
		if err == io.EOF {
			err = nil
		}
		return false, err
	}
	return sealed(page), nil
}

// sealPage puts the checksum of the checksum VFS (https://sqlite.org/cksumvfs.html) into the last
// eight bytes of page.
func sealPage(page []byte) {
	sum := pageChecksum(page)
	copy(page[len(page)-len(sum):], sum[:])
}

// sealed reports whether page ends in its checksum. A page of zeros does not count, although
// it would.
func sealed(page []byte) bool {
	sum := pageChecksum(page)
	return sum != [8]byte{} && bytes.Equal(sum[:], page[len(page)-len(sum):])
}

func pageChecksum(page []byte) (sum [8]byte) {
	var a, b uint32
	for p := page[:len(page)-len(sum)]; len(p) >= 8; p = p[8:] {
		a += binary.LittleEndian.Uint32(p) + b
		b += binary.LittleEndian.Uint32(p[4:]) + a
	}
	binary.LittleEndian.PutUint32(sum[:], a)
	binary.LittleEndian.PutUint32(sum[4:], b)
	return sum
}
