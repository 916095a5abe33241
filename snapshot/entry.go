package snapshot

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/litestash/litestash/format"
)

// entrySize is what is kept of each page in the table beside an image, in bytes: its hash, and a checksum that takes a
// twentieth of the hash's time.
const entrySize = format.PageHashSize + 4

// An entry is the hash and the checksum of a page.
type entry [entrySize]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEntry appends the entry of a page.
func appendEntry(b []byte, hash format.PageHash, page []byte) []byte {
	b = append(b, hash[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(page, castagnoli))
}

// appendUnread appends the entry of a page that is not kept, so that nobody reads it.
func appendUnread(b []byte, hash format.PageHash) []byte {
	return append(append(b, hash[:]...), make([]byte, entrySize-format.PageHashSize)...)
}

func (e *entry) hash() format.PageHash { return format.PageHash(e[:format.PageHashSize]) }

// fits reports whether page is the one that the entry is about.
func (e *entry) fits(page []byte) bool {
	return binary.BigEndian.Uint32(e[format.PageHashSize:]) == crc32.Checksum(page, castagnoli)
}
