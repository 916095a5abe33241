package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestPartSize(t *testing.T) {
	for _, tt := range []struct {
		most, want int64
	}{
		{0, 8 << 20},
		{1, 8 << 20},
		{8 << 20 * maxParts, 8 << 20},
		{8<<20*maxParts + 1, 9 << 20},
		{maxObject, 525 << 20},
	} {
		got, err := partSize(8<<20, tt.most)
		if err != nil || got != tt.want || got*maxParts < tt.most || got > maxPart {
			t.Errorf("partSize(%d) = %d, %v, want %d", tt.most, got, err, tt.want)
		}
	}
	if _, err := partSize(8<<20, maxObject+1); err == nil {
		t.Error("more than S3 holds was accepted")
	}
}

// In the bubble no time passes while a part is filled, only while fill waits for memory.
func TestPartMemory(t *testing.T) { synctest.Test(t, testPartMemory) }

func testPartMemory(t *testing.T) {
	const size = 8 << 20
	pool := newPartPool(size, t.TempDir())
	var parts []*part
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		pt, err := pool.fill(ctx, bytes.NewReader(make([]byte, size)), size, false)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, pt)
	}
	if len(parts)*size != partMemory {
		t.Errorf("%d parts were given out at a time", len(parts))
	}
	for _, pt := range parts {
		if err := pt.release(); err != nil {
			t.Error(err)
		}
	}
	if pt, err := pool.fill(t.Context(), bytes.NewReader(nil), size, false); err != nil {
		t.Errorf("after the release: %v", err)
	} else if err := pt.release(); err != nil {
		t.Error(err)
	}
}

func TestLargePartsAreSpooled(t *testing.T) {
	dir := t.TempDir()
	pool := newPartPool(8<<20, dir)
	const size = spoolOver + 1<<20
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	body := bytes.NewReader(append(data, "rest"...))
	pt, err := pool.fill(t.Context(), body, size, true)
	if err != nil {
		t.Fatal(err)
	}
	if pt.mem != nil || pt.file == nil {
		t.Error("the part is in memory")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the part's file has a name: %v, %v", names, err)
	}
	for range 2 {
		got, err := io.ReadAll(pt.reader())
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	}
	if rest, err := io.ReadAll(body); err != nil || string(rest) != "rest" {
		t.Errorf("left %q, %v", rest, err)
	}
	if err := pt.release(); err != nil {
		t.Error(err)
	}
}
