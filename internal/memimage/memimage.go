// Package memimage is a database image in memory, for tests of what is done with images.
package memimage

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/litestash/litestash/format"
)

// An Image is an image whose pages are in memory. Its methods may be called concurrently.
type Image struct {
	*bytes.Reader
	Looks    string // what Look returns
	Followed bool   // it is said not to have been read as a whole
	pageSize int
	data     []byte
	taken    time.Time
	hashes   []format.PageHash
	root     format.Root
}

// New returns an image of data, whole pages of pageSize bytes, that is said to be taken at the
// given time. An empty one has the page size 0.
func New(salt format.Salt, pageSize int, data []byte, taken time.Time) *Image {
	m := &Image{Reader: bytes.NewReader(data), pageSize: pageSize, data: data, taken: taken}
	h := format.NewPageHasher(salt)
	r := format.NewRootHasher(pageSize, m.Pages(), salt)
	for off := 0; off < len(data); off += pageSize {
		hash := h.Hash(data[off : off+pageSize])
		m.hashes = append(m.hashes, hash)
		r.Write(hash[:])
	}
	m.root = r.Sum()
	return m
}

// PageSize returns the size of a page in bytes, or 0 for an empty database.
func (m *Image) PageSize() int { return m.pageSize }

// Pages returns how many pages there are.
func (m *Image) Pages() uint32 { return uint32(len(m.data) / max(m.pageSize, 1)) }

// Taken returns when the image is said to be taken.
func (m *Image) Taken() time.Time { return m.taken }

// Look returns what the source is said to look like.
func (m *Image) Look() string { return m.Looks }

// Whole reports whether the source is said to have been read as a whole.
func (m *Image) Whole() bool { return !m.Followed }

// Root returns the root of the image.
func (m *Image) Root() format.Root { return m.root }

// ReadHashes fills dst with the hashes of the pages from first on.
func (m *Image) ReadHashes(first uint32, dst []format.PageHash) error {
	copy(dst, m.hashes[first-1:])
	return nil
}

// Text returns pages that all differ and of which some compress well and some do not.
func Text(seed uint64, pageSize, pages int) []byte {
	b := Noise(seed, pageSize, pages)
	r := rand.New(rand.NewPCG(seed, 1))
	for page := range pages {
		p := b[page*pageSize:][:pageSize]
		clear(p[8+r.IntN(pageSize-7):])
	}
	return b
}

// Noise returns pages that do not compress.
func Noise(seed uint64, pageSize, pages int) []byte {
	b := make([]byte, pageSize*pages)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(b)
	return b
}
