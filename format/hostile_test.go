package format_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/litestash/litestash/format"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// checkRefused checks that f finds damage and allocates about as much as is there, not as
// is claimed.
func checkRefused(t *testing.T, f func() error) {
	t.Helper()
	var err error
	const most = 1 << 20
	if n := allocated(func() { err = f() }); n > most {
		t.Errorf("%d bytes allocated", n)
	}
	if !errors.Is(err, format.ErrDamaged) {
		t.Errorf("error %v", err)
	}
}

func skippableFrame(magic uint32, content []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, magic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}

// seekTable returns a seek table that says frames, whatever entries it has.
func seekTable(frames uint32, entries ...uint32) []byte {
	var b []byte
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint32(b, e)
	}
	b = binary.LittleEndian.AppendUint32(b, frames)
	b = append(b, 0)
	return skippableFrame(0x184D2A5E, binary.LittleEndian.AppendUint32(b, 0x8F92EAB1))
}

func TestHugeFrameCount(t *testing.T) {
	for _, size := range []int64{100, 1 << 20, 5 << 40} {
		for _, frames := range []uint32{0, 1, 7, 1 << 20, 1 << 28, 1 << 29, math.MaxUint32} {
			end := make([]byte, 100)
			copy(end[83:], seekTable(frames))
			var tail *format.Tail
			var need int64
			var err error
			if n := allocated(func() { tail, need, err = format.ParseTail(end, size) }); n > 1<<16 {
				t.Errorf("%d frames in %d bytes: %d bytes allocated", frames, size, n)
			}
			switch {
			case err == nil && tail == nil && need > int64(len(end)) && need < size/16:
				// It asks for what an object of that size may have.
			case !errors.Is(err, format.ErrDamaged):
				t.Errorf("%d frames in %d bytes: need %d, %v", frames, size, need, err)
			}
		}
	}
}

// A tail that ParseTail asks for is never more than a small part of an object, except for
// small ones.
func TestTailIsBounded(t *testing.T) {
	const size = 1 << 30
	most := int64(0)
	for frames := uint32(2); frames < 1<<27; frames += 1 << 10 {
		end := seekTable(frames)
		if _, need, err := format.ParseTail(end, size); err == nil {
			most = max(most, need)
		}
	}
	if most == 0 || most > size/30 {
		t.Errorf("a tail of %d bytes of %d", most, size)
	}
}

// tinyObject returns an object of a header, the index and a seek table, which claims what x does.
func tinyObject(t *testing.T, x *format.Index, entries ...uint32) []byte {
	header, err := format.AppendHeader(nil, &x.Header)
	if err != nil {
		t.Fatal(err)
	}
	index, err := format.AppendIndex(nil, x)
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.Concat([]uint32{uint32(len(header)), 0}, entries, []uint32{uint32(len(index)), 0})
	return slices.Concat(header, index, seekTable(uint32(len(entries)/2), entries...))
}

func TestHugePageCount(t *testing.T) {
	for _, pageSize := range []int{512, 4096, 65536} {
		x := testIndex()
		x.PageSize, x.Pages, x.Carried = pageSize, math.MaxUint32-1, math.MaxUint32-1
		object := tinyObject(t, x)
		checkRefused(t, func() error { _, err := readTail(object); return err })
		object = tinyObject(t, x, 0, format.FrameSize)
		checkRefused(t, func() error { _, err := readTail(object); return err })
	}
	x := testIndex()
	x.PageSize, x.Pages, x.Carried = 4096, math.MaxUint32, math.MaxUint32
	if _, err := format.AppendIndex(nil, x); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("more pages than SQLite can number: %v", err)
	}
}

// The largest database there can be has an index whose sums do not overflow.
func TestLargestDatabase(t *testing.T) {
	tail := &format.Tail{Index: testIndex()}
	tail.Index.PageSize, tail.Index.Pages, tail.Index.Carried = 65536, math.MaxUint32-1, math.MaxUint32-1
	if got, want := tail.Index.Size(), int64(1<<48-2<<16); got != want {
		t.Errorf("size %d, want %d", got, want)
	}
	const last = 1<<28 - 1
	if got, want := tail.FrameLen(last), format.FrameSize-2<<16; got != want {
		t.Errorf("the last frame holds %d bytes, want %d", got, want)
	}
	if got := tail.FrameLen(last - 1); got != format.FrameSize {
		t.Errorf("the last frame but one holds %d bytes", got)
	}
	s := format.Segment{Ordinal: format.SegmentPages * 65535, Runs: []format.Run{{First: math.MaxUint32 - 65534, Count: 65534}},
		Hashes: make([]format.PageHash, 65534), Frames: make([]uint32, 4096)}
	got, err := format.ParseSegment(format.AppendSegment(nil, &s), tail, 65535)
	if err != nil || got.Runs[0] != s.Runs[0] || got.Ordinal != s.Ordinal {
		t.Errorf("the last segment: %v", err)
	}
}

// segmentFrame returns a segment whose checksum is right and whose counts are as given.
func segmentFrame(ordinal, count, runs uint32, rest ...uint32) []byte {
	b := []byte("LSTPAGES")
	for _, v := range append([]uint32{ordinal, count, runs}, rest...) {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return skippableFrame(0x184D2A5C, binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)))
}

func TestHostileSegments(t *testing.T) {
	delta := testIndex()
	delta.Parent = format.Name{Time: testName.Time - 1}
	delta.PageSize, delta.Pages, delta.Carried = 4096, math.MaxUint32-1, 2
	full := testIndex()
	full.PageSize, full.Pages, full.Carried = 4096, 2, 2
	huge := *full
	huge.Pages, huge.Carried = math.MaxUint32-1, math.MaxUint32-1
	hashes := make([]uint32, 2*4+1) // of two pages and one data frame
	segment := func(count, runs uint32, rest ...uint32) []byte {
		return segmentFrame(0, count, runs, slices.Concat(rest, hashes)...)
	}
	good := map[string]struct {
		x     *format.Index
		frame []byte
	}{
		"a full":            {full, segment(2, 1, 1, 2)},
		"a delta":           {delta, segment(2, 2, 1, 1, 3, 1)},
		"the largest pages": {delta, segment(2, 1, math.MaxUint32-2, 2)},
	}
	for name, c := range good {
		if _, err := format.ParseSegment(c.frame, &format.Tail{Index: c.x}, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		x     *format.Index
		frame []byte
	}{
		"runs 2^32-1":         {delta, segment(2, math.MaxUint32, 1, 2)},
		"runs 2^29":           {delta, segment(2, 1<<29, 1, 2)}, // times eight is 2^32
		"runs 2^29+1":         {delta, segment(2, 1<<29+1, 1, 2)},
		"count 2^32-1":        {delta, segment(math.MaxUint32, 1, 1, 2)},
		"count 2^28":          {delta, segment(1<<28, 1, 1, 2)}, // times sixteen is 2^32
		"a full of 2^32-2":    {&huge, segment(2, 1, 1, 2)},
		"ordinal":             {full, segmentFrame(65536, 2, 1, slices.Concat([]uint32{1, 2}, hashes)...)},
		"no runs":             {delta, segment(2, 0)},
		"page 0":              {delta, segment(2, 1, 0, 2)},
		"an empty run":        {delta, segment(2, 2, 1, 2, 9, 0)},
		"a run beyond pages":  {delta, segment(2, 1, math.MaxUint32-1, 2)},
		"a run that wraps":    {delta, segment(2, 1, math.MaxUint32, 2)},
		"runs that sum to 2":  {delta, segment(2, 2, 1, math.MaxUint32-3, math.MaxUint32-1, 5)},
		"runs that touch":     {delta, segment(2, 2, 1, 1, 2, 1)},
		"runs that overlap":   {delta, segment(2, 2, 1, 1, 1, 1)},
		"runs that descend":   {delta, segment(2, 2, 5, 1, 1, 1)},
		"too few pages":       {delta, segment(2, 1, 1, 1)},
		"too many pages":      {delta, segment(2, 1, 1, 3)},
		"a full from page 2":  {&format.Index{Header: format.Header{PageSize: 4096, Pages: 3}, Carried: 2}, segment(2, 1, 2, 2)},
		"a full in two runs":  {&format.Index{Header: format.Header{PageSize: 4096, Pages: 3}, Carried: 2}, segment(2, 2, 1, 1, 3, 1)},
		"a hash too many":     {full, segmentFrame(0, 2, 1, append([]uint32{1, 2, 0, 0, 0, 0}, hashes...)...)},
		"nothing":             {full, nil},
		"eight bytes":         {full, skippableFrame(0x184D2A5C, nil)},
		"only a magic number": {full, skippableFrame(0x184D2A5C, []byte("LSTPAGES"))},
	} {
		t.Run(name, func(t *testing.T) {
			checkRefused(t, func() error {
				_, err := format.ParseSegment(c.frame, &format.Tail{Index: c.x}, 0)
				return err
			})
		})
	}
}

func TestFrameLargerThanAnnounced(t *testing.T) {
	encode := func(content []byte, options ...zstd.EOption) []byte {
		enc, err := zstd.NewWriter(nil, options...)
		if err != nil {
			t.Fatal(err)
		}
		return enc.EncodeAll(content, nil)
	}
	stream := func(n int) []byte { // a frame that does not say how much it holds
		var b bytes.Buffer
		enc, err := zstd.NewWriter(&b, zstd.WithWindowSize(format.FrameSize))
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := enc.Write(make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := enc.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	frames := map[string][]byte{
		"a bomb":           encode(make([]byte, 64<<20)),
		"a streamed bomb":  stream(1 << 10),
		"a byte too many":  encode(make([]byte, 4097)),
		"a byte too few":   encode(make([]byte, 4095)),
		"two frames":       slices.Concat(encode(make([]byte, 4096)), encode(make([]byte, 1))),
		"nothing":          nil,
		"a skippable one":  skippableFrame(0x184D2A50, make([]byte, 4096)),
		"no frame":         make([]byte, 100),
		"bytes after it":   append(encode(make([]byte, 4096)), 1, 2, 3, 4, 5),
		"a cut one":        encode(make([]byte, 4096))[:10],
		"a false checksum": func() []byte { b := encode(make([]byte, 4096)); b[len(b)-1] ^= 1; return b }(),
	}
	for name, frame := range frames {
		t.Run(name, func(t *testing.T) {
			dec := format.NewDecompressor()
			defer dec.Close()
			pages := make([]byte, 4096, 3*4096)
			if err := dec.Decompress(pages, format.NewCompressor().Compress(nil, make([]byte, 4096))); err != nil {
				t.Fatal(err)
			}
			checkRefused(t, func() error { return dec.Decompress(pages, frame) })
			if slices.ContainsFunc(pages[:cap(pages)][4096:], func(b byte) bool { return b != 0 }) {
				t.Error("it wrote beyond the pages")
			}
		})
	}
}

// factsFrame returns a header or an index with the given JSON and a hash that is right.
func factsFrame(magic string, text []byte) []byte {
	if magic == "LSTINDEX" {
		text = format.CompressText(text)
	}
	return rawFacts(magic, text)
}

// rawFacts returns a header or an index with a hash that is right for what is stored in it.
func rawFacts(magic string, text []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(magic), 1)
	b = append(b, text...)
	sum := sha256.Sum256(b)
	return skippableFrame(0x184D2A5C, append(b, sum[:]...))
}

// jsonOf returns the JSON of a header or an index frame.
func jsonOf(frame []byte) []byte {
	text := frame[8+12 : len(frame)-32]
	if string(frame[8:16]) != "LSTINDEX" {
		return text
	}
	text, err := format.DecompressText(text)
	if err != nil {
		panic(err)
	}
	return text
}

func TestHostileFacts(t *testing.T) {
	full := testIndex()
	frame, err := format.AppendIndex(nil, full)
	if err != nil {
		t.Fatal(err)
	}
	text := string(jsonOf(frame))
	facts := func(text string) []byte { return factsFrame("LSTINDEX", []byte(text)) }
	if !bytes.Equal(facts(text), frame) {
		t.Fatal("the test does not know the envelope")
	}
	edit := func(old, new string) string {
		if strings.Count(text, old) != 1 {
			t.Fatalf("%q is not in %s once", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	for name, text := range map[string]string{
		"an unknown member":         edit(`{"database"`, `{"future":{"a":[1,{"b":2.5}]},"database"`),
		"spaces":                    edit(`{"database"`, "{ \n\"database\" "),
		"an escape":                 edit(`"database"`, `"dat\u0061base"`),
		"tags of any case":          edit(`"creator"`, `"tags":{"A":"1","a":"2","":"3","x y":"4"},"creator"`),
		"a source of another shape": edit(`"source":{`, `"source":{"inode":7,`),
	} {
		if _, err := format.ParseIndex(facts(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"no JSON":                  "",
		"null":                     "null",
		"two values":               text + text,
		"an array":                 "[" + text + "]",
		"deep":                     strings.Repeat("[", 500_000),
		"deep in a member":         edit(`{"database"`, `{"x":`+strings.Repeat("[", 200_000)+strings.Repeat("]", 200_000)+`,"database"`),
		"a member twice":           edit(`"pages":0`, `"pages":0,"pages":0`),
		"a member in two cases":    edit(`"pages":0`, `"pages":0,"Pages":0`),
		"a member in capitals":     edit(`"pages"`, `"PAGES"`),
		"a member that folds":      edit(`"pages"`, "\"page\u017f\""),
		"a null":                   edit(`"chain":[]`, `"chain":null`),
		"a null in an array":       edit(`"creator"`, `"x":[null],"creator"`),
		"an unnamed member":        edit(`"creator"`, `"":1,"creator"`),
		"not UTF-8":                edit(`"litestash test"`, "\"\xff\""),
		"a tag twice":              edit(`"creator"`, `"tags":{"a":"1","a":"2"},"creator"`),
		"a fraction":               edit(`"pages":0`, `"pages":0.0`),
		"an exponent":              edit(`"pages":0`, `"pages":0e0`),
		"a negative count":         edit(`"carried":0`, `"carried":-1`),
		"a count of 2^32":          edit(`"carried":0`, `"carried":4294967296`),
		"a number as text":         edit(`"pages":0`, `"pages":"0"`),
		"no root":                  edit(`"root"`, `"foot"`),
		"no salt":                  edit(`"salt"`, `"malt"`),
		"no chain":                 edit(`"chain"`, `"train"`),
		"no parent":                edit(`"parent"`, `"grandparent"`),
		"a parent's root":          edit(`"chain"`, `"parent_root":"`+strings.Repeat("0", 64)+`","chain"`),
		"a salt in capitals":       edit(`0a0b0c`, `0A0B0C`),
		"a name of another form":   edit(`T073500.004Z`, `T073500.04Z`),
		"no name":                  edit(nameText, ``),
		"the name of none":         edit(nameText, `19700101T000000.000Z-0000000000000`),
		"a database not normal":    edit(`tenants/42/app.db`, `cafe\u0301.db`),
		"a database with a dot":    edit(`tenants/42/app.db`, `tenants/../app.db`),
		"a chain in a full":        edit(`"chain":[]`, `"chain":["`+nameText+`.full.db.zst"]`),
		"an empty page":            edit(`"page_size":0`, `"page_size":512`),
		"pages of nothing":         edit(`"pages":0`, `"pages":1`),
		"a full without its pages": edit(`"page_size":0,"pages":0`, `"page_size":512,"pages":1`),
	} {
		if x, err := format.ParseIndex(facts(text)); !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%s: %v, %v", name, x, err)
		}
	}
	if _, err := format.ParseHeader(frame); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("an index as a header: %v", err)
	}
	for name, stored := range map[string][]byte{
		"not compressed": []byte(text),
		"a bomb":         format.CompressText(make([]byte, 64<<20)),
		"more after it":  append(format.CompressText([]byte(text)), "rest"...),
		"cut":            format.CompressText([]byte(text))[:40],
	} {
		checkRefused(t, func() error { _, err := format.ParseIndex(rawFacts("LSTINDEX", stored)); return err })
		if t.Failed() {
			t.Fatal(name)
		}
	}
	long := facts(edit(`"litestash test"`, `"`+strings.Repeat("x", format.MaxFacts)+`"`))
	if _, err := format.ParseIndex(long); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("an index of %d bytes: %v", len(long), err)
	}
}

func TestIndexRefuses(t *testing.T) {
	delta := func() *format.Index {
		c := newChain(t, newImage(512, 2), newImage(512, 3), newImage(512, 4))
		return c.indexes[2]
	}
	if _, err := format.AppendIndex(nil, delta()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*format.Index){
		"page size 256":          func(x *format.Index) { x.PageSize = 256 },
		"page size 131072":       func(x *format.Index) { x.PageSize = 131072 },
		"page size 1000":         func(x *format.Index) { x.PageSize = 1000 },
		"page size -512":         func(x *format.Index) { x.PageSize = -512 },
		"more pages than it has": func(x *format.Index) { x.Carried = 5 },
		"no parent root":         func(x *format.Index) { x.ParentRoot = nil },
		"no parent":              func(x *format.Index) { x.Parent = format.Name{} },
		"a parent of its time":   func(x *format.Index) { x.Parent.Time = x.Snapshot.Time },
		"another parent":         func(x *format.Index) { x.Parent.ID++ },
		"a time before 1970":     func(x *format.Index) { x.Parent.Time = -1 },
		"a time after 9999":      func(x *format.Index) { x.Snapshot.Time = 253402300800000 },
		"no chain":               func(x *format.Index) { x.Chain = nil },
		"a hole":                 func(x *format.Index) { x.Chain = x.Chain[:1] },
		"no full":                func(x *format.Index) { x.Chain = x.Chain[1:] },
		"two fulls":              func(x *format.Index) { x.Chain[1] = x.Chain[0] },
		"descending":             func(x *format.Index) { slices.Reverse(x.Chain) },
		"a path":                 func(x *format.Index) { x.Chain[0].Key = "../" + x.Chain[0].Key },
		"an empty object":        func(x *format.Index) { x.Chain[0].Size = 0 },
		"an unknown kind":        func(x *format.Index) { x.Chain[0].Key += ".x" },
		"too many tags":          func(x *format.Index) { x.Tags = map[string]string{"a": strings.Repeat("x", format.MaxFacts)} },
		"no database":            func(x *format.Index) { x.Database = "" },
	} {
		x := delta()
		change(x)
		if _, err := format.AppendIndex(nil, x); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A source's path may hold bytes that JSON cannot.
func TestSourceSame(t *testing.T) {
	x := testIndex()
	x.Source.Path = "/srv/\xff\xfe.db"
	frame, err := format.AppendIndex(nil, x)
	if err != nil {
		t.Fatal(err)
	}
	y, err := format.ParseIndex(frame)
	if err != nil {
		t.Fatal(err)
	}
	if !x.Source.Same(y.Source) || !y.Source.Same(x.Source) {
		t.Errorf("%q is not %q", y.Source.Path, x.Source.Path)
	}
	for _, o := range []format.Source{{}, {Host: "db1"}, {Host: "db2", Path: x.Source.Path}, {Host: "db1", Path: "/srv/\xff.db"}} {
		if x.Source.Same(o) {
			t.Errorf("%+v is %+v", x.Source, o)
		}
	}
}

func TestParseTailOfTooMuch(t *testing.T) {
	if _, _, err := format.ParseTail(make([]byte, 10), 9); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("more bytes than the object has: %v", err)
	}
	for size := range int64(9) {
		if _, need, err := format.ParseTail(nil, size); need != 0 || !errors.Is(err, format.ErrDamaged) {
			t.Errorf("an object of %d bytes: need %d, %v", size, need, err)
		}
	}
}
