package format

import "fmt"

// CheckHeader checks that an object says the same about itself in the header frame at its start as in t.
func (t *Tail) CheckHeader(frame []byte) error {
	h, err := ParseHeader(frame)
	if err != nil {
		return err
	}
	if *h != t.Index.Header {
		return damaged("header and index disagree")
	}
	return nil
}

// A FrameChecker checks the data frames of the objects of one chain, and the pages in them, one frame after the
// other. It makes its buffers once, and is not safe for concurrent use.
type FrameChecker struct {
	dec    *Decompressor
	hasher *PageHasher
	pages  []byte
}

// NewFrameChecker returns a checker of what is hashed under salt. Close releases it.
func NewFrameChecker(salt Salt) *FrameChecker {
	return &FrameChecker{dec: NewDecompressor(), hasher: NewPageHasher(salt), pages: make([]byte, FrameSize)}
}

// Close releases the checker.
func (c *FrameChecker) Close() { c.dec.Close() }

// Pages returns the pages in data frame i of t, which is stored as frame and must have the checksum sum. It
// trusts no page: whoever wants one asks [FrameChecker.Matches]. They are valid until the next call.
func (c *FrameChecker) Pages(t *Tail, i int, frame []byte, sum uint32) ([]byte, error) {
	if Checksum(frame) != sum {
		return nil, damaged("checksum of data frame %d", i)
	}
	pages := c.pages[:t.FrameLen(i)]
	if err := c.dec.Decompress(pages, frame); err != nil {
		return nil, fmt.Errorf("data frame %d: %w", i, err)
	}
	return pages, nil
}

// Matches reports whether page is the one that has the hash h.
func (c *FrameChecker) Matches(page []byte, h PageHash) bool { return c.hasher.Hash(page) == h }
