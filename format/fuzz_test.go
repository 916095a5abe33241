package format_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/litestash/litestash/format"
)

// seedObjects returns the objects of the golden store.
func seedObjects(f *testing.F) [][]byte {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join(goldenStore, "*", "*.zst"))
	if err != nil {
		f.Fatal(err)
	}
	var objects [][]byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		objects = append(objects, b)
	}
	if len(objects) == 0 {
		f.Fatal("the golden store holds no objects to begin with")
	}
	return objects
}

// eachSeed calls add for all objects of the golden store, with their tails.
func eachSeed(f *testing.F, add func(object []byte, tail *format.Tail)) {
	f.Helper()
	for _, object := range seedObjects(f) {
		tail, err := readTail(object)
		if err != nil {
			f.Fatal(err)
		}
		add(object, tail)
	}
}

func FuzzParseKey(f *testing.F) {
	for _, ending := range []string{".full.db.zst", ".full.db.zst.age", ".on-" + parentText + ".delta.zst", ".on-" + parentText + ".future", ".x"} {
		key := "tenants/42/app.db/" + nameText + ending
		if _, ok := format.ParseKey(key); !ok {
			f.Fatalf("seed %s is no key", key)
		}
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		k, ok := format.ParseKey(key)
		if !ok {
			if k != (format.Key{}) {
				t.Errorf("%q: no key, but %+v", key, k)
			}
			return
		}
		if k.String() != key {
			t.Errorf("%q becomes %q", key, k)
		}
		if !strings.HasPrefix(key, k.Database+"/"+k.Name.String()+".") || k.Name.IsZero() {
			t.Errorf("%q is %+v", key, k)
		}
		if k.Kind == format.Delta && !k.HasParent || k.Kind == format.Full && k.HasParent {
			t.Errorf("%q is %+v", key, k)
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{nameText, "19700101T000000.000Z-0000000000001", "99991231T235959.999Z-fzzzzzzzzzzzz"} {
		if _, err := format.ParseName(s); err != nil {
			f.Fatal(err)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := format.ParseName(s)
		if err != nil {
			return
		}
		if n.String() != s || n.IsZero() {
			t.Errorf("%q becomes %q", s, n)
		}
	})
}

func FuzzParseDatabase(f *testing.F) {
	for _, s := range []string{"app.db", "tenants/42/data.db", "cafe\u0301.db", "\u212b", ".lite"} {
		if _, err := format.ParseDatabase(s); err != nil {
			f.Fatal(err)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := format.ParseDatabase(s)
		if err != nil {
			return
		}
		if again, err := format.ParseDatabase(name); err != nil || again != name {
			t.Errorf("%q becomes %q becomes %q, %v", s, name, again, err)
		}
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			t.Errorf("%q leads out of its store", name)
		}
		if k, ok := format.ParseKey(format.FullKey(name, testName).String()); !ok || k.Database != name {
			t.Errorf("%q is in no key: %+v", name, k)
		}
	})
}

// The fuzzer makes up the entries of the seek table before the index's, and the JSON of the index.
// The rest follows from them, so that what it makes up is not refused for a hash or a sum.
func FuzzParseTail(f *testing.F) {
	eachSeed(f, func(object []byte, tail *format.Tail) {
		frame, err := format.AppendIndex(nil, tail.Index)
		if err != nil {
			f.Fatal(err)
		}
		table := seekTableOf(tail, int64(len(frame)))
		if !bytes.HasSuffix(object, slices.Concat(frame, table)) {
			f.Fatal("an object of ours does not end in the only spelling")
		}
		f.Add(table[8:len(table)-9-8], jsonOf(frame))
	})
	f.Fuzz(func(t *testing.T, entries, text []byte) {
		index := factsFrame("LSTINDEX", text)
		var all []uint32
		size := int64(len(index))
		for e := range slices.Chunk(entries[:len(entries)/8*8], 8) {
			all = append(all, binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]))
			size += int64(all[len(all)-2])
		}
		all = append(all, uint32(len(index)), 0)
		table := seekTable(uint32(len(all)/2), all...)
		size += int64(len(table))
		end := slices.Concat(index, table)
		tail, need, err := format.ParseTail(end, size)
		if err != nil {
			if !isDamage(err) || tail != nil || need != 0 {
				t.Error(tail, need, err)
			}
			return
		}
		if tail == nil {
			t.Fatalf("it needs %d bytes, having %d of a whole tail", need, len(end))
		}
		if again := seekTableOf(tail, int64(len(index))); !bytes.Equal(again, table) {
			t.Errorf("%x becomes %x", table, again)
		}
		if next := checkSpans(t, tail); next != size-int64(len(end)) {
			t.Errorf("frames end at %d, the index begins at %d", next, size-int64(len(end)))
		}
	})
}

// checkSpans checks that frames follow each other and returns where the last of them ends.
func checkSpans(t *testing.T, tail *format.Tail) int64 {
	next, content := int64(0), int64(0)
	for _, s := range slices.Concat([]format.Span{tail.Header}, tail.Data, tail.Segments) {
		if s.Off != next || s.Len <= 0 {
			t.Errorf("a frame at %d follows one that ends at %d", s.Off, next)
		}
		next = s.End()
	}
	for i := range tail.Data {
		content += int64(tail.FrameLen(i))
	}
	if want := int64(tail.Index.Carried) * int64(tail.Index.PageSize); content != want {
		t.Errorf("data frames hold %d bytes of %d", content, want)
	}
	return next
}

// seekTableOf returns the seek table that says what tail does.
func seekTableOf(tail *format.Tail, index int64) []byte {
	entries := []uint32{uint32(tail.Header.Len), 0}
	for i, s := range tail.Data {
		entries = append(entries, uint32(s.Len), uint32(tail.FrameLen(i)))
	}
	for _, s := range tail.Segments {
		entries = append(entries, uint32(s.Len), 0)
	}
	entries = append(entries, uint32(index), 0)
	return seekTable(uint32(len(entries)/2), entries...)
}

// The numbers are what matters of the index that the segment is of; content lacks its checksum, so
// that what the fuzzer makes up is not refused for that.
func FuzzParseSegment(f *testing.F) {
	eachSeed(f, func(object []byte, tail *format.Tail) {
		for i, s := range tail.Segments {
			x := tail.Index
			frame := object[s.Off:s.End()]
			if _, err := format.ParseSegment(frame, tail, i); err != nil {
				f.Fatal(err)
			}
			f.Add(x.PageSize, x.Pages, x.Carried, x.Kind() == format.Delta, uint16(i), frame[8:len(frame)-4])
		}
	})
	f.Fuzz(func(t *testing.T, pageSize int, pages, carried uint32, delta bool, i uint16, content []byte) {
		frame := skippableFrame(0x184D2A5C, binary.LittleEndian.AppendUint32(content[:len(content):len(content)], format.Checksum(content)))
		x := &format.Index{Header: format.Header{PageSize: pageSize, Pages: pages}, Carried: carried}
		if delta {
			x.Parent = testName
		}
		if pageSize < 512 || pageSize > 65536 || pageSize&(pageSize-1) != 0 || int64(carried) <= int64(i)*format.SegmentPages {
			return // no index is like this
		}
		s, err := format.ParseSegment(frame, &format.Tail{Index: x}, int(i))
		if err != nil {
			if !isDamage(err) {
				t.Error(err)
			}
			return
		}
		if again := format.AppendSegment(nil, s); !bytes.Equal(again, frame) {
			t.Errorf("%x becomes %x", frame, again)
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	eachSeed(f, func(object []byte, tail *format.Tail) {
		frame := object[:tail.Header.Len]
		if _, err := format.ParseHeader(frame); err != nil {
			f.Fatal(err)
		}
		f.Add(jsonOf(frame))
	})
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := format.ParseHeader(factsFrame("LITESTSH", text))
		if err != nil {
			if !isDamage(err) {
				t.Error(err)
			}
			return
		}
		frame, err := format.AppendHeader(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := format.ParseHeader(frame); err != nil || *again != *h {
			t.Errorf("%+v becomes %+v, %v", h, again, err)
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	eachSeed(f, func(object []byte, tail *format.Tail) {
		frame, err := format.AppendIndex(nil, tail.Index)
		if err != nil {
			f.Fatal(err)
		}
		if !bytes.Contains(object, frame) {
			f.Fatal("an index of ours is not in its only spelling")
		}
		f.Add(jsonOf(frame))
	})
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := format.ParseIndex(factsFrame("LSTINDEX", text))
		if err != nil {
			if !isDamage(err) {
				t.Error(err)
			}
			return
		}
		frame, err := format.AppendIndex(nil, x)
		if err != nil {
			t.Fatal(err)
		}
		if len(x.Tags) == 0 {
			x.Tags = nil
		}
		if again, err := format.ParseIndex(frame); err != nil || !reflect.DeepEqual(again, x) {
			t.Errorf("%+v becomes %+v, %v", x, again, err)
		}
	})
}

// The bytes of whole frames, hash included: nothing makes the parsers panic.
func FuzzParseFacts(f *testing.F) {
	eachSeed(f, func(object []byte, tail *format.Tail) { f.Add(object[:tail.Header.Len]) })
	f.Fuzz(func(t *testing.T, frame []byte) {
		_, header := format.ParseHeader(frame)
		_, index := format.ParseIndex(frame)
		identify := format.Identify(frame)
		for _, err := range []error{header, index, identify} {
			if err != nil && !isDamage(err) {
				t.Error(err)
			}
		}
		if header == nil && (index == nil || identify != nil) {
			t.Errorf("a header: %v, %v", index, identify)
		}
	})
}

func FuzzDecompress(f *testing.F) {
	eachSeed(f, func(object []byte, tail *format.Tail) {
		for i, s := range tail.Data {
			f.Add(tail.FrameLen(i), object[s.Off:s.End()])
		}
	})
	dec := format.NewDecompressor()
	defer dec.Close()
	f.Fuzz(func(t *testing.T, size int, frame []byte) {
		if size < 1 || size > format.FrameSize {
			return
		}
		pages := make([]byte, size+512)
		copy(pages[size:], bytes.Repeat([]byte{0xa5}, 512))
		if err := dec.Decompress(pages[:size], frame); err != nil && !isDamage(err) {
			t.Error(err)
		}
		if !slices.Equal(pages[size:], bytes.Repeat([]byte{0xa5}, 512)) {
			t.Error("it wrote more than it was asked for")
		}
	})
}
