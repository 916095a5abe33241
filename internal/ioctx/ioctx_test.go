package ioctx_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/litestash/litestash/internal/ioctx"
)

func TestReader(t *testing.T) {
	if err := iotest.TestReader(ioctx.Reader(t.Context(), strings.NewReader("text")), []byte("text")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := ioctx.Reader(ctx, iotest.OneByteReader(strings.NewReader("text")))
	b := make([]byte, 4)
	if n, err := r.Read(b); n != 1 || err != nil {
		t.Errorf("before the end of the context: %d, %v", n, err)
	}
	cancel()
	for range 2 {
		if n, err := r.Read(b); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("after it: %d, %v", n, err)
		}
	}
}

func TestReaderRepeats(t *testing.T) {
	broken := errors.New("broken")
	r := ioctx.Reader(t.Context(), io.MultiReader(iotest.ErrReader(broken), strings.NewReader("more")))
	for range 2 {
		if n, err := r.Read(make([]byte, 4)); n != 0 || err != broken {
			t.Errorf("%d, %v", n, err)
		}
	}
}
