package snapshot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"syscall"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/disk"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/internal/tempfile"
)

const (
	batchSize = 1 << 20 // bytes of pages that are hashed and written together
	batches   = 12      // so at most 12 MiB wait for the disk
	hashers   = 2       // one core copies, so more would gain little
)

// A spool takes the pages of a database, in any order, hashes them and keeps both in unlinked
// temporary files, with a checksum of each page that [Image.ReadAt] compares: temporary files are not synced, and
// what a disk has lost may read as zeros. Its add, reset and finish methods belong to one goroutine.
//
// The hashing and writing is done by other goroutines in batches of contiguous pages, so that
// whoever adds pages, holding a lock on somebody's database, waits only when [batches] of them
// are behind.
type spool struct {
	dir   string
	salt  format.Salt
	base  Base // nil keeps every page
	meter *progress.Meter
	seal  bool // pages carry a checksum that has to be kept right, see sealPage

	data, table *os.File // table has an entry for each page
	pageSize    int      // bytes; 0 until the first page was added
	size        int64    // bytes, as the backup has set it

	batch *batch      // being filled, may be nil
	work  chan *batch // to the hashers
	free  chan *batch // back from them
	group sync.WaitGroup

	mu       sync.Mutex
	landed   sync.Cond // broadcast when a batch leaves inFlight
	inFlight []*batch  // guarded by mu
	metered  int64     // guarded by mu; bytes added to meter since the last reset
	err      error     // guarded by mu; the first failure
}

// A batch is a run of contiguous pages.
type batch struct {
	off      int64 // of the first byte in the image
	buf      []byte
	pageSize int
}

func (b *batch) overlaps(off, end int64) bool { return off < b.off+int64(len(b.buf)) && b.off < end }

// newSpool creates an empty spool, with the TempDir, Salt, Base, Copied and Logger of opts. Its
// close method must be called.
func newSpool(opts *Options) (*spool, error) {
	dir := opts.TempDir
	if dir == "" {
		dir = os.TempDir()
	}
	data, err := tempfile.Unlinked(dir)
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	table, err := tempfile.Unlinked(dir)
	if err != nil {
		data.Close()
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	if opts.Base == nil && inMemory(dir) { // what has changed since a base is little
		opts.Logger.Warn("the temporary directory is kept in memory: the image of the database will take as much of it", "dir", dir)
	}
	s := &spool{
		dir: dir, salt: opts.Salt, base: opts.Base, meter: opts.Copied, data: data, table: table,
		work: make(chan *batch, batches),
		free: make(chan *batch, batches),
	}
	s.landed.L = &s.mu
	for range batches {
		s.free <- new(batch)
	}
	for range hashers {
		s.group.Go(s.hash)
	}
	return s, nil
}

// close stops the hashers, waits for them, and closes the files unless they were given away.
func (s *spool) close() {
	close(s.work)
	s.group.Wait()
	if s.data != nil {
		s.data.Close()
		s.table.Close()
	}
}

// reserve reports whether there is room for an image of so many pages. How many of them will be
// kept beside a base is not known; it shows soon enough when there are too many.
func (s *spool) reserve(pages, pageSize int64) error {
	need := pages * (pageSize + entrySize)
	if s.base != nil {
		need = pages * entrySize
	}
	return disk.Reserve(s.dir, need)
}

// reset forgets every page.
func (s *spool) reset() error {
	if s.batch != nil {
		s.free <- s.batch
		s.batch = nil
	}
	s.wait(0, math.MaxInt64)
	s.mu.Lock()
	s.meter.Add(-s.metered)
	s.metered = 0
	s.mu.Unlock()
	s.pageSize, s.size = 0, 0
	if err := s.data.Truncate(0); err != nil {
		return err
	}
	if err := s.table.Truncate(0); err != nil {
		return err
	}
	return s.failure()
}

// add takes page, which starts at off in the image, and does not keep it.
func (s *spool) add(page []byte, off int64) error {
	if s.pageSize == 0 {
		s.pageSize = len(page)
	}
	if len(page) != s.pageSize || off%int64(s.pageSize) != 0 {
		return fmt.Errorf("internal error: %d bytes at %d are not a page of %d", len(page), off, s.pageSize)
	}
	if s.batch != nil && (off != s.batch.off+int64(len(s.batch.buf)) || len(s.batch.buf) == batchSize) {
		s.send()
	}
	if s.batch == nil {
		if err := s.failure(); err != nil {
			return err
		}
		s.batch = <-s.free
		s.batch.off, s.batch.pageSize = off, s.pageSize
		if s.batch.buf == nil {
			s.batch.buf = make([]byte, 0, batchSize)
		}
		s.batch.buf = s.batch.buf[:0]
	}
	s.batch.buf = append(s.batch.buf, page...)
	s.size = max(s.size, off+int64(len(page)))
	return nil
}

// addHashes enters the hashes of pages that need not be kept, from first on, but for those that skip says.
func (s *spool) addHashes(first uint32, hashes []format.PageHash, skip func(page uint32) bool) error {
	for i := 0; i < len(hashes); i++ {
		var b []byte
		from := first + uint32(i)
		for ; i < len(hashes) && !skip(first+uint32(i)); i++ {
			b = appendUnread(b, hashes[i])
		}
		if _, err := s.table.WriteAt(b, int64(from-1)*entrySize); err != nil {
			return s.full(err)
		}
	}
	return nil
}

// send gives the current batch to the hashers, after every older one that it overlaps: the
// newest content of a page has to be the last that is written.
func (s *spool) send() {
	b := s.batch
	s.batch = nil
	s.wait(b.off, b.off+int64(len(b.buf)))
	s.mu.Lock()
	s.inFlight = append(s.inFlight, b)
	s.mu.Unlock()
	s.work <- b
}

// wait returns when no batch on its way overlaps the bytes from off to end.
func (s *spool) wait(off, end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		busy := false
		for _, b := range s.inFlight {
			busy = busy || b.overlaps(off, end)
		}
		if !busy {
			return
		}
		s.landed.Wait()
	}
}

// hash hashes and writes batches until there are no more.
func (s *spool) hash() {
	h := &hashing{hasher: format.NewPageHasher(s.salt)}
	for b := range s.work {
		err := s.failure()
		if err == nil {
			err = s.write(b, h)
		}
		s.land(b, err)
	}
}

// hashing is what one hasher works with.
type hashing struct {
	hasher *format.PageHasher
	hashes []format.PageHash
	bytes  []byte // of entries
	same   []bool
}

// write writes the hashes of the pages in b, and those of the pages that have to be kept.
func (s *spool) write(b *batch, h *hashing) error {
	h.hashes, h.bytes = h.hashes[:0], h.bytes[:0]
	for page := b.buf; len(page) > 0; page = page[b.pageSize:] {
		if s.seal {
			sealPage(page[:b.pageSize])
		}
		hash := h.hasher.Hash(page[:b.pageSize])
		h.hashes = append(h.hashes, hash)
		h.bytes = appendEntry(h.bytes, hash, page[:b.pageSize])
	}
	if err := s.keep(b, h); err != nil {
		return err
	}
	if _, err := s.table.WriteAt(h.bytes, b.off/int64(b.pageSize)*entrySize); err != nil {
		return s.full(err)
	}
	return nil
}

// keep writes the pages of b that the base does not have. Page 1 is kept whatever it is: SQLite
// reads it back when it ends a backup.
func (s *spool) keep(b *batch, h *hashing) error {
	if cap(h.same) < len(h.hashes) {
		h.same = make([]bool, len(h.hashes))
	}
	same := h.same[:len(h.hashes)]
	clear(same)
	if s.base != nil {
		if err := s.base.Same(uint32(b.off/int64(b.pageSize))+1, h.hashes, same); err != nil {
			return err
		}
		if b.off == 0 {
			same[0] = false
		}
	}
	for i := 0; i < len(same); {
		n := i
		for n < len(same) && !same[n] {
			n++
		}
		if n > i {
			if _, err := s.data.WriteAt(b.buf[i*b.pageSize:n*b.pageSize], b.off+int64(i*b.pageSize)); err != nil {
				return s.full(err)
			}
		}
		i = n + 1
	}
	return nil
}

// land takes b out of flight.
func (s *spool) land(b *batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.err == nil {
		s.err = err
	}
	for i := range s.inFlight {
		if s.inFlight[i] == b {
			s.inFlight = append(s.inFlight[:i], s.inFlight[i+1:]...)
			break
		}
	}
	if err == nil {
		s.metered += int64(len(b.buf))
		s.meter.Add(int64(len(b.buf)))
	}
	s.landed.Broadcast()
	s.free <- b
}

// read fills p with bytes of the image as they are so far, from off on; what was never added
// is zeros.
func (s *spool) read(p []byte, off int64) (int, error) {
	if s.batch != nil {
		s.send()
	}
	s.wait(off, off+int64(len(p)))
	if err := s.failure(); err != nil {
		return 0, err
	}
	n, err := s.data.ReadAt(p, off)
	if err == io.EOF {
		clear(p[n:])
		n = int(min(int64(len(p)), max(0, s.size-off)))
		if n == len(p) {
			err = nil
		}
	}
	return n, err
}

// truncate sets the size of the image in bytes.
func (s *spool) truncate(size int64) error {
	if s.batch != nil {
		s.send()
	}
	s.wait(0, math.MaxInt64)
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.data.Truncate(size); err != nil {
		return s.full(err)
	}
	s.size = size
	return nil
}

// finish waits until all is written and gives the files away as the image of a database.
func (s *spool) finish() (*Image, error) {
	if s.batch != nil {
		s.send()
	}
	s.wait(0, math.MaxInt64)
	if err := s.failure(); err != nil {
		return nil, err
	}
	if s.size == 0 {
		m := &Image{salt: s.salt, data: s.data, table: s.table, root: format.NewRootHasher(0, 0, s.salt).Sum()}
		s.data, s.table = nil, nil
		return m, nil
	}
	if s.size%int64(s.pageSize) != 0 {
		return nil, fmt.Errorf("internal error: %d bytes are not whole pages of %d", s.size, s.pageSize)
	}
	pages := uint32(s.size / int64(s.pageSize))
	if err := s.checkHeader(pages); err != nil {
		return nil, err
	}
	if n := lockPage(s.pageSize); n <= pages {
		zeros := make([]byte, s.pageSize)
		e := appendEntry(nil, format.NewPageHasher(s.salt).Hash(zeros), zeros)
		if _, err := s.table.WriteAt(e, int64(n-1)*entrySize); err != nil {
			return nil, s.full(err)
		}
	}
	if err := s.table.Truncate(int64(pages) * entrySize); err != nil {
		return nil, s.full(err)
	}
	if err := s.data.Truncate(s.size); err != nil {
		return nil, s.full(err)
	}
	root, err := s.root(pages)
	if err != nil {
		return nil, err
	}
	m := &Image{salt: s.salt, pageSize: s.pageSize, pages: pages, partial: s.base != nil, data: s.data, table: s.table, root: root}
	s.data, s.table = nil, nil
	return m, nil
}

// checkHeader returns an error if the image's own header says another size. It is the last guard against a
// mistake in this package, or one that it does not foresee in SQLite.
func (s *spool) checkHeader(pages uint32) error {
	h, ok, err := readHeader(s.data, "the image")
	if err != nil {
		return err
	}
	if !ok || h.pageSize() != s.pageSize || h.u32(offPageCount) != pages {
		return fmt.Errorf("internal error: an image of %d pages of %d bytes says that it has %d of %d",
			pages, s.pageSize, h.u32(offPageCount), h.pageSize())
	}
	return nil
}

// root computes the root of the image and, on the way, makes sure that each page was added.
func (s *spool) root(pages uint32) (format.Root, error) {
	root := format.NewRootHasher(s.pageSize, pages, s.salt)
	r := bufio.NewReaderSize(io.NewSectionReader(s.table, 0, int64(pages)*entrySize), 1<<16)
	for n := range pages {
		var e entry
		if _, err := io.ReadFull(r, e[:]); err != nil {
			return format.Root{}, fmt.Errorf("read temporary file in %s: %w", s.dir, err)
		}
		h := e.hash()
		if h == (format.PageHash{}) {
			return format.Root{}, fmt.Errorf("internal error: page %d of %d was never copied", n+1, pages)
		}
		root.Write(h[:])
	}
	return root.Sum(), nil
}

// failure returns the first error of a hasher.
func (s *spool) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// full names the disk if err says that it is full.
func (s *spool) full(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("write temporary file in %s: %w", s.dir, err)
	}
	return &SpaceError{Dir: s.dir, Err: err}
}
