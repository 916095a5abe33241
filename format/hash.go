package format

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
)

// A Salt is mixed into every page hash of one chain, so that nobody can prepare colliding pages
// for the 128 bits of hash that are kept.
type Salt [16]byte

// NewSalt returns a random salt.
func NewSalt() Salt {
	var s Salt
	rand.Read(s[:]) // never fails, see its documentation
	return s
}

// A PageHash is the first half of the SHA-256 of a salt and a page.
type PageHash [16]byte

// PageHashSize is the size of a [PageHash] in bytes.
const PageHashSize = 16

// A PageHasher hashes the pages of one chain. It is not safe for concurrent use.
type PageHasher struct {
	salt Salt
	h    hash.Hash
	sum  [sha256.Size]byte
}

// NewPageHasher returns a hasher for pages under salt.
func NewPageHasher(salt Salt) *PageHasher {
	return &PageHasher{salt: salt, h: sha256.New()}
}

// Hash returns the hash of page. It does not allocate.
func (p *PageHasher) Hash(page []byte) PageHash {
	p.h.Reset()
	p.h.Write(p.salt[:])
	p.h.Write(page)
	return PageHash(p.h.Sum(p.sum[:0])[:PageHashSize])
}

// A Root commits to a whole database image: its page size, its page count and every page.
type Root [sha256.Size]byte

// String returns the 64 lower-case hexadecimal digits that [ParseRoot] reads.
func (r Root) String() string { return hex.EncodeToString(r[:]) }

// ParseRoot reads a root in its only spelling.
func ParseRoot(s string) (Root, error) {
	var r Root
	if len(s) != hex.EncodedLen(len(r)) {
		return Root{}, fmt.Errorf("root %q: want %d hexadecimal digits", s, hex.EncodedLen(len(r)))
	}
	if _, err := hex.Decode(r[:], []byte(s)); err != nil || r.String() != s {
		return Root{}, fmt.Errorf("root %q: want lower-case hexadecimal digits", s)
	}
	return r, nil
}

// MarshalText implements [encoding.TextMarshaler].
func (r Root) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Root) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRoot(string(text))
	return err
}

// rootTag keeps a root from being mistaken for any other SHA-256.
const rootTag = "litestash root v1\x00"

// A RootHasher computes a [Root] from page hashes that are written to it in page order.
type RootHasher struct{ h hash.Hash }

// NewRootHasher begins the root of an image of the given page size (0 for an empty database),
// page count and salt.
func NewRootHasher(pageSize int, pages uint32, salt Salt) *RootHasher {
	r := &RootHasher{sha256.New()}
	r.h.Write([]byte(rootTag))
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:4], uint32(pageSize))
	binary.LittleEndian.PutUint32(b[4:], pages)
	r.h.Write(b[:])
	r.h.Write(salt[:])
	return r
}

// Write adds the hashes of the next pages, one after the other. It never fails.
func (r *RootHasher) Write(hashes []byte) (int, error) { return r.h.Write(hashes) }

// Sum returns the root.
func (r *RootHasher) Sum() Root { return Root(r.h.Sum(nil)) }

// Check checks that the hashes make the root want.
func (r *RootHasher) Check(want Root) error {
	if r.Sum() != want {
		return damaged("the page hashes do not make the root")
	}
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (s Salt) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts only what MarshalText returns.
func (s *Salt) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(s)) {
		return fmt.Errorf("salt %q: want %d hexadecimal digits", text, hex.EncodedLen(len(s)))
	}
	var read Salt
	if _, err := hex.Decode(read[:], text); err != nil || hex.EncodeToString(read[:]) != string(text) {
		return fmt.Errorf("salt %q: want lower-case hexadecimal digits", text)
	}
	*s = read
	return nil
}
