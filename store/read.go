package store

import (
	"context"
	"io"
)

// ReadRange reads n bytes of o from off on, as [Store.Open] does: few enough for memory.
func ReadRange(ctx context.Context, st Store, o Object, off, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	r, err := st.Open(ctx, o, off, n)
	if err != nil {
		return nil, err
	}
	return ReadBody(r, n)
}

// ReadBody reads the n bytes that a body has, and closes it. One that has fewer is an [io.ErrUnexpectedEOF].
func ReadBody(r io.ReadCloser, n int64) ([]byte, error) {
	defer r.Close()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}
