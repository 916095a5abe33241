package catalog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// push stores a snapshot of the database app.db and returns it.
func push(t *testing.T, st store.Store, pageSize int, data []byte) *upload.Result {
	t.Helper()
	return pushTagged(t, st, pageSize, data, "")
}

func pushTagged(t *testing.T, st store.Store, pageSize int, data []byte, tag string) *upload.Result {
	t.Helper()
	opts := upload.Options{
		Full:     true,
		Database: "app.db",
		Source:   format.Source{Host: "h", Path: "/p"},
		Tags:     map[string]string{"tag": tag},
	}
	r, err := uploadtest.Push(t.Context(), st, opts, pageSize, data, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReadTail(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	for _, c := range []struct{ pageSize, pages, tag int }{{0, 0, 0}, {512, 1, 0}, {4096, 600, 0}, {4096, 600, 2 * format.FirstTail}} {
		data := make([]byte, c.pageSize*c.pages)
		r := pushTagged(t, st, c.pageSize, data, hex.EncodeToString(storetest.Bytes(c.tag)))
		reads := storetest.Fault(st)
		tail, err := catalog.ReadTail(t.Context(), reads, r.Snapshot, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tail.Index.Root != r.Index.Root || tail.Index.Snapshot != r.Snapshot.Name || len(tail.Data) != (len(data)+format.FrameSize-1)/format.FrameSize {
			t.Errorf("%+v: the tail is another's: %+v", c, tail.Index)
		}
		// An unusually large one takes another read.
		if n := len(reads.Calls()); n != 1+min(c.tag, 1) {
			t.Errorf("%+v: %d reads", c, n)
		}
	}
}

// rewrite stores an object's bytes, changed, under the key of a snapshot that is made for it.
func rewrite(t *testing.T, st store.Store, k format.Key, b []byte) catalog.Snapshot {
	t.Helper()
	o, err := st.Create(t.Context(), k.String(), bytes.NewReader(b), 0)
	if err != nil {
		t.Fatal(err)
	}
	return catalog.Snapshot{Key: k, Object: o}
}

// TestNotTheOne reads objects that are sound and not what their key promises.
func TestNotTheOne(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	r := push(t, st, 512, memimage.Text(1, 512, 9))
	object := storetest.Get(t, st, r.Snapshot.Object, 0, -1)
	name := r.Snapshot.Name
	later, other := name, name
	later.Time++
	other.ID++
	for what, key := range map[string]string{
		"another time":     format.FullKey("app.db", later).String(),
		"another id":       format.FullKey("app.db", other).String(),
		"another database": format.FullKey("bpp.db", name).String(),
		"one below":        format.FullKey("app.db/app.db", name).String(),
		"a delta":          "app.db/" + later.String() + ".on-" + name.ID.String() + ".delta.zst",
	} {
		k, ok := format.ParseKey(key)
		if !ok {
			t.Fatal(key)
		}
		_, err := catalog.ReadTail(t.Context(), st, rewrite(t, st, k, object), nil)
		if !errors.Is(err, format.ErrDamaged) || !strings.Contains(err.Error(), "renamed") || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := catalog.ReadTail(t.Context(), st, r.Snapshot, nil); err != nil {
		t.Error(err)
	}
}

// TestNotOurs reads objects that somebody else made.
func TestNotOurs(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	for i, b := range [][]byte{
		nil, {0}, []byte("a text, and not even a long one"), make([]byte, 1000), storetest.Bytes(300 << 10),
		append([]byte("SQLite format 3\x00"), make([]byte, 4080)...),
		append([]byte("\x28\xb5\x2f\xfd"), storetest.Bytes(5000)...), // any zstd frame
		[]byte("age-encryption.org/v1\n-> X25519 and so on"),
	} {
		k := format.FullKey("app.db", format.Name{Time: format.Time(i), ID: 1})
		if _, err := catalog.ReadTail(t.Context(), st, rewrite(t, st, k, b), nil); !errors.Is(err, format.ErrDamaged) {
			t.Errorf("number %d: %v", i, err)
		}
	}
}

// TestLaterVersion reads objects of a version to come: one that differs in its number alone, and
// one that also ends otherwise.
func TestLaterVersion(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	r := push(t, st, 512, memimage.Text(1, 512, 9))
	object := storetest.Get(t, st, r.Snapshot.Object, 0, -1)
	tail, err := catalog.ReadTail(t.Context(), st, r.Snapshot, nil)
	if err != nil {
		t.Fatal(err)
	}
	index := format.Span{Off: tail.Segments[0].End()}
	index.Len = int64(len(object)) - (8 + 8*4 + 9) - index.Off // a seek table of four frames follows
	both := bytes.Clone(object)
	setVersion(both, tail.Header, 7)
	setVersion(both, index, 7)
	indexOnly := bytes.Clone(object)
	setVersion(indexOnly, index, 7)
	headerOnly := bytes.Clone(object)
	setVersion(headerOnly, tail.Header, 7)
	for what, b := range map[string][]byte{
		"the same but for the version": both,
		"its index alone":              indexOnly,
		"another end":                  append(headerOnly, "and something new"...),
		"cut short":                    headerOnly[:len(headerOnly)/2],
	} {
		k := r.Snapshot.Key
		k.Database = what
		_, err := catalog.ReadTail(t.Context(), st, rewrite(t, st, k, b), nil)
		if v, ok := errors.AsType[*format.VersionError](err); !ok || v.Version != 7 || errors.Is(err, format.ErrDamaged) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// setVersion changes the version in a header or index frame and makes its hash right.
func setVersion(object []byte, s format.Span, version uint32) {
	p := object[s.Off+8 : s.End()]
	binary.LittleEndian.PutUint32(p[8:], version)
	body := p[:len(p)-sha256.Size]
	sum := sha256.Sum256(body)
	copy(p[len(body):], sum[:])
}

// TestTruncated reads an object that lost its end.
func TestTruncated(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	r := push(t, st, 512, memimage.Text(1, 512, 9))
	object := storetest.Get(t, st, r.Snapshot.Object, 0, -1)
	for n := 0; n < len(object); n += 1 + n%20 {
		k := r.Snapshot.Key
		k.Name.Time += format.Time(n) + 1
		if _, err := catalog.ReadTail(t.Context(), st, rewrite(t, st, k, object[:n]), nil); !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%d of %d bytes: %v", n, len(object), err)
		}
	}
}

// TestChanged reads an object that was replaced, or cut short, after it had been listed.
func TestChanged(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	r := push(t, st, 512, memimage.Text(1, 512, 9))
	path := filepath.Join(st.String(), r.Snapshot.Object.Key)
	if err := errors.Join(os.Chmod(path, 0o600), os.Truncate(path, 100)); err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.ReadTail(t.Context(), st, r.Snapshot, nil); !errors.Is(err, store.ErrChanged) || errors.Is(err, format.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// A short store's bodies end early, and against the contract without saying so.
type short struct{ store.Store }

func (s short) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	return s.Store.Open(ctx, o, off, n/2)
}

// TestReadFaults checks that what could not be read is not called damaged.
func TestReadFaults(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	r := push(t, st, 512, memimage.Text(1, 512, 9))
	for _, how := range []storetest.How{storetest.Before, storetest.After, storetest.Cut} {
		_, err := catalog.ReadTail(t.Context(), storetest.Fault(st, storetest.Step{Call: 1, How: how}), r.Snapshot, nil)
		if err == nil || errors.Is(err, format.ErrDamaged) || !strings.Contains(err.Error(), r.Snapshot.Object.Key) {
			t.Errorf("%v: %v", how, err)
		}
	}
	if _, err := catalog.ReadTail(t.Context(), short{st}, r.Snapshot, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short body: %v", err)
	}
	if err := st.Delete(t.Context(), r.Snapshot.Object.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.ReadTail(t.Context(), st, r.Snapshot, nil); !errors.Is(err, store.ErrNoBucket) && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("deleted: %v", err)
	}
}

// TestLookingAgainFails checks what is said of an object that cannot be understood when its start
// cannot be read.
func TestLookingAgainFails(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	snap := rewrite(t, st, format.FullKey("app.db", format.Name{Time: 1, ID: 1}), make([]byte, format.FirstTail+100))
	_, err := catalog.ReadTail(t.Context(), storetest.Fault(st, storetest.Step{Call: 2, How: storetest.Before}), snap, nil)
	if !errors.Is(err, storetest.ErrFault) {
		t.Errorf("got %v", err)
	}
}
