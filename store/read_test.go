package store_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

func TestReadRange(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	o := storetest.Put(t, st, "key", []byte("0123456789"))
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, 10, "0123456789"}, {3, 4, "3456"}, {9, 1, "9"}, {4, 0, ""}} {
		got, err := store.ReadRange(t.Context(), st, o, c.off, c.n)
		if err != nil || string(got) != c.want {
			t.Errorf("%d bytes at %d: got %q, %v", c.n, c.off, got, err)
		}
	}
	if _, err := store.ReadRange(t.Context(), st, o, 8, 3); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("more than there is: %v", err)
	}
}

func TestReadBody(t *testing.T) {
	for _, body := range []string{"", "01"} {
		r := &closing{Reader: strings.NewReader(body)}
		if _, err := store.ReadBody(r, 3); !errors.Is(err, io.ErrUnexpectedEOF) || !r.closed {
			t.Errorf("3 bytes of %q: %v, closed: %v", body, err, r.closed)
		}
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}
