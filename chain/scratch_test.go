package chain

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestScratch writes and reads at random, until all is in a file and on.
func TestScratch(t *testing.T) {
	s := newScratch(t.TempDir())
	s.most = 1 << 8
	defer s.Close()
	var want []byte
	check := func(off, n int) {
		t.Helper()
		got := make([]byte, n)
		read, err := s.ReadAt(got, int64(off))
		there := want[min(off, len(want)):min(off+n, len(want))]
		if !bytes.Equal(got[:read], there) || (err != nil) != (len(there) < n) || err != nil && err != io.EOF {
			t.Fatalf("%d bytes at %d of %d: %d bytes, %v", n, off, len(want), read, err)
		}
	}
	for range 3000 {
		b := make([]byte, 1+rand.IntN(40))
		for i := range b {
			b[i] = byte(rand.Int())
		}
		off := rand.IntN(len(want) + 20)
		if n, err := s.WriteAt(b, int64(off)); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
		if more := off + len(b) - len(want); more > 0 {
			want = append(want, make([]byte, more)...)
		}
		copy(want[off:], b)
		check(rand.IntN(len(want)+10), rand.IntN(60))
		if inFile := len(want) > 1<<8; inFile != (s.file != nil) {
			t.Fatalf("with %d bytes it is in a file: %v", len(want), s.file != nil)
		}
	}
	check(0, len(want))
	if s.file == nil {
		t.Error("nothing went to a file")
	}
}

// TestScratchFull cannot make its file.
func TestScratchFull(t *testing.T) {
	s := newScratch(filepath.Join(t.TempDir(), "missing"))
	s.most = 10
	if _, err := s.WriteAt(make([]byte, 10), 0); err != nil {
		t.Error(err)
	}
	if _, err := s.WriteAt(make([]byte, 10), 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want that there is no directory", err)
	}
}
