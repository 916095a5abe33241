package snapshot

import (
	"encoding/binary"
	"io"
)

// An indexHeader is the header of a WAL's index, in the -shm, in the byte order of the machine:
// https://sqlite.org/walformat.html section 2.1.
type indexHeader [48]byte

func (x *indexHeader) u32(off int) uint32 { return binary.NativeEndian.Uint32(x[off:]) }

// frames returns how many valid frames there are in the WAL.
func (x *indexHeader) frames() uint32 { return x.u32(16) }

// pages returns how many pages the database has.
func (x *indexHeader) pages() uint32 { return x.u32(20) }

// pageSize returns the size of a page in bytes.
func (x *indexHeader) pageSize() int {
	n := binary.NativeEndian.Uint16(x[14:])
	return int(n&0xfe00) + int(n&1)<<16
}

// sums returns the running checksum of the last frame.
func (x *indexHeader) sums() walSums { return walSums{x.u32(24), x.u32(28)} }

// salts returns what each frame carries.
func (x *indexHeader) salts() [8]byte { return [8]byte(x[32:]) }

// order returns the byte order of the words that checksums are made of.
func (x *indexHeader) order() binary.ByteOrder {
	if x[13] != 0 {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// reader returns a reader of the WAL, whose file is file.
func (x *indexHeader) reader(file io.ReaderAt) walReader {
	return walReader{file, x.pageSize(), x.order(), x.salts()}
}

// valid reports whether the header is initialised, of the one version that there is, and as its
// checksum says.
func (x *indexHeader) valid() bool {
	var a, b uint32
	for i := 0; i < 40; i += 8 {
		a += x.u32(i) + b
		b += x.u32(i+4) + a
	}
	return x.u32(0) == 3007000 && x[12] != 0 && a == x.u32(40) && b == x.u32(44)
}
