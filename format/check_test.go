package format_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
)

func TestFrameChecker(t *testing.T) {
	m := newImage(4096, 300) // a whole frame, and one that is not
	object := build(t, testIndex(), m, allPages(m.pages()))
	tail, err := readTail(object)
	if err != nil {
		t.Fatal(err)
	}
	hashes := hashesOf(m, testSalt)
	c := format.NewFrameChecker(testSalt)
	defer c.Close()
	for i, s := range tail.Data {
		frame := object[s.Off:s.End()]
		pages, err := c.Pages(tail, i, frame, format.Checksum(frame))
		if at := i * format.FrameSize; err != nil || !bytes.Equal(pages, m.data[at:at+tail.FrameLen(i)]) {
			t.Errorf("frame %d: %d bytes: %v", i, len(pages), err)
		}
		first := i * (format.FrameSize / m.pageSize)
		if page := pages[:m.pageSize]; !c.Matches(page, hashes[first]) || c.Matches(page, hashes[first+1]) {
			t.Errorf("frame %d: its first page is taken for another", i)
		}
	}
	first, last := tail.Data[0], tail.Data[1]
	frame := object[first.Off:first.End()]
	if _, err := c.Pages(tail, 0, frame, format.Checksum(frame)+1); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("a frame with another checksum: %v", err)
	}
	frame = object[last.Off:last.End()]
	if _, err := c.Pages(tail, 0, frame, format.Checksum(frame)); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("a frame of another length: %v", err)
	}
}

func TestFrameCheckerDoesNotAllocate(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	m := newImage(4096, 256)
	object := build(t, testIndex(), m, allPages(m.pages()))
	tail, err := readTail(object)
	if err != nil {
		t.Fatal(err)
	}
	frame := object[tail.Data[0].Off:tail.Data[0].End()]
	sum, h := format.Checksum(frame), hashesOf(m, testSalt)[0]
	c := format.NewFrameChecker(testSalt)
	defer c.Close()
	n := testing.AllocsPerRun(20, func() {
		pages, err := c.Pages(tail, 0, frame, sum)
		if err != nil || !c.Matches(pages[:m.pageSize], h) {
			t.Errorf("a frame that is whole: %v", err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func TestCheckHeader(t *testing.T) {
	m := newImage(4096, 1)
	object := build(t, testIndex(), m, allPages(1))
	other := testIndex()
	other.Snapshot.ID++
	another := build(t, other, m, allPages(1))
	tail, err := readTail(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.CheckHeader(object[:tail.Header.End()]); err != nil {
		t.Error(err)
	}
	if err := tail.CheckHeader(another[:tail.Header.End()]); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("the header of another object: %v", err)
	}
	if err := tail.CheckHeader(object[:8]); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("no header: %v", err)
	}
}
