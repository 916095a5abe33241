package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"filippo.io/age"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/agetool"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

const chunk = 64 << 10

// newKey returns a key of age.
func newKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func recipients(t testing.TB, list ...seal.Recipient) *seal.Recipients {
	t.Helper()
	rs, err := seal.NewRecipients(list...)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// encrypt returns text encrypted.
func encrypt(t testing.TB, text []byte, rs *seal.Recipients) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := rs.Encrypt(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if most := seal.Most(int64(len(text))); int64(b.Len()) > most {
		t.Fatalf("%d bytes became %d, more than %d", len(text), b.Len(), most)
	}
	return b.Bytes()
}

// noise returns n bytes by chance.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// A memory store holds one object and counts how often it is read.
type memory struct {
	store.Store
	object []byte
	wrap   func(io.Reader) io.Reader

	mu    sync.Mutex
	reads []format.Span
}

func (m *memory) Open(_ context.Context, _ store.Object, off, n int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads = append(m.reads, format.Span{Off: off, Len: n})
	var r io.Reader = bytes.NewReader(m.object[min(off, int64(len(m.object))):min(off+n, int64(len(m.object)))])
	if m.wrap != nil {
		r = m.wrap(r)
	}
	return io.NopCloser(r), nil
}

func (m *memory) entry() store.Object { return store.Object{Key: "a.age", Size: int64(len(m.object))} }

// taken returns what was read since it was last called.
func (m *memory) taken() []format.Span {
	defer func() { m.reads = nil }()
	return m.reads
}

func TestRanges(t *testing.T) {
	key := newKey(t)
	rs, ids := recipients(t, key.Recipient()), seal.NewIdentities(key)
	for _, size := range []int{0, 1, 100, chunk - 1, chunk, chunk + 1, 2 * chunk, 5*chunk - 1, 5 * chunk, 9*chunk + 7, 40 * chunk} {
		text := noise(size)
		for _, kept := range []int64{1, 2 * chunk, 100 * chunk} {
			for _, encrypted := range []bool{true, false} {
				m := &memory{object: text}
				if encrypted {
					m.object = encrypt(t, text, rs)
				}
				x, err := seal.Open(t.Context(), m, m.entry(), encrypted, kept, ids)
				if err != nil {
					t.Fatalf("%d bytes, encrypted %t, %d kept: %v", size, encrypted, kept, err)
				}
				if x.Size() != int64(size) {
					t.Fatalf("%d bytes are said to be %d", size, x.Size())
				}
				if most := 2; len(m.taken()) > most {
					t.Errorf("%d bytes: opened with more than %d requests", size, most)
				}
				end, err := x.End()
				if err != nil || int64(len(end)) < min(kept, int64(size)) || !bytes.HasSuffix(text, end) {
					t.Fatalf("the end of %d bytes are other %d (%v)", size, len(end), err)
				}
				if got := len(m.taken()); got > 0 {
					t.Errorf("the end of %d bytes: %d requests", size, got)
				}
				checkRanges(t, m, x, text)
			}
		}
	}
}

// checkRanges reads text by ranges, each with one request at most.
func checkRanges(t *testing.T, m *memory, x *seal.Object, text []byte) {
	t.Helper()
	size := int64(len(text))
	for range 20 {
		if size == 0 {
			return
		}
		off := rand.Int64N(size)
		s := format.Span{Off: off, Len: 1 + rand.Int64N(size-off)}
		switch rand.IntN(3) {
		case 0:
			s.Off -= s.Off % chunk
			s.Len = min(size-s.Off, chunk)
		case 1:
			s.Len = min(s.Len, 10)
		}
		m.taken()
		got, err := x.Read(t.Context(), s)
		if err != nil || !bytes.Equal(got, text[s.Off:s.End()]) {
			t.Fatalf("%+v of %d is not what was written (%v)", s, size, err)
		}
		reads := m.taken()
		if len(reads) > 1 {
			t.Errorf("%+v of %d: %d requests", s, size, len(reads))
		}
		if len(reads) == 1 && reads[0].Len > s.Len+2*(chunk+16)+(s.Len/chunk+1)*16 {
			t.Errorf("%+v of %d: a request of %d bytes", s, size, reads[0].Len)
		}
		r, err := x.OpenStored(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if s.Len < 100_000 {
			err = iotest.TestReader(r, text[s.Off:s.End()]) // which reads byte by byte
		} else if got, err = io.ReadAll(r); err == nil && !bytes.Equal(got, text[s.Off:s.End()]) {
			err = errors.New("it is not what was written")
		}
		if err != nil {
			t.Fatalf("%+v of %d: %v", s, size, err)
		}
		if got := len(m.taken()); got != 1 {
			t.Errorf("%+v of %d from the store: %d requests", s, size, got)
		}
	}
}

// TestSpill reads what was kept from where it was spilled, with no more requests than before. If it cannot be
// read there, that is no damage of the object.
func TestSpill(t *testing.T) {
	key := newKey(t)
	broken := errors.New("disk I/O error")
	for _, encrypted := range []bool{true, false} {
		for _, size := range []int{1, chunk, 20*chunk + 3} {
			text := noise(size)
			m := &memory{object: text}
			if encrypted {
				m.object = encrypt(t, text, recipients(t, key.Recipient()))
			}
			x, err := seal.Open(t.Context(), m, m.entry(), encrypted, 10, seal.NewIdentities(key))
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.Create(filepath.Join(t.TempDir(), "spool"))
			if err != nil {
				t.Fatal(err)
			}
			var spilled int64
			err = x.Spill(func(b []byte) (io.ReaderAt, error) {
				at := spilled
				spilled += int64(len(b))
				_, err := file.WriteAt(b, at)
				return io.NewSectionReader(file, at, int64(len(b))), err
			})
			if err != nil || spilled == 0 || spilled > int64(len(m.object)) {
				t.Errorf("spilled %d bytes of %d (%v)", spilled, len(m.object), err)
			}
			checkRanges(t, m, x, text)
			m.taken()
			last := format.Span{Off: int64(size) - 1, Len: 1}
			if _, err := x.Read(t.Context(), last); err != nil || len(m.taken()) > 0 {
				t.Errorf("the last byte is not kept (%v)", err)
			}
			if err := x.Spill(func([]byte) (io.ReaderAt, error) { return nil, broken }); !errors.Is(err, broken) {
				t.Errorf("spilled to a broken disk: %v", err)
			}
			file.Close()
			if _, err := x.Read(t.Context(), last); !errors.Is(err, os.ErrClosed) || errors.Is(err, format.ErrDamaged) {
				t.Errorf("read from a closed file: %v", err)
			}
		}
	}
}

// TestExtend wants more of the end, and then all.
func TestExtend(t *testing.T) {
	key := newKey(t)
	text := noise(20*chunk + 3)
	for _, encrypted := range []bool{true, false} {
		m := &memory{object: text}
		if encrypted {
			m.object = encrypt(t, text, recipients(t, key.Recipient()))
		}
		x, err := seal.Open(t.Context(), m, m.entry(), encrypted, 10, seal.NewIdentities(key))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{3 * chunk, 20 * chunk, 20*chunk + 3} {
			m.taken()
			if err := x.Extend(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			end, err := x.End()
			if err != nil || int64(len(end)) < n || !bytes.HasSuffix(text, end) {
				t.Errorf("%d bytes are not the end (%v)", len(end), err)
			}
			if got := len(m.taken()); got != 1 {
				t.Errorf("%d requests", got)
			}
		}
	}
}

// TestConcurrentReads reads from many goroutines at once.
func TestConcurrentReads(t *testing.T) {
	key := newKey(t)
	text := noise(30 * chunk)
	m := &memory{object: encrypt(t, text, recipients(t, key.Recipient()))}
	ids := seal.NewIdentities(newKey(t), key)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			x, err := seal.Open(t.Context(), m, m.entry(), true, chunk, ids)
			if err != nil {
				t.Error(err)
				return
			}
			for j := range int64(4) {
				wait.Go(func() {
					s := format.Span{Off: int64(i)*chunk + j, Len: 20 * chunk}
					if got, err := x.Read(t.Context(), s); err != nil || !bytes.Equal(got, text[s.Off:s.End()]) {
						t.Errorf("%+v is not what was written (%v)", s, err)
					}
				})
			}
		})
	}
	wait.Wait()
}

// TestHeaders reads objects with headers of all sizes.
func TestHeaders(t *testing.T) {
	key := newKey(t)
	text := noise(5 * chunk)
	for _, others := range []int{0, 10, 80, 300} {
		list := []seal.Recipient{}
		for range others {
			list = append(list, newKey(t).Recipient())
		}
		m := &memory{object: encrypt(t, text, recipients(t, append(list, key.Recipient())...))}
		x, err := seal.Open(t.Context(), m, m.entry(), true, 100, seal.NewIdentities(key))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(x.Readers()); got != others+1 {
			t.Errorf("%d readers, want %d", got, others+1)
		}
		if got, err := x.Read(t.Context(), format.Span{Len: int64(len(text))}); err != nil || !bytes.Equal(got, text) {
			t.Errorf("beside %d others it is not what was written (%v)", others, err)
		}
	}
}

// TestFaults checks that what the store could not deliver is not called damaged.
func TestFaults(t *testing.T) {
	key := newKey(t)
	text := noise(20 * chunk)
	ids := seal.NewIdentities(key)
	fault := errors.New("the line is dead")
	m := &memory{object: encrypt(t, text, recipients(t, key.Recipient()))}
	x, err := seal.Open(t.Context(), m, m.entry(), true, 100, ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want error
		wrap func(io.Reader) io.Reader
	}{
		{"dead", fault, func(io.Reader) io.Reader { return iotest.ErrReader(fault) }},
		{"broken off", fault, func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 1000), iotest.ErrReader(fault))
		}},
		{"short", io.ErrUnexpectedEOF, func(r io.Reader) io.Reader { return io.LimitReader(r, 1000) }},
	} {
		m.wrap = c.wrap
		if _, err := x.Read(t.Context(), format.Span{Off: 10, Len: 9 * chunk}); !errors.Is(err, c.want) || errors.Is(err, format.ErrDamaged) {
			t.Errorf("%s: reading: %v", c.name, err)
		}
		if _, err := seal.Open(t.Context(), m, m.entry(), true, 100, ids); !errors.Is(err, c.want) || errors.Is(err, format.ErrDamaged) {
			t.Errorf("%s: opening: %v", c.name, err)
		}
	}
}

// readAll opens an object and reads all of it, in two ways.
func readAll(t testing.TB, object []byte, ids *seal.Identities) ([]byte, error) {
	t.Helper()
	m := &memory{object: object}
	x, err := seal.Open(t.Context(), m, m.entry(), true, 100, ids)
	if err != nil {
		return nil, err
	}
	if _, err := x.End(); err != nil {
		return nil, err
	}
	if x.Size() == 0 {
		return nil, nil
	}
	r, err := x.OpenStored(t.Context(), format.Span{Len: x.Size()})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestHostile changes objects in every region and in every way. What is read is never other than what was
// written; all that is not so in the text is called damage, and in the header damage or another's.
func TestHostile(t *testing.T) {
	key := newKey(t)
	ids, rs := seal.NewIdentities(key), recipients(t, newKey(t).Recipient(), key.Recipient())
	text := noise(3*chunk + 5)
	object := encrypt(t, text, rs)
	header := bytes.Index(object, []byte("\n--- ")) + len("\n--- ") + 44 // the MAC in base 64, and a line's end
	const whole = chunk + 16
	payload := header + 16
	check := func(name string, bad []byte, inText bool) {
		t.Helper()
		got, err := readAll(t, bad, ids)
		locked, isLocked := errors.AsType[*seal.LockedError](err)
		switch {
		case err == nil && bytes.Equal(got, text) && !inText:
		case errors.Is(err, format.ErrDamaged):
		case isLocked && !inText && locked.Key == "a.age" && len(locked.Readers) > 0:
		default:
			t.Errorf("%s: %d bytes and %v", name, len(got), err)
		}
	}
	for at := range header {
		bad := slices.Clone(object)
		bad[at] ^= 1 << rand.IntN(8)
		check(fmt.Sprintf("header, byte %d", at), bad, false)
		check(fmt.Sprintf("header cut off at %d", at), object[:at], true)
	}
	for at := header; at < len(object); at += 1 + rand.IntN(2000) {
		bad := slices.Clone(object)
		bad[at] ^= 1 << rand.IntN(8)
		check(fmt.Sprintf("byte %d", at), bad, true)
		check(fmt.Sprintf("cut off at %d", at), object[:at], true)
		check(fmt.Sprintf("byte %d lost", at), slices.Delete(slices.Clone(object), at, at+1), true)
	}
	for i := range 4 {
		check(fmt.Sprintf("cut off after chunk %d", i), object[:payload+i*whole], true)
	}
	swapped := slices.Concat(object[:payload], object[payload+whole:payload+2*whole], object[payload:payload+whole], object[payload+2*whole:])
	check("chunks exchanged", swapped, true)
	check("a chunk twice", slices.Concat(object[:payload+whole], object[payload:]), true)
	check("a chunk lost", slices.Concat(object[:payload], object[payload+whole:]), true)
	check("more at the end", append(slices.Clone(object), 0), true)
	check("another object's text", slices.Concat(object[:payload], encrypt(t, text, rs)[payload:]), true)
	check("nothing", nil, true)
	check("an endless header", append([]byte("age-encryption.org/v1\n"), bytes.Repeat([]byte("-> X25519 a\n"), 3<<20/12)...), true)
	check("an endless line", append([]byte("age-encryption.org/v1\n"), bytes.Repeat([]byte("-"), 3<<20)...), true)
}

// FuzzOpen checks that no bytes make a reader panic, or return anything that is not authentic.
func FuzzOpen(f *testing.F) {
	key := newKey(f)
	ids, rs := seal.NewIdentities(key), recipients(f, key.Recipient())
	texts := [][]byte{nil, []byte("text"), noise(chunk), noise(2*chunk + 1)}
	for _, text := range texts {
		f.Add(encrypt(f, text, rs))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		got, err := readAll(t, object, ids)
		if err != nil {
			if !errors.Is(err, format.ErrDamaged) && !errors.As(err, new(*seal.LockedError)) {
				t.Fatal(err)
			}
			return
		}
		if !slices.ContainsFunc(texts, func(text []byte) bool { return bytes.Equal(text, got) }) {
			t.Fatalf("%d bytes that nobody wrote", len(got))
		}
	})
}

// TestStockTool lets the age tool read what we write, and reads what it writes.
func TestStockTool(t *testing.T) {
	dir := t.TempDir()
	if err := agetool.Build(dir); err != nil {
		t.Fatal(err)
	}
	tool, keygen := filepath.Join(dir, "age"), filepath.Join(dir, "age-keygen")
	secret, sealed := filepath.Join(dir, "key.txt"), filepath.Join(dir, "a.age")
	if out, err := exec.Command(keygen, "-o", secret).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := exec.Command(keygen, "-y", secret).Output()
	if err != nil {
		t.Fatal(err)
	}
	list, err := seal.ParseRecipients(public)
	if err != nil {
		t.Fatal(err)
	}
	text := noise(3 * chunk)
	if err := os.WriteFile(sealed, encrypt(t, text, recipients(t, list...)), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command(tool, "-d", "-i", secret, sealed).Output()
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("age reads %d bytes (%v)", len(got), err)
	}
	cmd := exec.Command(tool, "-r", strings.TrimSpace(string(public)))
	cmd.Stdin = bytes.NewReader(text)
	object, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := seal.ParseIdentities(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t, object, seal.NewIdentities(ids...)); err != nil || !bytes.Equal(got, text) {
		t.Errorf("what age wrote reads as %d bytes (%v)", len(got), err)
	}
}
