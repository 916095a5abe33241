// Package storetest is the contract of [store.Store] as tests: [Run] is what every store and
// every wrapper must pass, and [Fault] is a wrapper that fails on purpose, for tests of what is
// built on a store.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/store"
)

// Chunk is the size in bytes around which the suite tries lengths. A store that uploads in parts
// should be opened with parts of this size: it is the smallest that S3 allows.
const Chunk = 5 << 20

// Run tests the stores that open returns against the contract. Every call of open must return
// one that is empty, and may register its clean-up with t.
func Run(t *testing.T, open func(t *testing.T) store.Store) { run(t, open, testRace) }

// RunWithoutRace is [Run] for stores on servers that cannot create only what is new: of several
// who create one key at the same moment, more than one may believe to be the first.
func RunWithoutRace(t *testing.T, open func(t *testing.T) store.Store) { run(t, open, testLooseRace) }

func run(t *testing.T, open func(t *testing.T) store.Store, race func(*testing.T, store.Store)) {
	tests := []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"RoundTrip", testRoundTrip},
		{"Large", testLarge},
		{"Ranges", testRanges},
		{"OddKeys", testOddKeys},
		{"BadKeys", testBadKeys},
		{"Taken", testTaken},
		{"Race", race},
		{"FailingBody", testFailingBody},
		{"Cancelled", testCancelled},
		{"Missing", testMissing},
		{"Pinned", testPinned},
		{"Delete", testDelete},
		{"Order", testOrder},
		{"ManyKeys", testManyKeys},
		{"EarlyStop", testEarlyStop},
		{"Skew", testSkew},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// Bytes returns n bytes that look random and are the same for every call.
func Bytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// Put creates an object with the content data, or ends the test.
func Put(t *testing.T, s store.Store, key string, data []byte) store.Object {
	t.Helper()
	o, err := s.Create(t.Context(), key, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("create %q: %v", key, err)
	}
	return o
}

// Get returns n bytes of o from off on, or ends the test.
func Get(t *testing.T, s store.Store, o store.Object, off, n int64) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), o, off, n)
	if err != nil {
		t.Fatalf("open %q: %v", o.Key, err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read %q: %v", o.Key, err)
	}
	return data
}

// All returns what q selects, or ends the test.
func All(t *testing.T, s store.Store, q store.Query) []store.Object {
	t.Helper()
	var all []store.Object
	for o, err := range s.List(t.Context(), q) {
		if err != nil {
			t.Fatalf("list %+v: %v", q, err)
		}
		all = append(all, o)
	}
	return all
}

// Keys returns the keys that q selects, or ends the test.
func Keys(t *testing.T, s store.Store, q store.Query) []string {
	t.Helper()
	var keys []string
	for _, o := range All(t, s, q) {
		keys = append(keys, o.Key)
	}
	return keys
}

// ListError returns the error with which a listing of what q selects ends, or ends the test if it has none: one that
// swallows an error looks like an empty store.
func ListError(t *testing.T, s store.Store, q store.Query) error {
	t.Helper()
	var last error
	for o, err := range s.List(t.Context(), q) {
		if last != nil {
			t.Fatalf("list %+v: %v, %v after the error %v", q, o, err, last)
		}
		last = err
	}
	if last == nil {
		t.Fatalf("list %+v: it ends without an error", q)
	}
	return last
}

// seed keeps one object outside of what a test looks at: a directory that was never written to
// does not exist, and then has nothing to list.
func seed(t *testing.T, s store.Store) {
	t.Helper()
	Put(t, s, "zz-seed", []byte("seed"))
}

// absent ends the test if anything is listed at or below key.
func absent(t *testing.T, s store.Store, key string) {
	t.Helper()
	if keys := Keys(t, s, store.Query{Prefix: key}); keys != nil {
		t.Fatalf("listed: %q, want nothing", keys)
	}
}

func testRoundTrip(t *testing.T, s store.Store) {
	sizes := []int{0, 1, 1000, Chunk - 1, Chunk, Chunk + 1, 2*Chunk - 1, 2 * Chunk, 2*Chunk + 1}
	if race.Enabled {
		sizes = []int{0, 1000, Chunk, Chunk + 1}
	}
	for _, size := range sizes {
		for i, most := range []int64{int64(size), 0, int64(size) * 3} {
			key := fmt.Sprintf("size/%d/%d", size, i)
			data := Bytes(size)
			// Readers may return less than was asked for, and io.EOF with the last of the data.
			body := iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(data)))
			made, err := s.Create(t.Context(), key, body, most)
			if err != nil {
				t.Fatalf("create %s: %v", key, err)
			}
			listed := All(t, s, store.Query{Prefix: key})
			if len(listed) != 1 {
				t.Fatalf("%s: listed %v", key, listed)
			}
			for _, o := range []store.Object{made, listed[0]} {
				if o.Key != key || o.Size != int64(size) || o.Stored.IsZero() || o.ETag == "" {
					t.Errorf("object %+v", o)
				}
				if got := Get(t, s, o, 0, -1); !bytes.Equal(got, data) {
					t.Errorf("%s: read %d bytes that differ from the %d written", key, len(got), size)
				}
			}
			if made.ETag != listed[0].ETag {
				t.Errorf("%s: created with ETag %q, listed with %q", key, made.ETag, listed[0].ETag)
			}
		}
	}
}

func testLarge(t *testing.T, s store.Store) {
	size := int64(40<<20 + 12345)
	if race.Enabled {
		size = 2*Chunk + 12345
	}
	sum := sha256.New()
	body := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sum)
	o, err := s.Create(t.Context(), "large", body, 0)
	if err != nil {
		t.Fatal(err)
	}
	if o.Size != size {
		t.Errorf("size %d, want %d", o.Size, size)
	}
	r, err := s.Open(t.Context(), o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := sha256.New()
	if _, err := io.Copy(got, r); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
		t.Error("what was read differs from what was written")
	}
}

func testRanges(t *testing.T, s store.Store) {
	data := Bytes(10_000)
	o := Put(t, s, "ranges/object", data)
	for _, tt := range []struct{ off, n, want int64 }{
		{0, 0, 0}, {0, 1, 1}, {0, 10_000, 10_000}, {0, 10_001, 10_000}, {0, -1, 10_000},
		{1, 1, 1}, {5000, 100, 100}, {9999, 1, 1}, {9999, 2, 1}, {9999, -1, 1}, {5000, 0, 0},
		{10_000, 0, 0}, {10_000, -1, 0}, {10_000, 1, 0}, {1 << 40, -1, 0}, {1 << 40, 5, 0},
	} {
		got := Get(t, s, o, tt.off, tt.n)
		start := min(tt.off, 10_000)
		if want := data[start : start+tt.want]; !bytes.Equal(got, want) {
			t.Errorf("open(%d, %d): %d bytes that are not the %d wanted", tt.off, tt.n, len(got), len(want))
		}
	}
	if _, err := s.Open(t.Context(), o, -1, 1); err == nil {
		t.Error("a negative offset was accepted")
	}
}

func testOddKeys(t *testing.T, s store.Store) {
	keys := []string{
		"a b/c d", "it's", `say "hi"`, "a+b", "100%", "%41", "%2F", "a&b=c", "a#b", "a?b", "a;b", "a:b", "a@b",
		"ünïcödé/данные.db", "日本語", "e\u0301", "😀", "a\\b", "<tag>", "*", "...", ".hidden", "~", "-", "a/b",
		"tilde~/a,b", "[x]{y}|^`", " lead", "trail ", "dot.", "!$()",
	}
	for _, key := range keys {
		o := Put(t, s, "odd/"+key, []byte(key))
		if got := Get(t, s, o, 0, -1); string(got) != key {
			t.Errorf("%q: read %q", key, got)
		}
		if o.Key != "odd/"+key {
			t.Errorf("%q: created as %q", key, o.Key)
		}
	}
	want := make([]string, len(keys))
	for i, key := range keys {
		want[i] = "odd/" + key
	}
	slices.Sort(want)
	objects := All(t, s, store.Query{Prefix: "odd/"})
	got := make([]string, len(objects))
	for i, o := range objects {
		got[i] = o.Key
	}
	if !slices.Equal(got, want) {
		t.Fatalf("listed %q\nwant   %q", got, want)
	}
	for i, o := range objects {
		if got := Get(t, s, o, 0, -1); "odd/"+string(got) != want[i] {
			t.Errorf("%q: read %q", o.Key, got)
		}
		// After stops at the very key, however it is spelt in a request.
		if after := Keys(t, s, store.Query{Prefix: "odd/", After: o.Key}); !slices.Equal(after, want[i+1:]) {
			t.Errorf("after %q: %q", o.Key, after)
		}
		if found := Keys(t, s, store.Query{Prefix: o.Key, Shallow: true}); !slices.Contains(found, o.Key) {
			t.Errorf("prefix %q: %q", o.Key, found)
		}
	}
	for _, o := range objects {
		if err := s.Delete(t.Context(), o.Key); err != nil {
			t.Errorf("delete %q: %v", o.Key, err)
		}
	}
	absent(t, s, "odd/")
}

func testBadKeys(t *testing.T, s store.Store) {
	seed(t, s)
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\x00b", "a\nb", "a\x7f", "a\u0085", "\xff"} {
		if _, err := s.Create(t.Context(), key, strings.NewReader("x"), 1); err == nil {
			t.Errorf("create %q: no error", key)
		}
		if r, err := s.Open(t.Context(), store.Object{Key: key, Size: 1}, 0, -1); err == nil {
			r.Close()
			t.Errorf("open %q: no error", key)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("delete %q: no error", key)
		}
	}
	for _, prefix := range []string{"/", "../", "./", "zz-seed/", "nothing/here", "a//"} {
		absent(t, s, prefix)
	}
}

func testTaken(t *testing.T, s store.Store) {
	first := []byte("first")
	for _, size := range []int{len("second"), Chunk + 1} {
		key := fmt.Sprintf("taken/%d", size)
		o := Put(t, s, key, first)
		_, err := s.Create(t.Context(), key, bytes.NewReader(Bytes(size)), int64(size))
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("create again, %d bytes: %v, want %v", size, err, fs.ErrExist)
		}
		if got := Get(t, s, o, 0, -1); !bytes.Equal(got, first) {
			t.Errorf("%s: now holds %d other bytes", key, len(got))
		}
	}
}

func testRace(t *testing.T, s store.Store) {
	if won := contend(t, s, 100); won != 1 {
		t.Errorf("%d of 4 creations of one key succeeded", won)
	}
	if won := contend(t, s, Chunk+100); won != 1 {
		t.Errorf("%d of 4 creations of one key in parts succeeded", won)
	}
}

func testLooseRace(t *testing.T, s store.Store) {
	if contend(t, s, 100) < 1 || contend(t, s, Chunk+100) < 1 {
		t.Error("of 4 creations of one key none succeeded")
	}
}

// contend creates one key four times at once and returns how many succeeded. It ends the test if
// the object is not one of theirs.
func contend(t *testing.T, s store.Store, size int) int {
	t.Helper()
	key := fmt.Sprintf("race/%d", size)
	var won [4]bool
	g, ctx := errgroup.WithContext(t.Context())
	for i := range won {
		g.Go(func() error {
			body := bytes.Repeat([]byte{byte('a' + i)}, size)
			_, err := s.Create(ctx, key, bytes.NewReader(body), int64(size))
			if won[i] = err == nil; err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	objects := All(t, s, store.Query{Prefix: key})
	if len(objects) != 1 {
		t.Fatalf("listed %v", objects)
	}
	got := Get(t, s, objects[0], 0, -1)
	if len(got) != size || !won[got[0]-'a'] || !bytes.Equal(got, bytes.Repeat(got[:1], size)) {
		t.Fatalf("%s: %d bytes that are not those of one who succeeded: %v", key, len(got), won)
	}
	n := 0
	for _, w := range won {
		if w {
			n++
		}
	}
	return n
}

func testFailingBody(t *testing.T, s store.Store) {
	seed(t, s)
	broken := errors.New("broken body")
	for _, n := range []int{0, 1, Chunk - 1, Chunk, Chunk + 1, 3 * Chunk} {
		for _, most := range []int64{0, int64(4 * Chunk)} {
			key := fmt.Sprintf("failing/%d-%d", n, most)
			body := io.MultiReader(bytes.NewReader(Bytes(n)), iotest.ErrReader(broken))
			if _, err := s.Create(t.Context(), key, body, most); !errors.Is(err, broken) {
				t.Errorf("body broken after %d: %v, want %v", n, err, broken)
			}
			absent(t, s, key)
		}
	}
	// Not an end of the body, though io.ReadFull reports one like this.
	for _, n := range []int{0, 10, Chunk, Chunk + 10} {
		key := fmt.Sprintf("failing/eof-%d", n)
		cut := io.MultiReader(bytes.NewReader(Bytes(n)), iotest.ErrReader(io.ErrUnexpectedEOF))
		if _, err := s.Create(t.Context(), key, cut, 0); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("body cut after %d: %v, want %v", n, err, io.ErrUnexpectedEOF)
		}
		absent(t, s, key)
	}
	body := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("timeout")))
	if _, err := s.Create(t.Context(), "failing/timeout", body, 0); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("body timed out: %v, want %v", err, iotest.ErrTimeout)
	}
	absent(t, s, "failing/timeout")
	// A key that failed is free.
	Put(t, s, "failing/0-0", []byte("now"))
}

func testCancelled(t *testing.T, s store.Store) {
	o := Put(t, s, "zz-seed", Bytes(1000))
	for _, n := range []int{0, 10, Chunk + 10, 3 * Chunk} {
		key := fmt.Sprintf("cancelled/%d", n)
		ctx, cancel := context.WithCancel(t.Context())
		body := io.MultiReader(bytes.NewReader(Bytes(n)), &callReader{cancel}, bytes.NewReader(Bytes(2*Chunk)))
		if _, err := s.Create(ctx, key, body, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d: %v, want %v", n, err, context.Canceled)
		}
		absent(t, s, key)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Create(ctx, "cancelled", strings.NewReader("x"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	if _, err := s.Open(ctx, o, 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v", err)
	}
	if err := s.Delete(ctx, o.Key); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.Skew(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("skew: %v", err)
	}
	var last error
	for _, last = range s.List(ctx, store.Query{}) {
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("list: %v", last)
	}
	if got := Keys(t, s, store.Query{}); !slices.Equal(got, []string{o.Key}) {
		t.Errorf("left: %q", got)
	}
}

// A callReader calls f once and then is empty.
type callReader struct{ f func() }

func (r *callReader) Read([]byte) (int, error) {
	r.f()
	return 0, io.EOF
}

func testMissing(t *testing.T, s store.Store) {
	seed(t, s)
	for _, key := range []string{"missing", "missing/below/here"} {
		if _, err := s.Open(t.Context(), store.Object{Key: key, Size: 5}, 0, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s: %v, want %v", key, err, fs.ErrNotExist)
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %s: %v", key, err)
		}
		absent(t, s, key)
	}
	o := Put(t, s, "gone", []byte("gone"))
	if err := s.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 2} {
		if _, err := s.Open(t.Context(), o, off, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open deleted from %d: %v, want %v", off, err, fs.ErrNotExist)
		}
	}
}

func testPinned(t *testing.T, s store.Store) {
	old := Put(t, s, "pinned", []byte("old content"))
	if err := s.Delete(t.Context(), "pinned"); err != nil {
		t.Fatal(err)
	}
	now := Put(t, s, "pinned", []byte("new content"))
	if old.ETag == now.ETag {
		t.Fatalf("two contents have the ETag %q", now.ETag)
	}
	for _, n := range []int64{-1, 3} {
		if _, err := s.Open(t.Context(), old, 0, n); !errors.Is(err, store.ErrChanged) {
			t.Errorf("open %d of the old version: %v, want %v", n, err, store.ErrChanged)
		}
	}
	if got := Get(t, s, now, 4, 7); string(got) != "content" {
		t.Errorf("read %q", got)
	}
	now.ETag = ""
	if got := Get(t, s, now, 0, -1); string(got) != "new content" {
		t.Errorf("unpinned: read %q", got)
	}
}

func testDelete(t *testing.T, s store.Store) {
	for _, key := range []string{"d/a/1", "d/a/2", "d/b"} {
		Put(t, s, key, []byte(key))
	}
	for _, step := range []struct {
		key  string
		left []string
	}{
		{"d/a", []string{"d/a/1", "d/a/2", "d/b"}}, // a prefix is no key
		{"d/a/1", []string{"d/a/2", "d/b"}},
		{"d/a/1", []string{"d/a/2", "d/b"}},
		{"d/a/2", []string{"d/b"}},
	} {
		if err := s.Delete(t.Context(), step.key); err != nil {
			t.Fatalf("delete %s: %v", step.key, err)
		}
		if got := Keys(t, s, store.Query{}); !slices.Equal(got, step.left) {
			t.Fatalf("after deleting %s: %q, want %q", step.key, got, step.left)
		}
	}
	// Creating and deleting neighbours at once must not get in each other's way.
	g, ctx := errgroup.WithContext(t.Context())
	for i := range 8 {
		g.Go(func() error {
			for range 5 {
				key := fmt.Sprintf("d/busy/%d/x", i%2) + fmt.Sprint(i)
				if _, err := s.Create(ctx, key, strings.NewReader(key), 0); err != nil {
					return err
				}
				if err := s.Delete(ctx, key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := Keys(t, s, store.Query{}); !slices.Equal(got, []string{"d/b"}) {
		t.Errorf("left: %q", got)
	}
}

// pick is [store.Query] done the plain way.
func pick(sorted []string, q store.Query) []string {
	var picked []string
	for _, key := range sorted {
		rest, ok := strings.CutPrefix(key, q.Prefix)
		if ok && key > q.After && !(q.Shallow && strings.Contains(rest, "/")) {
			picked = append(picked, key)
		}
	}
	return picked
}

func testOrder(t *testing.T, s store.Store) {
	rng := rand.New(rand.NewPCG(1, 2))
	// The slash sorts after "-" and "." and before digits and letters.
	parts := []string{"a", "a-b", "a.db", "a0", "ab", "A", "b", "a b", "aé", "é", "a~", "-"}
	taken := map[string]bool{}
	var keys []string
	for len(keys) < 120 {
		var path []string
		for range 1 + rng.IntN(3) {
			path = append(path, parts[rng.IntN(len(parts))])
		}
		path = append(path, "o"+parts[rng.IntN(len(parts))]) // no key is the beginning of another
		if key := strings.Join(path, "/"); !taken[key] {
			taken[key] = true
			keys = append(keys, key)
		}
	}
	fill(t, s, keys)
	slices.Sort(keys)
	random := func() string {
		key := keys[rng.IntN(len(keys))]
		switch rng.IntN(5) {
		case 0:
			return ""
		case 1:
			return key[:rng.IntN(len(key)+1)]
		case 2:
			return key[:strings.LastIndexByte(key, '/')+1]
		case 3:
			return key + "0"
		}
		return key
	}
	for range 150 {
		q := store.Query{Prefix: random(), After: random(), Shallow: rng.IntN(2) == 0}
		q.Prefix, q.After = strings.ToValidUTF8(q.Prefix, ""), strings.ToValidUTF8(q.After, "")
		if got, want := Keys(t, s, q), pick(keys, q); !slices.Equal(got, want) {
			t.Fatalf("list %+v:\ngot  %q\nwant %q", q, got, want)
		}
	}
}

// fill creates an object for every key that holds the key.
func fill(t *testing.T, s store.Store, keys []string) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(16)
	for _, key := range keys {
		g.Go(func() error {
			_, err := s.Create(ctx, key, strings.NewReader(key), int64(len(key)))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testManyKeys(t *testing.T, s store.Store) {
	var keys []string
	for i := range 1100 { // servers list 1,000 at once
		keys = append(keys, fmt.Sprintf("many/%05d", i*7))
	}
	side := []string{"many-/x", "many/00000-/below", "many0", "many/09999-/below/x"}
	fill(t, s, append(slices.Clone(keys), side...))
	all := append(slices.Clone(keys), side...)
	slices.Sort(all)
	for _, q := range []store.Query{
		{},
		{Prefix: "many/"},
		{Prefix: "many/", Shallow: true},
		{Prefix: "many/", Shallow: true, After: "many/03500"},
		{Prefix: "many/", After: "many/03501"},
		{Prefix: "many/01", After: "many/01400"},
		{Prefix: "many/", After: "many/99999"},
		{Prefix: "many/", After: "a"},
		{Prefix: "a", After: "many/"},
		{After: "many/07"},
		{Shallow: true},
	} {
		if got, want := Keys(t, s, q), pick(all, q); !slices.Equal(got, want) {
			t.Errorf("list %+v: %d keys, want %d", q, len(got), len(want))
		}
	}
}

func testEarlyStop(t *testing.T, s store.Store) {
	fill(t, s, []string{"a/1", "a/2", "b/1", "c"})
	for stop := 1; stop <= 4; stop++ {
		n := 0
		for _, err := range s.List(t.Context(), store.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("listed %d, want %d", n, stop)
		}
	}
}

func testSkew(t *testing.T, s store.Store) {
	for _, when := range []string{"before", "after"} {
		skew, err := s.Skew(t.Context())
		if err != nil {
			t.Fatalf("%s the first object: %v", when, err)
		}
		if skew.Abs() > time.Hour {
			t.Errorf("%s the first object: skew %v", when, skew)
		}
		o := Put(t, s, "clock/"+when, []byte("tick"))
		// Object times are whole seconds on some stores.
		if off := time.Until(o.Stored) - skew; off.Abs() > 5*time.Second {
			t.Errorf("stored %v from now by a clock %v ahead", time.Until(o.Stored), skew)
		}
	}
}
