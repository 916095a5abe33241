package snapshot

import "io"

// aheadSize is how many bytes are read at once. They should fit into a core's own cache.
const aheadSize = 256 << 10

// A readAhead serves small reads in ascending order from large ones: it saves a backup, which reads
// page by page, half of its time.
//
// It may be used only while nobody can change what is read. In the rollback-journal modes that is
// as long as SQLite holds a lock. In WAL mode it is a read transaction: what may be written back to
// the database meanwhile are only pages of which the transaction sees a copy in the WAL, so it
// reads those there (https://sqlite.org/walformat.html section 2.4).
type readAhead struct {
	on   bool // by whoever knows that it may
	buf  []byte
	off  int64 // of buf's first byte in the file
	next int64 // where the last read ended
}

// begin allows reading ahead.
func (r *readAhead) begin() {
	r.on = true
	r.forget()
}

// forget drops what was read ahead.
func (r *readAhead) forget() { r.buf, r.next = r.buf[:0], -1 }

// ReadAt reads len(p) bytes of f at off.
func (r *readAhead) ReadAt(f io.ReaderAt, p []byte, off int64) (int, error) {
	if !r.on || len(p) < 512 || len(p) > aheadSize/2 {
		return f.ReadAt(p, off)
	}
	if !r.holds(p, off) {
		near := off >= r.next && off-r.next < aheadSize // else it is not worth it
		r.next = off + int64(len(p))
		if !near {
			return f.ReadAt(p, off)
		}
		if cap(r.buf) == 0 {
			r.buf = make([]byte, aheadSize)
		}
		n, err := f.ReadAt(r.buf[:aheadSize], off)
		r.buf, r.off = r.buf[:n], off
		if n < len(p) {
			r.forget()
			if err == io.EOF {
				return f.ReadAt(p, off)
			}
			return 0, err
		}
	}
	r.next = off + int64(len(p))
	return copy(p, r.buf[off-r.off:]), nil
}

// holds reports whether p, which starts at off, was read ahead.
func (r *readAhead) holds(p []byte, off int64) bool {
	return off >= r.off && off+int64(len(p)) <= r.off+int64(len(r.buf))
}
