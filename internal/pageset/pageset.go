// Package pageset has sets of pages of a database, which take one bit a page.
package pageset

import (
	"iter"
	"math/bits"
)

// A Set is a set of pages, numbered from 1. The nil Set is empty and cannot be added to. Pages of different 64s, counted
// from the first page, may be added concurrently.
type Set []uint64

// New returns an empty set for the pages from 1 to pages.
func New(pages uint32) Set { return make(Set, (int64(pages)+63)/64) }

// Add adds n pages from first on.
func (s Set) Add(first uint32, n int) {
	for i := uint64(first - 1); n > 0; i, n = i+1, n-1 {
		s[i/64] |= 1 << (i % 64)
	}
}

// Has reports whether a page is in the set. One that the set was not made for is not.
func (s Set) Has(page uint32) bool {
	i := uint64(page - 1)
	return i/64 < uint64(len(s)) && s[i/64]&(1<<(i%64)) != 0
}

// All yields the pages in ascending order.
func (s Set) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(uint32(i*64+bits.TrailingZeros64(word)) + 1) {
					return
				}
			}
		}
	}
}
