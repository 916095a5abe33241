package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/pageset"
)

// maxFollowed is how many new frames of a WAL are followed, and how many older ones looked up, at most: of the latter each takes
// some bytes of memory.
const maxFollowed = 1 << 18

// errNotFollowed says why the pages that have changed cannot be told by the WAL.
var errNotFollowed = errors.New("what has changed cannot be told by the WAL")

func notFollowed(why string) error { return fmt.Errorf("%w: %s", errNotFollowed, why) }

// A follower puts an image together from that of the base's newest snapshot and from the frames that the WAL has
// got since. In WAL mode there is no other way for a database to change, and its index says where the frames end that
// are committed.
//
// It holds no lock, not even for an instant: a commit or a checkpoint may come at any time, and the WAL may be begun
// anew, or have been since the newest snapshot. The frames that are new have the running checksum that the index says, by
// which SQLite itself knows its own after a crash. All other pages have the hash that is remembered.
type follower struct {
	*taker
	was, is  fingerprint
	wal      walReader
	anew     bool     // the WAL was begun anew since, once
	file     *os.File // of the database
	hasher   *format.PageHasher
	followed pageset.Set // pages of the frames
	first    []byte      // page 1
}

// follow fills the spool with the pages that have changed since the base's newest snapshot, and its table with
// those hashes that are known. It fails with [errNotFollowed], [errOtherWAL] or what the files could not be read with if
// the database has to be copied, and nothing is wrong with that.
func (t *taker) follow(ctx context.Context) (err error) {
	look, pages := t.opts.Base.Since()
	was, ok := parseFingerprint(look)
	if !ok || !was.inWAL() {
		return notFollowed("it was not in WAL mode, or not open")
	}
	t.taken = t.opts.Now().UTC() // first: whatever is committed by now is in the image
	if t.look, err = glanceOften(t.path); err != nil {
		return err
	}
	is, ok := parseFingerprint(t.look)
	if !ok || !is.inWAL() {
		return notFollowed("it is not in WAL mode, or not open")
	}
	f := &follower{taker: t, was: was, is: is, hasher: format.NewPageHasher(t.opts.Salt)}
	if err := f.compare(pages); err != nil {
		return err
	}
	if f.file, err = os.Open(t.path); err != nil {
		return err
	}
	defer f.file.Close()
	wal, err := os.Open(t.path + "-wal")
	if err != nil {
		return err
	}
	defer wal.Close()
	f.wal = is.index.reader(wal)
	t.stats.WAL = true
	t.stats.SourceSize, t.stats.WALBefore = sizes(t.path)
	err = f.fill(ctx, pages)
	_, t.stats.WALAfter = sizes(t.path)
	return err
}

// glanceOften glances until the index header is not being written. One glance is enough, where [look] wants two: the
// index is read last, and with frames in the WAL it alone decides. Older times of files only make the next look differ.
func glanceOften(path string) (look string, err error) {
	for range 20 {
		look, err = glance(path, time.Now().Add(-racyWindow))
		if look != "" || err != nil {
			break
		}
	}
	return look, err
}

// compare fails if the WAL is another one than it was, or has got so much that a copy is cheaper: half of the pages one
// by one take longer than all in one go. pages is how many the newest snapshot has.
func (f *follower) compare(pages uint32) error {
	was, is := &f.was.index, &f.is.index
	f.anew = isNext(was.salts(), is.salts())
	switch {
	case !f.is.sameFiles(&f.was):
		return notFollowed("its files are others")
	case was.salts() == [8]byte{}: // of which there may be more than one
		return notFollowed("the WAL has no salts")
	case was.frames() == 0 || is.frames() == 0 || was.pageSize() != is.pageSize() || was.order() != is.order(),
		!f.anew && (was.salts() != is.salts() || was.frames() > is.frames()):
		return errOtherWAL
	case was.pages() != pages || is.pages() == 0:
		return notFollowed(fmt.Sprintf("it has %d pages, had %d and the newest snapshot %d", is.pages(), was.pages(), pages))
	}
	n := is.frames()
	if !f.anew {
		n -= was.frames()
	}
	if f.tooMany(n) {
		return notFollowed("there are too many new frames")
	}
	return nil
}

// tooMany reports whether so many frames take longer to follow than a copy.
func (f *follower) tooMany(n uint32) bool { return n > maxFollowed || 2*n > f.is.index.pages() }

// fill adds the new frames first: they tell which pages are not what the base remembers.
func (f *follower) fill(ctx context.Context, pages uint32) error {
	is := &f.is.index
	f.followed = pageset.New(is.pages())
	fewest, err := f.addFrames(ctx)
	if err != nil {
		return err
	}
	if f.anew {
		least, err := f.addTail(ctx)
		if err != nil {
			return err
		}
		fewest = min(fewest, least)
	}
	if err := f.checkGrowth(fewest); err != nil {
		return err
	}
	wanted, err := f.addKnown(ctx, min(pages, is.pages()))
	if err != nil {
		return err
	}
	if err := f.addOlder(ctx, wanted); err != nil {
		return err
	}
	if err := f.addFirst(); err != nil {
		return err
	}
	return f.spool.truncate(int64(is.pages()) * int64(is.pageSize()))
}

// addFrames adds the pages of the new frames of the WAL as it is. fewest is how many pages the database had at least.
func (f *follower) addFrames(ctx context.Context) (fewest uint32, err error) {
	was, is := &f.was.index, &f.is.index
	first, sums := was.frames()+1, was.sums()
	if f.anew {
		first = 1
		if sums, err = f.wal.begin(); err != nil {
			return 0, err
		}
	}
	fewest = was.pages()
	if first <= is.frames() {
		err = f.wal.read(first, is.frames(), &sums, func(frame walFrame) error {
			if frame.pages > 0 { // what was cut off and has come back is not what the base remembers
				fewest = min(fewest, frame.pages)
			}
			return f.addFollowed(ctx, frame.page, frame.content)
		})
	}
	if err == nil && sums != is.sums() {
		err = errOtherWAL
	}
	return fewest, err
}

// addFollowed adds a page that is newer than the base's, if the database has it still.
func (f *follower) addFollowed(ctx context.Context, number uint32, page []byte) error {
	if number > f.is.index.pages() {
		return nil
	}
	f.followed.Add(number, 1)
	if number == 1 {
		f.first = append(f.first[:0], page...)
		return nil
	}
	return f.add(ctx, number, page)
}

// addTail adds what was committed after the newest snapshot and before the WAL was begun anew, but for the pages of its frames
// now. All of that is in the database file, and was before a frame could be written over.
//
// A page has to be the same there: who is killed in a commit may leave a frame that ends one and was never valid. It has to be
// since before the frames that are followed ended: the same may have been committed later.
func (f *follower) addTail(ctx context.Context) (fewest uint32, err error) {
	old := f.was.index.reader(f.wal.file)
	tail, err := old.tail(f.was.index.frames(), f.was.index.sums(), f.tooMany)
	if err != nil {
		return 0, err
	}
	page, inFile := make([]byte, f.wal.pageSize), make([]byte, f.wal.pageSize)
	compared := pageset.New(f.is.index.pages())
	for number, frame := range tail.newest {
		if number > f.is.index.pages() || f.followed.Has(number) {
			continue
		}
		compared.Add(number, 1)
		if err := errors.Join(f.wal.readPage(frame, page), f.readPage(number, inFile)); err != nil {
			return 0, err
		}
		if !bytes.Equal(page, inFile) {
			return 0, notFollowed(fmt.Sprintf("page %d is another in the database file than it was in the WAL", number))
		}
		if err := f.addFollowed(ctx, number, page); err != nil {
			return 0, err
		}
	}
	if len(tail.newest) > 0 {
		if err := f.confirmFile(ctx, compared); err != nil {
			return 0, err
		}
	}
	return tail.fewest, tail.confirm()
}

// confirmFile fails if one of the pages may have been written to the database file from a newer frame than are followed.
func (f *follower) confirmFile(ctx context.Context, pages pageset.Set) error {
	look, err := glanceOften(f.path)
	if err != nil {
		return err
	}
	now, ok := parseFingerprint(look) // what is not in it by now was not written before
	if !ok || !now.sameFiles(&f.is) || now.index.salts() != f.is.index.salts() {
		return errOtherWAL
	}
	frames, err := f.wal.find(ctx, now.index.frames(), pages)
	if err != nil {
		return err
	}
	for page, frame := range frames {
		if frame > f.is.index.frames() {
			return notFollowed(fmt.Sprintf("page %d may be in the database file as it was committed meanwhile", page))
		}
	}
	return nil
}

// checkGrowth fails if the database has a page that it had not when it was smallest since, and that was not written.
func (f *follower) checkGrowth(fewest uint32) error {
	for page := fewest + 1; page <= f.is.index.pages(); page++ {
		if !f.followed.Has(page) && page != lockPage(f.wal.pageSize) {
			return notFollowed(fmt.Sprintf("page %d is new and was not written", page))
		}
	}
	return nil
}

func (f *follower) add(ctx context.Context, number uint32, page []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.spool.add(page, int64(number-1)*int64(len(page)))
}

// addKnown enters the hashes of so many pages of the newest snapshot, but for those that have changed since, and
// returns which other ones the base has not.
func (f *follower) addKnown(ctx context.Context, pages uint32) (wanted pageset.Set, err error) {
	const most = 1 << 12
	wanted = pageset.New(pages)
	hashes, same := make([]format.PageHash, most), make([]bool, most)
	count := uint32(0)
	for done := uint32(0); done < pages; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(most, pages-done)
		if err := f.opts.Base.Newest(done+1, hashes[:n], same[:n]); err != nil {
			return nil, notFollowed(err.Error())
		}
		if err := f.spool.addHashes(done+1, hashes[:n], f.followed.Has); err != nil {
			return nil, err
		}
		for i := range n {
			page := done + i + 1
			if !same[i] && page > 1 && page != lockPage(f.wal.pageSize) && !f.followed.Has(page) {
				wanted.Add(page, 1)
				count++
			}
		}
		done += n
	}
	if 2*count > pages {
		return nil, notFollowed("the base lacks too many pages")
	}
	if !f.followed.Has(1) {
		wanted.Add(1, 1)
	}
	return wanted, nil
}

// addOlder adds pages that are what they were in the newest snapshot.
func (f *follower) addOlder(ctx context.Context, wanted pageset.Set) error {
	frames, err := f.olderFrames(ctx, wanted)
	if err != nil {
		return err
	}
	page, hashes, same := make([]byte, f.wal.pageSize), make([]format.PageHash, 1), make([]bool, 1)
	for number := range wanted.All() {
		if frame, ok := frames[number]; ok {
			err = f.wal.readPage(frame, page)
		} else {
			err = f.readPage(number, page)
		}
		if err != nil {
			return err
		}
		if number == 1 {
			if err := normalise(page); err != nil {
				return err
			}
			f.first = append(f.first, page...)
		}
		if err := f.opts.Base.Newest(number, hashes, same); err != nil {
			return notFollowed(err.Error())
		}
		if f.hasher.Hash(page) != hashes[0] {
			return notFollowed(fmt.Sprintf("page %d is not what it was", number))
		}
		if number == 1 {
			continue
		}
		if err := f.add(ctx, number, page); err != nil {
			return err
		}
	}
	return nil
}

// olderFrames returns the newest of the frames that the WAL had at the newest snapshot for each page in wanted that has
// one. Where the WAL was begun anew they are in the database file.
func (f *follower) olderFrames(ctx context.Context, wanted pageset.Set) (map[uint32]uint32, error) {
	if f.anew {
		return nil, nil
	}
	return f.wal.find(ctx, f.was.index.frames(), wanted)
}

// readPage reads a page of the database file.
func (f *follower) readPage(number uint32, page []byte) error {
	_, err := f.file.ReadAt(page, int64(number-1)*int64(len(page)))
	if err == io.EOF {
		return notFollowed("the database file is cut short")
	}
	return err
}

// addFirst adds page 1, if it is that of such a database.
func (f *follower) addFirst() error {
	if err := normalise(f.first); err != nil {
		return err
	}
	h := header(f.first[:headerSize])
	switch {
	case h.pageSize() != f.wal.pageSize || h.u32(offPageCount) != f.is.index.pages():
		return notFollowed("its header says another size")
	case h[offReserved] == 8:
		return notFollowed("its pages may carry checksums")
	}
	return f.spool.add(f.first, 0)
}
