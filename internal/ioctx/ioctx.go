// Package ioctx ends readers with their context.
package ioctx

import (
	"context"
	"io"
)

// Reader returns a reader of r that ends with ctx.Err() when ctx has ended. It looks before each read, and does not
// interrupt one. What it ended with, it repeats, and does not ask r again.
func Reader(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx: ctx, r: r} }

type reader struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (r *reader) Read(p []byte) (n int, err error) {
	if r.err == nil {
		r.err = r.ctx.Err()
	}
	if r.err == nil {
		n, r.err = r.r.Read(p)
	}
	return n, r.err
}
