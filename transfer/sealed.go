package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/litestash/litestash/seal"
)

// comparedAt is how many bytes at the end of encrypted objects are compared.
const comparedAt = 64 << 10

// bringSealed copies an encrypted snapshot that no identity opens, or compares it with what is there. Nothing can
// be seen of it but what [seal.Examine] sees.
func (t *transfer) bringSealed(ctx context.Context, s *step) error {
	if s.there != nil {
		return t.compare(ctx, s, comparedAt)
	}
	if err := seal.Examine(ctx, t.from, s.Object); err != nil {
		return err
	}
	return t.create(ctx, s, io.NopCloser)
}

// A sealedChecker lets the stored bytes of an encrypted object through, and its end only if what they hold was
// found right: without its end nothing is stored. It is not for concurrent use.
type sealedChecker struct {
	stored  io.Reader
	pipe    *io.PipeWriter // to what checks
	checked chan struct{}  // closed when that has ended
	found   error          // what it found, once checked is closed
	err     error          // that all reads return from now on
}

var errClosed = errors.New("it is not read to its end")

// newSealedChecker returns what lets stored through. check returns what checks the text that it holds.
func newSealedChecker(object *seal.Object, stored io.Reader, check func(text io.Reader) io.ReadCloser) *sealedChecker {
	read, write := io.Pipe()
	c := &sealedChecker{stored: stored, pipe: write, checked: make(chan struct{})}
	go func() { // until the pipe ends, which Read or Close sees to
		defer close(c.checked)
		c.found = checkText(object, read, check)
		read.CloseWithError(c.found) // nil if all was read
	}()
	return c
}

// checkText reads all that stored bytes hold, and returns what is wrong with it.
func checkText(object *seal.Object, stored io.Reader, check func(text io.Reader) io.ReadCloser) error {
	text, err := object.Decrypt(stored)
	if err != nil {
		return err
	}
	checked := check(text)
	defer checked.Close()
	if _, err := io.Copy(io.Discard, checked); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, text) // nothing more, and its end
	return err
}

func (c *sealedChecker) Read(p []byte) (n int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err = c.stored.Read(p)
	if n > 0 {
		if _, c.err = c.pipe.Write(p[:n]); c.err != nil { // what was found wrong
			return 0, c.err
		}
	}
	if err == io.EOF {
		c.pipe.Close()
		if <-c.checked; c.found != nil {
			n, err = 0, c.found
		}
	}
	c.err = err
	return n, err
}

// Close ends the check and waits for that.
func (c *sealedChecker) Close() error {
	c.pipe.CloseWithError(errClosed)
	<-c.checked
	return nil
}
