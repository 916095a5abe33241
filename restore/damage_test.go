package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// A region is a part of an object.
type region struct {
	name string
	format.Span
}

// regionsOf returns the parts of the object that t describes; they leave no byte out.
func regionsOf(t *testing.T, tail *format.Tail, size int64) []region {
	t.Helper()
	rs := []region{{"header", tail.Header}}
	for i, s := range tail.Data {
		rs = append(rs, region{fmt.Sprintf("data frame %d", i), s})
	}
	for i, s := range tail.Segments {
		rs = append(rs, region{fmt.Sprintf("segment %d", i), s})
	}
	frames := int64(len(rs) + 1)
	seek := 8 + 8*frames + 9 // FORMAT.md, "Seek table"
	end := rs[len(rs)-1].End()
	rs = append(rs, region{"index", format.Span{Off: end, Len: size - seek - end}},
		region{"seek table", format.Span{Off: size - seek, Len: seek}})
	var at int64
	for _, r := range rs {
		if r.Off != at || r.Len <= 0 {
			t.Fatalf("%s lies at %d+%d, the one before ends at %d", r.name, r.Off, r.Len, at)
		}
		at = r.End()
	}
	if at != size {
		t.Fatalf("the regions end at %d of %d", at, size)
	}
	return rs
}

// hasVersion reports whether byte at of the object is one of a version number.
func hasVersion(rs []region, at int64) bool {
	for _, r := range rs {
		if r.name == "header" || r.name == "index" {
			if version := r.Off + 8 + 8; at >= version && at < version+4 {
				return true
			}
		}
	}
	return false
}

// damages are what can happen to a byte of a file.
var damages = []struct {
	name string
	to   func(object []byte, at int) []byte
}{
	{"a flipped bit", func(object []byte, at int) []byte {
		object[at] ^= 1 << (at % 8)
		return object
	}},
	{"a lost byte", func(object []byte, at int) []byte { return slices.Delete(object, at, at+1) }},
	{"the end cut off", func(object []byte, at int) []byte { return object[:at] }},
}

// TestDamage damages objects in every region and in every way.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name     string
		pageSize int
		data     []byte
		samples  int  // bytes of a region, chosen by chance; 0 is all
		turns    bool // one way for each flipped bit, rather than all
	}{
		{"empty", 0, nil, 0, true},
		{"small", 512, memimage.Text(1, 512, 2), 0, false},
		{"three frames", 4096, memimage.Text(2, 4096, 600), 15, true},
		{"two segments", 512, append(make([]byte, 512*(1<<16-20)), memimage.Text(3, 512, 25)...), 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if (testing.Short() || race.Enabled) && c.samples == 1 {
				t.Skip("it takes long")
			}
			damageEverywhere(t, pushNew(t, c.pageSize, c.data), c.samples, c.turns || race.Enabled)
		})
	}
}

func damageEverywhere(t *testing.T, p *pushed, samples int, turns bool) {
	tail, err := catalog.ReadTail(t.Context(), p.st, p.snap, nil)
	if err != nil {
		t.Fatal(err)
	}
	rs := regionsOf(t, tail, p.snap.Object.Size)
	object := readObject(t, p)
	dir := t.TempDir()
	turn := 0
	for i, r := range rs {
		if samples == 1 && i > 2 && i < len(tail.Data)-1 && i%8 != 0 {
			continue // a data frame among many
		}
		for _, at := range offsets(r.Span, samples) {
			for _, d := range damages {
				snap := writeObject(t, p, d.to(slices.Clone(object), at))
				try := ways
				if turns || d.name != damages[0].name { // what makes an object shorter is seen by its size
					turn++
					try = ways[turn%len(ways):][:1]
				}
				for _, w := range try {
					err := w.run(t, t.Context(), p.st, snap, dir, p.data)
					if err == nil && r.name == "header" && w.name != "verify" && w.name != "rebuild" {
						continue // of which a restore makes nothing
					}
					_, version := errors.AsType[*format.VersionError](err)
					if !errors.Is(err, format.ErrDamaged) && !(version && hasVersion(rs, int64(at))) {
						t.Errorf("%s, %s at %d: %s: %v", r.name, d.name, at, w.name, err)
					}
				}
			}
		}
	}
	snap := writeObject(t, p, object)
	for _, w := range ways {
		if err := w.run(t, t.Context(), p.st, snap, dir, p.data); err != nil {
			t.Errorf("the object as it was: %s: %v", w.name, err)
		}
	}
}

// offsets returns the first and the last byte of s and some between, or all if n is 0.
func offsets(s format.Span, n int) []int {
	var at []int
	if n == 0 {
		for i := range s.Len {
			at = append(at, int(s.Off+i))
		}
		return at
	}
	r := rand.New(rand.NewPCG(uint64(s.Off), uint64(s.Len)))
	for range n {
		at = append(at, int(s.Off+r.Int64N(s.Len)))
	}
	return append(at, int(s.Off), int(s.End())-1)
}

// fileOf returns the path of the object in its store's directory.
func fileOf(p *pushed) string {
	return filepath.Join(p.st.(*store.Dir).String(), p.snap.Object.Key)
}

func readObject(t *testing.T, p *pushed) []byte {
	t.Helper()
	b, err := os.ReadFile(fileOf(p))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeObject writes into the object's file, and returns what a listing says of it now.
func writeObject(t *testing.T, p *pushed, b []byte) catalog.Snapshot {
	t.Helper()
	if err := os.Chmod(fileOf(p), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fileOf(p), b, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := catalog.List(t.Context(), p.st, p.snap.Database)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d snapshots, %v", len(found), err)
	}
	return found[0]
}

// TestSwapped puts a sound object in the place of another.
func TestSwapped(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	a := push(t, st, "a.db", 512, memimage.Text(1, 512, 3))
	b := push(t, st, "b.db", 512, memimage.Text(2, 512, 3))
	pa := &pushed{st: st, snap: a.Snapshot}
	snap := writeObject(t, pa, readObject(t, &pushed{st: st, snap: b.Snapshot}))
	for _, w := range ways {
		if err := w.run(t, t.Context(), st, snap, t.TempDir(), nil); !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%s: %v", w.name, err)
		}
	}
}

// A flaky store damages one byte on its way, some times.
type flaky struct {
	store.Store
	at    int64
	mu    sync.Mutex
	times int
}

func (f *flaky) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	r, err := f.Store.Open(ctx, o, off, n)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{readerFunc(func(b []byte) (int, error) {
		n, err := r.Read(b)
		f.mu.Lock()
		defer f.mu.Unlock()
		if i := f.at - off; f.times > 0 && i >= 0 && i < int64(n) {
			f.times--
			b[i] ^= 4
		}
		off += int64(n)
		return n, err
	}), r}, nil
}

// TestDamagedOnTheWay reads objects of which a byte is damaged once on its way, and once too often.
func TestDamagedOnTheWay(t *testing.T) {
	for _, p := range []*pushed{
		pushNew(t, 512, memimage.Text(4, 512, 9)),
		pushNew(t, 4096, memimage.Text(4, 4096, 600)),
	} {
		tail, err := catalog.ReadTail(t.Context(), p.st, p.snap, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range regionsOf(t, tail, p.snap.Object.Size) {
			for _, at := range offsets(r.Span, 1) {
				var log strings.Builder
				opts := restore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
				var out bytes.Buffer
				if _, err := restore.Stream(t.Context(), &flaky{Store: p.st, at: int64(at), times: 1}, p.snap, &out, opts); err != nil {
					_, version := errors.AsType[*format.VersionError](err)
					if !version {
						t.Errorf("%s, damaged once at %d: %v", r.name, at, err)
					}
					continue
				}
				if !bytes.Equal(out.Bytes(), p.data) {
					t.Errorf("%s, damaged once at %d: the database differs", r.name, at)
				}
				// The end is read for the index; a data frame in it may be read once more anyway. The header is not read.
				unseen := strings.HasPrefix(r.name, "data") && int64(at) >= p.snap.Object.Size-format.FirstTail || r.name == "header"
				if n := strings.Count(log.String(), "level=WARN"); n > 1 || n == 0 && !unseen {
					t.Errorf("%s, damaged once at %d: %d warnings: %s", r.name, at, n, log.String())
				}
				if _, err := restore.Verify(t.Context(), &flaky{Store: p.st, at: int64(at), times: 100}, p.snap, restore.Options{}); !errors.Is(err, format.ErrDamaged) {
					t.Errorf("%s, damaged always at %d: %v", r.name, at, err)
				}
			}
		}
	}
}

// TestEveryFrameDamagedOnce damages one byte of each frame once.
func TestEveryFrameDamagedOnce(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(5, 4096, 2000))
	tail, err := catalog.ReadTail(t.Context(), p.st, p.snap, nil)
	if err != nil {
		t.Fatal(err)
	}
	st := p.st
	for _, s := range tail.Data {
		st = &flaky{Store: st, at: s.Off + s.Len/2, times: 1}
	}
	if err := streamWay(t, t.Context(), st, p.snap, t.TempDir(), p.data); err != nil {
		t.Error(err)
	}
}
