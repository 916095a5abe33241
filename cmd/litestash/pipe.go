package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

// flush makes sure that what was written to w is on its disk, if w is a file: a disk on the network may say only then
// that it is full.
func flush(w io.Writer) error {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write the database: %w", err)
	}
	return nil
}

// A pipeWriter gives up when its context ends, also in the middle of a write to a pipe that nobody
// empties. It is not written to after that: the write that it left has the bytes.
type pipeWriter struct {
	ctx context.Context
	w   io.Writer
}

func (p *pipeWriter) Write(b []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := p.w.Write(b)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
}
