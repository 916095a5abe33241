package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/progress"
)

// Options say how to take a snapshot. The zero value works.
type Options struct {
	// TempDir is where the image is kept, under no name; it needs room for the whole database and a
	// little more. Empty means [os.TempDir].
	TempDir string
	// Salt is mixed into the page hashes.
	Salt format.Salt
	// BusyTimeout is how long to wait for a lock that another process holds; 0 means 5 s,
	// less means not at all.
	BusyTimeout time.Duration
	// MaxStall is the longest time that commits should be held up at once in the rollback-journal
	// modes, where nobody can commit while somebody reads; 0 means 5 s. See [Stats.Overstayed].
	MaxStall time.Duration
	// MaxRestarts is how often, in the rollback-journal modes, a commit may make the copy start
	// again before commits are held up until it is done; 0 means 3, less means at once.
	MaxRestarts int
	// Base, if set, has the pages that need not be kept: a page that is the same there is hashed
	// like all others, but cannot be read from the image. Page 1 always can.
	Base Base
	// Copied counts the bytes of the image that are in it; nil is allowed. It goes back on
	// a restart.
	Copied *progress.Meter
	// Now tells what time an image is said to be of; nil is [time.Now].
	Now func() time.Time
	// Logger hears of what was survived; nil discards.
	Logger *slog.Logger

	racyWindow time.Duration // of looks; 0 means the usual one
}

// A Base is the pages of an earlier snapshot, and what is known of the newest one, which may be another. Its
// methods may be called concurrently. Pages are numbered from 1.
type Base interface {
	// Same sets same[i] to whether page first+i, whose hash under [Options.Salt] is hashes[i], is
	// the same there.
	Same(first uint32, hashes []format.PageHash, same []bool) error
	// Since returns what the database looked like, see [Look], at the instant of the newest snapshot, and how
	// many pages that has. With a look, the WAL may tell which pages have changed since, and only those are read
	// that the base lacks. Without, all are.
	Since() (look string, pages uint32)
	// Newest fills hashes with those of the newest snapshot's pages from first on, and sets same[i] to
	// whether that page is the same in the base.
	Newest(first uint32, hashes []format.PageHash, same []bool) error
}

const (
	defaultBusyTimeout = 5 * time.Second
	defaultMaxStall    = 5 * time.Second
	defaultMaxRestarts = 3
)

func (o Options) withDefaults() Options {
	if o.BusyTimeout == 0 {
		o.BusyTimeout = defaultBusyTimeout
	}
	if o.MaxStall == 0 {
		o.MaxStall = defaultMaxStall
	}
	if o.MaxRestarts == 0 {
		o.MaxRestarts = defaultMaxRestarts
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.racyWindow == 0 {
		o.racyWindow = racyWindow
	}
	return o
}

// Stats are facts about the taking of an image.
type Stats struct {
	WAL        bool          // the database is in WAL mode
	Held       time.Duration // the longest time that a read transaction was held
	Elapsed    time.Duration // all of Take
	Restarts   int           // how often the copy was begun again because of a commit
	Pinned     bool          // the copy was made in one transaction
	Followed   bool          // no copy was made: what had changed since the newest snapshot was told by the WAL
	Overstayed bool          // in a rollback-journal mode, Held is more than MaxStall
	SourceSize int64         // of the database file, in bytes
	WALBefore  int64         // size of the -wal at the start and at the end of the copy, in bytes
	WALAfter   int64
	// MissingPages are pages that are neither in the file nor in the -wal, although the database is
	// said to have them. SQLite reads them as zeros, and so they are in the image.
	MissingPages int
}

// stepSize is how many bytes one step of a backup copies: at about 1 GB/s, how long a cancelled
// context goes unnoticed and how long, unpinned, a rollback-journal database is locked at once.
const stepSize = 16 << 20

// maxPlans is how often an attempt may find the database in another mode than it began in, or a hot
// journal.
const maxPlans = 20

// Take copies the database at path as of one committed instant.
//
// It may take as long as the disk needs for the database, but is not kept from ending by whoever
// writes to it, and ends soon after ctx does. In WAL mode nobody waits for it; what is committed
// meanwhile cannot leave the WAL, which grows by it. In a rollback-journal mode see
// [Options.MaxStall].
//
// The image is the database file as it would be after a checkpoint, but for header fields in which
// SQLite counts changes, at bytes 24-27, 40-43 and 92-99, which depend only on the content: two
// images of an unchanged database are the same. An empty database, a file of 0 bytes, has an image
// of 0 bytes.
//
// Beside a base whose newest snapshot the WAL goes on from, nothing is copied or locked: see [Base].
//
// See the errors of this package for what it returns. The caller closes the image.
func Take(ctx context.Context, path string, opts Options) (*Image, error) {
	start := time.Now()
	opts = opts.withDefaults()
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	sp, err := newSpool(&opts)
	if err != nil {
		return nil, err
	}
	defer sp.close()
	t := &taker{path: path, opts: opts, spool: sp}
	if t.stats.Followed, err = t.tryFollow(ctx); err != nil {
		return nil, err
	}
	if !t.stats.Followed {
		if err := t.run(ctx); err != nil {
			return nil, err
		}
	}
	m, err := sp.finish()
	if err != nil {
		return nil, err
	}
	t.stats.Elapsed = time.Since(start)
	m.taken, m.look, m.stats = t.taken, t.look, t.stats
	return m, nil
}

// A taker takes one snapshot.
type taker struct {
	path  string
	opts  Options
	spool *spool
	begun time.Time // the transaction that the copy is made in
	taken time.Time // the same by the clock of the options
	look  string    // of the source at the instant of the image; empty if it cannot be told
	stats Stats
}

// tryFollow reports whether it was enough to follow the WAL.
func (t *taker) tryFollow(ctx context.Context) (bool, error) {
	if t.opts.Base == nil {
		return false, nil
	}
	err := t.follow(ctx)
	if err == nil {
		return true, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	t.opts.Logger.Debug("the whole database is read", "path", t.path, "err", err)
	return false, nil
}

// run fills the spool. A journal that looks hot may also be one that somebody began a moment ago:
// SQLite asks first whether anybody is writing and then for the journal, hasHotJournal in its
// pager.c, and whoever may write to the database finds out under an exclusive lock. Here it is the
// journal of a crash if it stays.
func (t *taker) run(ctx context.Context) (err error) {
	for range maxPlans {
		err = t.attempt(ctx)
		if err == nil || !errors.Is(err, errChanged) && !errors.Is(err, ErrHotJournal) {
			return err
		}
		t.stats.Restarts++
		t.opts.Logger.Debug("the database cannot be copied as it is; trying again", "path", t.path, "err", err)
	}
	if errors.Is(err, ErrHotJournal) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", t.path, ErrUnstable, err)
}

// attempt opens the source and copies it.
func (t *taker) attempt(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.look = t.lookAtSource() // first: SQLite makes the -shm anew when it opens what is left from a crash
	s, err := openSource(ctx, t.path, t.opts.BusyTimeout)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, s.close()) }()
	t.stats.WAL = s.access != rollback
	t.stats.SourceSize, t.stats.WALBefore = s.size()
	if s.access == rollback {
		err = t.copyBesideCommits(ctx, s)
		t.stats.Held = s.vfs.main.held
		t.stats.Overstayed = t.stats.Held > t.opts.MaxStall
		t.confirmLook() // nothing was committed all the time, whether the copy was pinned or not
	} else {
		err = t.copy(ctx, s, forGood)
		t.stats.Held = time.Since(t.begun)
	}
	if err != nil {
		return err
	}
	_, t.stats.WALAfter = s.size()
	if t.stats.MissingPages = s.vfs.main.short; t.stats.MissingPages > 0 {
		t.opts.Logger.Warn("the database file is shorter than the database: SQLite reads the missing pages as zeros",
			"path", t.path, "pages", t.stats.MissingPages)
	}
	return s.confirm()
}

// copyBesideCommits copies a source in which nobody can commit while somebody reads: in short
// steps, each of which lets commits through. A commit makes the copy begin again, so after a few of
// them they are held up, at first no longer than they are said to stand it.
func (t *taker) copyBesideCommits(ctx context.Context, s *source) error {
	pins := slices.Repeat([]time.Duration{0}, max(0, t.opts.MaxRestarts))
	for _, pin := range append(pins, t.opts.MaxStall) {
		err := t.copy(ctx, s, pin)
		if !errors.Is(err, errRestarted) {
			return err
		}
		t.stats.Restarts++
	}
	t.opts.Logger.Warn("the database is too large, or written to too often, for a copy within the longest time that commits should be held up; holding them up until it is done",
		"path", t.path, "max_stall", t.opts.MaxStall)
	return t.copy(ctx, s, forGood)
}

// errRestarted means that a commit came between two steps of a copy.
var errRestarted = errors.New("the database was written to while it was copied")

// forGood is for how long a copy is pinned that has to succeed.
const forGood time.Duration = math.MaxInt64

// copy copies the source into the spool, the first part of it, of the length pin, in one
// transaction. It returns [errRestarted] if the rest did not stay the same for long enough.
func (t *taker) copy(ctx context.Context, s *source, pin time.Duration) (err error) {
	if err := t.spool.reset(); err != nil {
		return err
	}
	t.stats.Pinned = pin > 0
	if t.stats.Pinned {
		defer func() { err = cmp.Or(err, s.end()) }()
		begin := t.begin
		if s.access != rollback {
			begin = t.beginKnown // in a rollback-journal mode it is known in the end, see attempt
		}
		if err := begin(ctx, s); err != nil {
			return err
		}
	}
	c, err := t.newCopier(ctx, s)
	if err != nil {
		return err
	}
	defer c.close()
	if c.pages == 0 {
		return t.spool.reset() // SQLite would copy an empty database as one with an empty schema
	}
	for begun := time.Now(); ; {
		if t.stats.Pinned && time.Since(begun) > pin {
			t.stats.Pinned = false
			if err := s.end(); err != nil {
				return err
			}
		}
		if done, err := c.step(ctx); done || err != nil {
			return err
		}
	}
}

// begin begins a transaction, and pins it by reading. The pragma needs nothing but page 1: the
// schema may be one that only its application can parse.
func (t *taker) begin(ctx context.Context, s *source) error {
	start := time.Now()
	if err := s.conn.BusyTimeout(t.opts.BusyTimeout); err != nil {
		return err
	}
	if err := s.conn.Exec("BEGIN; PRAGMA schema_version"); err != nil {
		return s.explain(ctx, err, start)
	}
	t.begun, t.taken = time.Now(), t.opts.Now().UTC() // not before: the wait for a lock may have been for a commit
	return nil
}

// beginKnown is as begin, and finds out what the source looks like at the instant of the transaction. Since it may be
// committed to on the way there, it tries that a few times.
func (t *taker) beginKnown(ctx context.Context, s *source) error {
	for left := maxLooks; ; left-- {
		if err := t.begin(ctx, s); err != nil {
			return err
		}
		before := t.look
		if t.confirmLook(); before == "" || t.look != "" || left == 0 {
			return nil
		}
		if err := s.end(); err != nil {
			return err
		}
		t.look = t.lookAtSource()
	}
}

// maxLooks is how often a commit may come between.
const maxLooks = 10

// A copier is a backup on its way.
type copier struct {
	*taker
	source     *source
	backup     *sqlite3.Backup
	unregister func()
	slice      int // pages per step
	pages      int // of the database
	left       int // still to be copied
}

// newCopier begins a backup. The copier's close method must be called.
func (t *taker) newCopier(ctx context.Context, s *source) (_ *copier, err error) {
	c := &copier{taker: t, source: s}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	t.spool.seal = s.sealed
	s.vfs.main.ahead.begin()
	var name string
	name, c.unregister = register(spoolVFS{t.spool})
	start := time.Now()
	if !t.stats.Pinned {
		t.taken = t.opts.Now().UTC()
	}
	// What fails is thrown away, so the destination needs neither a journal nor to be synced; a
	// small cache makes it give the pages away while they are still in that of the processor.
	c.backup, err = s.conn.BackupInit("main", uri("image", name,
		"_pragma=journal_mode(off)", "_pragma=synchronous(off)", "_pragma=cache_size(-256)"))
	if err != nil {
		return nil, s.explain(ctx, err, start)
	}
	if _, err := c.advance(ctx, 0); err != nil {
		return nil, err
	}
	c.pages, c.left = c.backup.PageCount(), c.backup.Remaining()
	pageSize, err := s.query("PRAGMA page_size")
	if err != nil {
		return nil, s.explain(ctx, err, start)
	}
	c.slice = int(max(1, stepSize/max(1, pageSize)))
	t.opts.Copied.Expect(int64(c.pages) * pageSize)
	return c, t.spool.reserve(int64(c.pages), pageSize)
}

func (c *copier) close() {
	c.backup.Close() // says nothing of worth: nil for a backup that was aborted
	c.unregister()
}

// step copies the next slice. It returns [errRestarted] if SQLite began again.
func (c *copier) step(ctx context.Context) (done bool, err error) {
	if !c.stats.Pinned {
		c.taken = c.opts.Now().UTC()
	}
	done, err = c.advance(ctx, c.slice)
	if err != nil {
		return false, err
	}
	pages, left := c.backup.PageCount(), c.backup.Remaining()
	if pages != c.pages || left != max(0, c.left-c.slice) {
		return false, errRestarted
	}
	c.left = left
	return done, nil
}

// advance lets SQLite copy n pages. The busy timeout is set anew each time: SQLite counts what it
// waited from one step to the next.
func (c *copier) advance(ctx context.Context, n int) (done bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	start := time.Now()
	if err := c.source.conn.BusyTimeout(c.opts.BusyTimeout); err != nil {
		return false, err
	}
	done, err = c.backup.Step(n)
	if failure := c.spool.failure(); failure != nil {
		return false, failure
	}
	if err != nil {
		return false, c.source.explain(ctx, err, start)
	}
	return done, nil
}
