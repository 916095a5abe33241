package main

import (
	"context"
	"io"
)

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
