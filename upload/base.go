package upload

import (
	"errors"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
)

// A Base has the pages that a delta leaves out: those of the snapshot that was the first of its span. It also knows
// what the newest snapshot holds, by what is remembered. It is a base as the package snapshot wants it, where its
// methods are told of; they may be called concurrently.
type Base struct {
	m     *state.Memory
	facts *state.Facts // as they were when the push was planned
	since state.Span
	look  string // of the newest snapshot; empty if all pages are to be read
}

var errMemory = errors.New("what is remembered has changed since the push began: another one has used the memory")

// Same says which pages need not be kept.
func (b *Base) Same(first uint32, hashes []format.PageHash, same []bool) error {
	if b.m.Facts() != b.facts {
		return errMemory
	}
	if err := b.m.Same(b.since, first, hashes, same); err != nil {
		clear(same) // whatever has changed is carried; runs checks the memory and will tell
	}
	return nil
}

// Since says what the source looked like at the instant of the newest snapshot, and how many pages that has.
func (b *Base) Since() (look string, pages uint32) { return b.look, b.facts.Pages }

// Newest says what the newest snapshot holds.
func (b *Base) Newest(first uint32, hashes []format.PageHash, same []bool) error {
	if b.m.Facts() != b.facts {
		return errMemory
	}
	return b.m.Hashes(b.since, first, hashes, same)
}
