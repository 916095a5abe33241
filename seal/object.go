package seal

import (
	"bytes"
	"context"
	"errors"
	"io"

	"filippo.io/age"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// See https://c2sp.org/age: a header, a nonce, and the text in chunks, each encrypted for itself.
const (
	intro     = "age-encryption.org/v1\n"
	nonceSize = 16
	chunkSize = 64 << 10
	overhead  = 16 // of each chunk

	// maxHeader is the largest header that is read or written: that of some thousands of recipients.
	maxHeader = 1 << 20
	// firstHead is how much is read of the beginning of an object at first: the headers that there are,
	// and the first chunk.
	firstHead = 8<<10 + chunkSize
)

// An Object is what an object of a store holds, decrypted if it is encrypted. The end of it is kept in
// memory, or where Spill puts it. Methods may be called concurrently, except that Extend and Spill must be alone.
type Object struct {
	st     store.Store
	stored store.Object
	end    piece // the last bytes, as they are stored

	// The rest is for what is encrypted.
	head    piece // the first bytes, as they are stored, with the whole header and the nonce
	payload int64 // offset of the first chunk; 0 if it is not encrypted
	key     age.Identity
	readers Readers
}

// Open begins to read o, of which the last n bytes, or all, are kept. encrypted says whether it is. If no
// identity opens it the error is a [LockedError], if it is not as it was written a [format.ErrDamaged].
// It makes one request, or two for what is encrypted and large.
func Open(ctx context.Context, st store.Store, o store.Object, encrypted bool, n int64, ids *Identities) (*Object, error) {
	x := &Object{st: st, stored: o}
	if !encrypted {
		return x, x.Extend(ctx, n)
	}
	first := int64(firstHead)
	if o.Size <= first+n {
		first = o.Size
	}
	header, err := x.readHeader(ctx, first)
	if err != nil {
		return nil, err
	}
	key, readers, err := ids.unwrap(header)
	if locked, ok := errors.AsType[*LockedError](err); ok {
		locked.Key = o.Key
	}
	if err != nil {
		return nil, err
	}
	x.key, x.readers = age.NewInjectedFileKeyIdentity(key), readers
	return x, x.Extend(ctx, n)
}

// Examine looks at an encrypted object from outside, as one can without an identity: it is a
// [format.ErrDamaged] if it does not begin like what age encrypts or has a length that nothing has which age
// encrypts. Something of it must be encrypted, be it one byte.
func Examine(ctx context.Context, st store.Store, o store.Object) error {
	x := &Object{st: st, stored: o}
	if _, err := x.readHeader(ctx, min(o.Size, firstHead)); err != nil {
		return err
	}
	if last := (o.Size - x.payload) % (chunkSize + overhead); last != 0 && last <= overhead {
		return damaged("it has %d bytes, which is no length of what age encrypts", o.Size)
	}
	return nil
}

// readHeader reads the first n bytes, or more, if the header is larger, and returns the header.
func (x *Object) readHeader(ctx context.Context, n int64) ([]byte, error) {
	head, err := store.ReadRange(ctx, x.st, x.stored, 0, n)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(head, []byte(intro)) {
		return nil, damaged("it does not begin like what age encrypts")
	}
	size, ok := headerSize(head)
	if more := min(x.stored.Size, maxHeader+nonceSize+chunkSize+overhead); !ok && n < more {
		return x.readHeader(ctx, more)
	}
	if !ok || size > maxHeader || size+nonceSize+overhead > x.stored.Size {
		return nil, damaged("header: it does not end")
	}
	if size+nonceSize > n {
		return x.readHeader(ctx, size+nonceSize)
	}
	x.head, x.payload = inMemory(head), size+nonceSize
	return head[:size], nil
}

// headerSize returns the size of the header that an object begins with, if all of it is there.
func headerSize(head []byte) (int64, bool) {
	const last = "\n--- "
	at := bytes.Index(head, []byte(last))
	if at < 0 {
		return 0, false
	}
	at += len(last)
	n := bytes.IndexByte(head[at:], '\n')
	return int64(at + n + 1), n >= 0
}

// Size returns the size in bytes.
func (x *Object) Size() int64 {
	if x.payload == 0 {
		return x.stored.Size
	}
	return x.stored.Size - x.payload - x.chunks()*overhead
}

// Readers returns for whom the object is encrypted; none if it is not.
func (x *Object) Readers() Readers { return x.readers }

func (x *Object) chunks() int64 {
	const whole = chunkSize + overhead
	return (x.stored.Size - x.payload + whole - 1) / whole
}

// chunkAt returns where a chunk is stored.
func (x *Object) chunkAt(i int64) int64 { return x.payload + i*(chunkSize+overhead) }

// Extend makes sure that at least the last n bytes are kept, or all, and that they are the end.
func (x *Object) Extend(ctx context.Context, n int64) error {
	if x.payload == 0 {
		return x.keepFrom(ctx, max(0, x.stored.Size-n))
	}
	from := x.chunkAt(max(0, min(x.Size()-n, x.Size()-1)) / chunkSize)
	if x.head.size == x.stored.Size {
		x.end = x.head.from(from)
	} else if err := x.keepFrom(ctx, from); err != nil {
		return err
	}
	_, err := x.decrypt(&window{})
	return err
}

// keepFrom reads the stored bytes from an offset on, to keep them.
func (x *Object) keepFrom(ctx context.Context, off int64) error {
	b, err := store.ReadRange(ctx, x.st, x.stored, off, x.stored.Size-off)
	if err != nil {
		return err
	}
	x.end = inMemory(b)
	return nil
}

// Spill moves what is kept in memory to where put puts it, for whoever has many objects open. What put
// returns must be readable for as long as the object is used.
func (x *Object) Spill(put func([]byte) (io.ReaderAt, error)) (err error) {
	if x.payload > 0 {
		if x.head, err = x.head.spill(put); err != nil {
			return err
		}
		if x.head.size == x.stored.Size {
			x.end = x.head.from(x.endAt())
			return nil
		}
	}
	x.end, err = x.end.spill(put)
	return err
}

// End returns the bytes at the end that are kept.
func (x *Object) End() ([]byte, error) {
	if x.payload == 0 {
		return x.end.bytes()
	}
	from := (x.endAt() - x.payload) / (chunkSize + overhead) * chunkSize
	s := format.Span{Off: from, Len: x.Size() - from}
	r, err := x.open(s, io.NopCloser(io.NewSectionReader(x.end, 0, x.end.size)), x.endAt())
	if err != nil {
		return nil, err
	}
	return store.ReadBody(r, s.Len)
}

// endAt returns where what is kept of the end is stored.
func (x *Object) endAt() int64 { return x.stored.Size - x.end.size }

// Open reads a range, which must be one of the object, from what is kept if it is there. The caller closes.
// What turns out not to be as it was written is a [format.ErrDamaged].
func (x *Object) Open(ctx context.Context, s format.Span) (io.ReadCloser, error) {
	from, to := x.where(s)
	kept, ok := x.kept(from, to)
	if !ok {
		return x.OpenStored(ctx, s)
	}
	return x.open(s, io.NopCloser(kept), from)
}

// Fetches returns how many bytes of the store Open reads for a range: 0 if it is kept.
func (x *Object) Fetches(s format.Span) int64 {
	from, to := x.where(s)
	if _, ok := x.kept(from, to); ok {
		return 0
	}
	return x.unkept(from, to) - from
}

// kept returns a reader of stored bytes, if they are kept.
func (x *Object) kept(from, to int64) (io.Reader, bool) {
	switch {
	case from >= x.endAt():
		return io.NewSectionReader(x.end, from-x.endAt(), to-from), true
	case to <= x.head.size:
		return io.NewSectionReader(x.head, from, to-from), true
	}
	return nil, false
}

// unkept returns until where the bytes from from to to have to be read: the last chunk is kept.
func (x *Object) unkept(from, to int64) int64 {
	if x.payload == 0 {
		return to
	}
	if last := x.chunkAt(x.chunks() - 1); from < last {
		return min(to, last)
	}
	return to
}

// OpenStored is as Open and reads from the store in any case.
func (x *Object) OpenStored(ctx context.Context, s format.Span) (io.ReadCloser, error) {
	from, to := x.where(s)
	body, err := x.st.Open(ctx, x.stored, from, x.unkept(from, to)-from)
	if err != nil {
		return nil, err
	}
	return x.open(s, body, from)
}

// Read returns a range, which must be one of the object, small enough for memory.
func (x *Object) Read(ctx context.Context, s format.Span) ([]byte, error) {
	if s.Len == 0 {
		return nil, nil
	}
	r, err := x.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	return store.ReadBody(r, s.Len)
}

// where returns the bytes that hold a range: whole chunks of what is encrypted.
func (x *Object) where(s format.Span) (from, to int64) {
	if x.payload == 0 {
		return s.Off, s.End()
	}
	return x.chunkAt(s.Off / chunkSize), min(x.stored.Size, x.chunkAt((s.End()-1)/chunkSize+1))
}

// open returns a reader of a range. body holds the bytes from from on that where says.
func (x *Object) open(s format.Span, body io.ReadCloser, from int64) (io.ReadCloser, error) {
	if x.payload == 0 {
		return body, nil
	}
	w := &window{body: body, at: from}
	text, err := x.decrypt(w)
	if err != nil {
		body.Close()
		return nil, err
	}
	return &reader{text: text, window: w, at: s.Off, end: s.End()}, nil
}
