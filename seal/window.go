package seal

import (
	"fmt"
	"io"

	"filippo.io/age"
)

// A window is what age sees of a stored object: the header and the last chunk, which it wants each time, and a
// range of chunks that are read one after the other. Thus a range of any size is one request.
type window struct {
	x    *Object
	body io.ReadCloser
	at   int64 // where body goes on
	err  error // of what was read, but for its end
}

// decrypt returns the text of what w shows, after checking the end of the object.
func (x *Object) decrypt(w *window) (io.ReaderAt, error) {
	w.x = x
	text, _, err := age.DecryptReaderAt(w, x.stored.Size, x.key)
	if w.err != nil {
		return nil, w.err
	}
	if err != nil {
		return nil, damaged("%v", err)
	}
	return text, nil
}

// ReadAt reads the header with the nonce, the last chunk, or the next one of the body.
func (w *window) ReadAt(b []byte, off int64) (n int, err error) {
	last := w.x.chunkAt(w.x.chunks() - 1)
	switch {
	case off >= last:
		n, err = w.x.end.ReadAt(b, off-w.x.endAt())
	case off < w.x.payload:
		n, err = io.NewSectionReader(w.x.head, 0, w.x.payload).ReadAt(b, off)
	case off != w.at || w.body == nil:
		panic(fmt.Sprintf("seal: internal error: a read at %d, but at %d it goes on", off, w.at))
	default:
		n, err = io.ReadFull(w.body, b)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		w.at += int64(n)
	}
	if err != io.EOF {
		w.err = err
	}
	return n, err
}

// A reader reads a range of the text that a window shows.
type reader struct {
	text    io.ReaderAt
	window  *window
	at, end int64
	rest    []byte // of the chunk that is being read in small pieces
	err     error  // that all reads return from now on
}

func (r *reader) Read(b []byte) (int, error) {
	if len(r.rest) == 0 && len(b) > 0 && len(b) < chunkSize {
		r.rest = make([]byte, chunkSize-r.at%chunkSize)
		n, err := r.decrypt(r.rest)
		if r.rest = r.rest[:n]; n == 0 {
			return 0, err
		}
	}
	if len(r.rest) > 0 {
		n := copy(b, r.rest)
		r.rest = r.rest[n:]
		return n, nil
	}
	return r.decrypt(b)
}

// decrypt is as Read. It takes the memory of a chunk, however little is wanted.
func (r *reader) decrypt(b []byte) (int, error) {
	if r.at == r.end && r.err == nil {
		r.err = io.EOF
	}
	if r.err != nil || len(b) == 0 {
		return 0, r.err
	}
	n, err := r.text.ReadAt(b[:min(int64(len(b)), r.end-r.at)], r.at)
	r.at += int64(n)
	switch {
	case r.window.err != nil:
		r.err = r.window.err
	case err != nil && err != io.EOF:
		r.err = damaged("%v", err)
	}
	return n, r.err
}

func (r *reader) Close() error { return r.window.body.Close() }
