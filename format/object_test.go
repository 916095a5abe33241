package format_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
)

var (
	testSalt = format.Salt{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	testName = mustName("20261122T073500.004Z-7q3dk29f0a1bc")
)

func mustName(s string) format.Name {
	n, err := format.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

// An image is a database's bytes and how long its pages are.
type image struct {
	pageSize int
	data     []byte
}

func (m image) pages() uint32 {
	if m.pageSize == 0 {
		return 0
	}
	return uint32(len(m.data) / m.pageSize)
}

func (m image) page(n uint32) []byte {
	return m.data[int64(n-1)*int64(m.pageSize):][:m.pageSize]
}

func (m image) clone() image { return image{m.pageSize, slices.Clone(m.data)} }

// newImage returns pages that all differ and compress like text.
func newImage(pageSize int, pages int) image {
	m := image{pageSize, make([]byte, pageSize*pages)}
	for n := range m.pages() {
		fill(m.page(n+1), uint64(n))
	}
	if pages == 0 {
		m.pageSize = 0
	}
	return m
}

func fill(page []byte, seed uint64) {
	const words = "select from where insert into values update "
	for i := 0; i < len(page); i += copy(page[i:], words) {
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < len(page); i += 128 {
		binary.LittleEndian.PutUint64(page[i:], r.Uint64())
	}
}

// allPages returns the numbers 1 to n.
func allPages(n uint32) []uint32 {
	pages := make([]uint32, n)
	for i := range pages {
		pages[i] = uint32(i) + 1
	}
	return pages
}

func hashesOf(m image, salt format.Salt) []format.PageHash {
	h := format.NewPageHasher(salt)
	hashes := make([]format.PageHash, m.pages())
	for i := range hashes {
		hashes[i] = h.Hash(m.page(uint32(i) + 1))
	}
	return hashes
}

func rootOf(m image, salt format.Salt, hashes []format.PageHash) format.Root {
	r := format.NewRootHasher(m.pageSize, m.pages(), salt)
	for _, h := range hashes {
		r.Write(h[:])
	}
	return r.Sum()
}

// build fills in what follows from the image and returns the object that carries the given pages.
func build(t testing.TB, x *format.Index, m image, pages []uint32) []byte {
	t.Helper()
	x.PageSize, x.Pages, x.Carried = m.pageSize, m.pages(), uint32(len(pages))
	hashes := hashesOf(m, x.Salt)
	x.Root = rootOf(m, x.Salt, hashes)
	var b bytes.Buffer
	w, err := format.NewWriter(&b, x)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeAll(w, m, hashes, pages); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(b.Len()) {
		t.Fatalf("the writer counted %d bytes of %d", w.Size(), b.Len())
	}
	return b.Bytes()
}

func writeAll(w *format.Writer, m image, all []format.PageHash, pages []uint32) error {
	c := format.NewCompressor()
	if m.pageSize > 0 {
		for piece := range slices.Chunk(pages, format.FrameSize/m.pageSize) {
			var content []byte
			for _, n := range piece {
				content = append(content, m.page(n)...)
			}
			if err := w.Frame(c.Compress(nil, content), len(content)); err != nil {
				return err
			}
		}
	}
	for covered := range slices.Chunk(pages, format.SegmentPages) {
		var hashes []format.PageHash
		for _, n := range covered {
			hashes = append(hashes, all[n-1])
		}
		if err := w.Segment(runsOf(covered), hashes); err != nil {
			return err
		}
	}
	return w.Close()
}

func runsOf(pages []uint32) []format.Run {
	var runs []format.Run
	for _, n := range pages {
		if last := len(runs) - 1; last >= 0 && runs[last].First+runs[last].Count == n {
			runs[last].Count++
		} else {
			runs = append(runs, format.Run{First: n, Count: 1})
		}
	}
	return runs
}

func testIndex() *format.Index {
	return &format.Index{
		Header:  format.Header{Database: "tenants/42/app.db", Snapshot: testName},
		Salt:    testSalt,
		Source:  format.Source{Host: "db1", Path: "/srv/app.db"},
		Creator: "litestash test",
	}
}

// A chain is a database's snapshots, each built on the one before.
type chain struct {
	keys    []format.Key
	indexes []*format.Index
	images  []image
	objects map[string][]byte // by the last part of the key
}

// newChain makes a full of the first image and a delta of each further one.
func newChain(t testing.TB, images ...image) *chain {
	return newChainOf(t, testIndex().Database, images...)
}

func newChainOf(t testing.TB, database string, images ...image) *chain {
	c := &chain{images: images, objects: make(map[string][]byte)}
	for i, m := range images {
		x := testIndex()
		x.Database = database
		x.Snapshot.Time += format.Time(i)
		x.Snapshot.ID += format.ID(i)
		k := format.FullKey(x.Database, x.Snapshot)
		pages := allPages(m.pages())
		if i > 0 {
			parent := c.indexes[i-1]
			x.Parent, x.ParentRoot = parent.Snapshot, &parent.Root
			for _, k := range c.keys {
				x.Chain = append(x.Chain, format.Link{Key: k.Base(), Size: int64(len(c.objects[k.Base()]))})
			}
			k.Kind, k.Parent, k.HasParent = format.Delta, x.Parent.ID, true
			pages = changed(images[i-1], m)
		}
		c.objects[k.Base()] = build(t, x, m, pages)
		c.keys, c.indexes = append(c.keys, k), append(c.indexes, x)
	}
	return c
}

func linkKeys(links []format.Link) []string {
	var keys []string
	for _, l := range links {
		keys = append(keys, l.Key)
	}
	return keys
}

func changed(old, m image) []uint32 {
	return slices.DeleteFunc(allPages(m.pages()), func(n uint32) bool {
		return n <= old.pages() && bytes.Equal(old.page(n), m.page(n))
	})
}

// last returns the newest snapshot's key.
func (c *chain) last() format.Key { return c.keys[len(c.keys)-1] }

// store lays the objects out as a directory store and returns the path of the newest.
func (c *chain) store(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for _, k := range c.keys {
		path := filepath.Join(root, filepath.FromSlash(k.String()))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, c.objects[k.Base()], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, filepath.FromSlash(c.last().String()))
}

// changeSome returns a copy of m with pages that begin to differ at every step'th.
func changeSome(m image, step, length int) image {
	m = m.clone()
	for i := 0; i < int(m.pages()); i++ {
		if i%step < length {
			fill(m.page(uint32(i)+1), uint64(i)+1e9)
		}
	}
	return m
}

// resize returns a copy of m with another number of pages.
func resize(m image, pages int) image {
	n := newImage(m.pageSize, pages)
	copy(n.data, m.data)
	return n
}

// readTail reads an object's tail with as many bytes as ParseTail asks for, beginning with none.
func readTail(object []byte) (*format.Tail, error) {
	size := int64(len(object))
	for have := int64(0); ; {
		tail, need, err := format.ParseTail(object[size-have:], size)
		if err != nil {
			return nil, err
		}
		if need == 0 {
			return tail, nil
		}
		if need <= have || need > size {
			return nil, fmt.Errorf("ParseTail has %d bytes of %d and needs %d", have, size, need)
		}
		have = need
	}
}

// read restores a snapshot as FORMAT.md says.
func read(objects map[string][]byte, k format.Key) (image, error) {
	tail, err := readTail(objects[k.Base()])
	if err != nil {
		return image{}, err
	}
	var m image
	var hashes []format.PageHash
	var parent *format.Index
	for i, base := range append(linkKeys(tail.Index.Chain), k.Base()) {
		object := objects[base]
		tail, err := readTail(object)
		if err != nil {
			return image{}, err
		}
		x := tail.Index
		of, ok := format.ParseKey(k.Database + "/" + base)
		if !ok || x.Database != of.Database || x.Snapshot != of.Name || x.Kind() != of.Kind || x.Parent.ID != of.Parent {
			return image{}, fmt.Errorf("%s is of another snapshot: %w", base, format.ErrDamaged)
		}
		if i > 0 && (!slices.Equal(x.Chain, tail.Index.Chain[:i]) || x.Parent != parent.Snapshot ||
			*x.ParentRoot != parent.Root || x.Salt != parent.Salt || x.PageSize != parent.PageSize) {
			return image{}, fmt.Errorf("%s does not build on its parent: %w", base, format.ErrDamaged)
		}
		header, err := format.ParseHeader(object[tail.Header.Off:tail.Header.End()])
		if err != nil {
			return image{}, err
		}
		if *header != x.Header {
			return image{}, fmt.Errorf("header and index differ: %w", format.ErrDamaged)
		}
		m.pageSize = x.PageSize
		hashes = hashes[:min(len(hashes), int(x.Pages))]
		m.data = m.data[:min(len(m.data), int(x.Size()))]
		if hashes, err = apply(&m, hashes, object, tail); err != nil {
			return image{}, err
		}
		parent = x
	}
	r := format.NewRootHasher(parent.PageSize, parent.Pages, parent.Salt)
	for _, h := range hashes {
		r.Write(h[:])
	}
	if r.Sum() != parent.Root {
		return image{}, fmt.Errorf("root: %w", format.ErrDamaged)
	}
	return m, nil
}

// dec is shared, because making one costs more than reading a small object.
var dec = format.NewDecompressor()

// apply puts what one object carries into m and hashes.
func apply(m *image, hashes []format.PageHash, object []byte, tail *format.Tail) ([]format.PageHash, error) {
	hasher := format.NewPageHasher(tail.Index.Salt)
	last, done := uint32(0), 0 // the last page and how many frames so far
	for i, span := range tail.Segments {
		s, err := format.ParseSegment(object[span.Off:span.End()], tail, i)
		if err != nil {
			return nil, err
		}
		if s.Runs[0].First <= last {
			return nil, fmt.Errorf("segment %d does not ascend: %w", i, format.ErrDamaged)
		}
		var numbers []uint32
		for _, r := range s.Runs {
			for n := range r.Count {
				numbers = append(numbers, r.First+n)
			}
		}
		last = numbers[len(numbers)-1]
		for _, sum := range s.Frames {
			f := done
			done++
			frame := object[tail.Data[f].Off:tail.Data[f].End()]
			if format.Checksum(frame) != sum {
				return nil, fmt.Errorf("data frame %d: %w", f, format.ErrDamaged)
			}
			content := make([]byte, tail.FrameLen(f))
			if err := dec.Decompress(content, frame); err != nil {
				return nil, err
			}
			for page := range slices.Chunk(content, m.pageSize) {
				n, want := numbers[0], s.Hashes[0]
				numbers, s.Hashes = numbers[1:], s.Hashes[1:]
				if hasher.Hash(page) != want {
					return nil, fmt.Errorf("page %d: %w", n, format.ErrDamaged)
				}
				switch at := int(n) - 1; {
				case at < len(hashes):
					hashes[at] = want
					copy(m.page(n), page)
				case at == len(hashes):
					hashes = append(hashes, want)
					m.data = append(m.data, page...)
				default:
					return nil, fmt.Errorf("page %d is in no object: %w", len(hashes)+1, format.ErrDamaged)
				}
			}
		}
	}
	if len(hashes) != int(tail.Index.Pages) {
		return nil, fmt.Errorf("page %d is in no object: %w", len(hashes)+1, format.ErrDamaged)
	}
	return hashes, nil
}

// stockZstd runs the stock tool on an object.
func stockZstd(t testing.TB, object []byte, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "object.zst")
	if err := os.WriteFile(path, object, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("zstd", append(args, path)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("zstd %v: %v\n%s", args, err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func checkFull(t *testing.T, m image) {
	t.Helper()
	c := newChain(t, m)
	object := c.objects[c.last().Base()]
	checkRead(t, c)
	if got := stockZstd(t, object, "-dc"); !bytes.Equal(got, m.data) {
		t.Errorf("zstd -d gives %d bytes that are not the image's %d", len(got), len(m.data))
	}
	stockZstd(t, object, "-tq")
	stockZstd(t, object, "-l")
}

func checkRead(t *testing.T, c *chain) {
	t.Helper()
	got, err := read(c.objects, c.last())
	if err != nil {
		t.Fatal(err)
	}
	want := c.images[len(c.images)-1]
	if got.pageSize != want.pageSize || !bytes.Equal(got.data, want.data) {
		t.Errorf("read %d bytes of pages of %d that are not the image", len(got.data), got.pageSize)
	}
}

func TestFull(t *testing.T) {
	t.Run("empty", func(t *testing.T) { checkFull(t, image{}) })
	for size := 512; size <= 65536; size *= 2 {
		frame := format.FrameSize / size
		for _, e := range []struct {
			name  string
			pages int
		}{
			{"page", 1}, {"frame-1", frame - 1}, {"frame", frame}, {"frame+1", frame + 1},
		} {
			t.Run(fmt.Sprintf("%d/%s", size, e.name), func(t *testing.T) { checkFull(t, newImage(size, e.pages)) })
		}
	}
}

func TestFullSegments(t *testing.T) {
	for name, pages := range map[string]int{
		"segment-1": format.SegmentPages - 1, "segment": format.SegmentPages, "segment+1": format.SegmentPages + 1,
	} {
		t.Run(name, func(t *testing.T) { checkFull(t, newImage(512, pages)) })
	}
}

func TestDelta(t *testing.T) {
	for size := 512; size <= 65536; size *= 2 {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			full := newImage(size, 40)
			scattered := changeSome(full, 7, 3)
			grown := resize(scattered, 50)
			shrunk := resize(changeSome(grown, 11, 1), 20)
			// Pages 21 to 30 come back: as they were in the full, but the delta before has
			// dropped them.
			regrown := image{size, slices.Concat(shrunk.data, full.data[20*size:30*size])}
			images := []image{full, scattered, scattered, grown, shrunk, regrown}
			for n := range images {
				checkRead(t, newChain(t, images[:n+1]...))
			}
		})
	}
}

// The deltas carry a page less than a segment, a segment, and a page more.
func TestDeltaSegments(t *testing.T) {
	images := []image{newImage(512, format.SegmentPages+format.SegmentPages/8)}
	for i, carried := range []int{format.SegmentPages - 1, format.SegmentPages, format.SegmentPages + 1} {
		m := images[i].clone()
		for n, left := uint32(1), carried; left > 0; n++ {
			if n%10 != uint32(i) {
				fill(m.page(n), uint64(n)+uint64(i+1)<<32)
				left--
			}
		}
		if got := len(changed(images[i], m)); got != carried {
			t.Fatalf("%d pages changed, want %d", got, carried)
		}
		images = append(images, m)
	}
	c := newChain(t, images...)
	for i, want := range []int{2, 1, 1, 2} {
		tail, err := readTail(c.objects[c.keys[i].Base()])
		if err != nil {
			t.Fatal(err)
		}
		if len(tail.Segments) != want {
			t.Errorf("object %d has %d segments, want %d", i, len(tail.Segments), want)
		}
	}
	checkRead(t, c)
}

func TestFrameThatDoesNotCompress(t *testing.T) {
	m := image{65536, make([]byte, format.FrameSize)}
	rand.NewChaCha8([32]byte{7}).Read(m.data)
	frame := format.NewCompressor().Compress(nil, m.data)
	if len(frame) <= len(m.data) || len(frame) > format.MaxFrame {
		t.Errorf("random pages make a frame of %d bytes; at most %d are allowed for", len(frame), format.MaxFrame)
	}
	checkFull(t, m)
}

// The writer refuses what the reader would.
func TestWriterRefuses(t *testing.T) {
	m := newImage(4096, 300)
	hashes := hashesOf(m, testSalt)
	c := format.NewCompressor()
	first, second := c.Compress(nil, m.data[:format.FrameSize]), c.Compress(nil, m.data[format.FrameSize:])
	rest := len(m.data) - format.FrameSize
	frames := func(w *format.Writer) error {
		return errors.Join(w.Frame(first, format.FrameSize), w.Frame(second, rest))
	}
	all := []format.Run{{First: 1, Count: 300}}
	for name, write := range map[string]func(x *format.Index, w *format.Writer) error{
		"a short frame":  func(_ *format.Index, w *format.Writer) error { return w.Frame(second, rest) },
		"an empty frame": func(_ *format.Index, w *format.Writer) error { return w.Frame(nil, 0) },
		"a frame too large": func(_ *format.Index, w *format.Writer) error {
			return w.Frame(make([]byte, format.MaxFrame+1), format.FrameSize)
		},
		"a frame too many": func(_ *format.Index, w *format.Writer) error { return errors.Join(frames(w), w.Frame(second, rest)) },
		"no frames":        func(_ *format.Index, w *format.Writer) error { return w.Segment(all, hashes) },
		"no segment":       func(_ *format.Index, w *format.Writer) error { return errors.Join(frames(w), w.Close()) },
		"a short segment": func(_ *format.Index, w *format.Writer) error {
			return errors.Join(frames(w), w.Segment(all, hashes[1:]))
		},
		"runs that do not fit": func(_ *format.Index, w *format.Writer) error {
			return errors.Join(frames(w), w.Segment([]format.Run{{First: 2, Count: 300}}, hashes))
		},
		"runs that touch": func(_ *format.Index, w *format.Writer) error {
			return errors.Join(frames(w), w.Segment([]format.Run{{First: 1, Count: 100}, {First: 101, Count: 200}}, hashes))
		},
		"a segment too many": func(_ *format.Index, w *format.Writer) error {
			return errors.Join(frames(w), w.Segment(all, hashes), w.Segment(all, hashes))
		},
		"a frame after a table": func(_ *format.Index, w *format.Writer) error {
			return errors.Join(frames(w), w.Segment(all, hashes), w.Frame(second, rest))
		},
		"another header": func(x *format.Index, w *format.Writer) error {
			x.Snapshot.ID++
			return errors.Join(frames(w), w.Segment(all, hashes), w.Close())
		},
		"closed twice": func(_ *format.Index, w *format.Writer) error {
			if err := errors.Join(frames(w), w.Segment(all, hashes), w.Close()); err != nil {
				t.Error(err)
			}
			return w.Close()
		},
	} {
		x := testIndex()
		x.PageSize, x.Pages, x.Carried = 4096, 300, 300
		w, err := format.NewWriter(new(bytes.Buffer), x)
		if err != nil {
			t.Fatal(err)
		}
		if err := write(x, w); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := w.Close(); err == nil {
			t.Errorf("%s: closed as if nothing had been wrong", name)
		}
	}
}

// A failed write stays failed.
func TestWriterPassesErrorsOn(t *testing.T) {
	full := errors.New("disk full")
	m := newImage(512, 1)
	write := func(to io.Writer) error {
		x := testIndex()
		x.PageSize, x.Pages, x.Carried = 512, 1, 1
		w, err := format.NewWriter(to, x)
		if err != nil {
			return err
		}
		return writeAll(w, m, hashesOf(m, testSalt), []uint32{1})
	}
	var whole bytes.Buffer
	if err := write(&whole); err != nil {
		t.Fatal(err)
	}
	step := 1
	if race.Enabled {
		step = 7
	}
	for n := 0; n < whole.Len(); n += step {
		if err := write(&limited{n, full}); !errors.Is(err, full) {
			t.Fatalf("a writer that takes %d bytes of %d: %v", n, whole.Len(), err)
		}
	}
}

type limited struct {
	left int
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return l.left, l.err
	}
	l.left -= len(p)
	return len(p), nil
}

func TestPageHasherDoesNotAllocate(t *testing.T) {
	h, page := format.NewPageHasher(testSalt), make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() { h.Hash(page) }); n > 0 {
		t.Errorf("%v allocations for a page", n)
	}
}
