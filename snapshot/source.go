package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// An access is a way to read a database beside others who may be writing to it. Which one is right
// is decided, under a [guard], by [source.plan].
type access int

const (
	// rollback: the database is in a rollback-journal mode. SQLite takes its locks.
	rollback access = iota
	// shared: the database is in WAL mode and its -wal and -shm are there, so that it may be open
	// in other processes. SQLite joins them: it takes its locks in the -shm.
	shared
	// private: the database is in WAL mode and its -wal or its -shm is missing, so that it is open
	// nowhere, whatever SQLite would do now: create them, as files of this user. Instead SQLite is
	// told that it has an exclusive lock, so that it keeps its index of the WAL in its own memory;
	// and a WAL that is missing is an empty one. What really keeps the database still is the guard:
	// as long as somebody holds a shared lock nobody can delete a -wal or -shm, so if they are
	// missing at the end no one has opened the database between.
	private
)

// A source is a database to be read. Its methods belong to one goroutine.
type source struct {
	path   string // absolute, symbolic links resolved
	access access
	sides  sides // as they were when the access was decided

	sealed bool // its pages carry checksums

	guard      *os.File // nil unless the access is shared or private
	vfs        *sourceVFS
	conn       *sqlite3.Conn
	unregister func()
}

// sides are the side files of a database in WAL mode.
type sides struct {
	wal, shm bool // exist
	walInfo  os.FileInfo
}

func lookAtSides(path string) (s sides, err error) {
	s.walInfo, err = os.Lstat(path + "-wal")
	s.wal = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	_, err = os.Lstat(path + "-shm")
	s.shm = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	return s, nil
}

// still reports whether the side files are those of old, and the WAL as it was.
func (s sides) still(old sides) bool {
	if s.wal != old.wal || s.shm != old.shm {
		return false
	}
	return !s.wal || os.SameFile(s.walInfo, old.walInfo) && s.walInfo.Size() == old.walInfo.Size() &&
		s.walInfo.ModTime().Equal(old.walInfo.ModTime())
}

// errChanged means that the database is no longer what the plan was made for.
var errChanged = errors.New("the database has changed its mode")

// openSource opens the database at path, which was resolved. It waits up to timeout for locks.
func openSource(ctx context.Context, path string, timeout time.Duration) (_ *source, err error) {
	s := &source{path: path}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := s.plan(ctx, timeout); err != nil {
		return nil, err
	}
	s.vfs = &sourceVFS{VFS: vfs.Find(""), access: s.access, sealed: s.sealed}
	var name string
	name, s.unregister = register(s.vfs)
	start := time.Now()
	s.conn, err = sqlite3.OpenFlags(uri(path, name), sqlite3.OPEN_READONLY|sqlite3.OPEN_URI)
	if err != nil {
		return nil, s.explain(ctx, err, start)
	}
	s.conn.SetInterrupt(ctx)
	if s.guard != nil { // a rename could have come between
		info, err := s.guard.Stat()
		if err != nil {
			return nil, err
		}
		if same, err := s.vfs.main.is(info); err != nil || !same {
			return nil, cmp.Or(err, errChanged)
		}
	}
	if _, err := s.conn.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true); err != nil {
		return nil, err
	}
	if s.access == private {
		if err := s.conn.Exec("PRAGMA locking_mode=EXCLUSIVE"); err != nil {
			return nil, s.explain(ctx, err, start)
		}
	}
	return s, nil
}

// plan decides on the access. In WAL mode it leaves the guard in place.
func (s *source) plan(ctx context.Context, timeout time.Duration) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	s.guard = f
	if err := s.lockGuard(ctx, timeout); err != nil {
		return err
	}
	h, ok, err := readHeader(f, s.path)
	if err != nil {
		return err
	}
	if s.sealed, err = checksummed(f, &h); err != nil {
		return &DamagedError{s.path, err}
	}
	if s.sides, err = lookAtSides(s.path); err != nil {
		return err
	}
	switch {
	case !ok && s.sides.wal && s.sides.walInfo.Size() > 0:
		// SQLite would take the database for an empty one and delete the WAL.
		return &TruncatedError{Path: s.path, Want: s.sides.walInfo.Size()}
	case !ok || !h.wal() && !s.sides.wal:
		s.access = rollback
		s.guard = nil
		return f.Close()
	case onNetwork(s.path):
		return fmt.Errorf("%s: %w", s.path, ErrNetworkFS)
	case s.sides.wal && s.sides.shm || !canGuard:
		s.access = shared
	default:
		s.access = private
	}
	return nil
}

// lockGuard takes a shared lock on the guard.
func (s *source) lockGuard(ctx context.Context, timeout time.Duration) error {
	if !canGuard {
		return nil
	}
	for start := time.Now(); ; {
		ok, err := lockShared(s.guard)
		if err != nil {
			return &fs.PathError{Op: "lock", Path: s.path, Err: err}
		}
		if ok {
			return nil
		}
		if waited := time.Since(start); waited >= timeout {
			return s.busy(waited)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// end ends the transaction that is open, if any, also when the context of the source is done.
func (s *source) end() error {
	if s.conn.GetAutocommit() {
		return nil
	}
	defer s.conn.SetInterrupt(s.conn.SetInterrupt(context.Background()))
	return s.conn.Exec("ROLLBACK")
}

// query returns the number that a pragma answers.
func (s *source) query(sql string) (int64, error) {
	stmt, _, err := s.conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	if !stmt.Step() {
		return 0, stmt.Err()
	}
	return stmt.ColumnInt64(0), nil
}

// size returns the sizes of the database file and of its -wal, if that counts.
func (s *source) size() (db, wal int64) {
	db, wal = sizes(s.path)
	if s.access == rollback {
		wal = 0
	}
	return db, wal
}

// sizes returns the sizes of a database file and of its -wal in bytes, 0 for what is not there.
func sizes(path string) (db, wal int64) {
	if info, err := os.Stat(path); err == nil {
		db = info.Size()
	}
	if info, err := os.Stat(path + "-wal"); err == nil {
		wal = info.Size()
	}
	return db, wal
}

// confirm returns [errChanged] unless what was read since the source was opened is sure to be one
// committed instant of what is at its path.
func (s *source) confirm() error {
	if moved, err := s.vfs.main.moved(s.path); err != nil || moved {
		return cmp.Or(err, errChanged)
	}
	if s.access != private {
		return nil
	}
	now, err := lookAtSides(s.path)
	if err != nil {
		return err
	}
	if !now.still(s.sides) {
		return errChanged
	}
	return nil
}

// changed reports whether the source is no longer what SQLite was told that it is, so that what SQLite
// fails with says nothing of the database: a WAL that nobody had open may have been opened and emptied.
func (s *source) changed() bool {
	return s.vfs.main != nil && errors.Is(s.confirm(), errChanged)
}

// close ends what the source holds.
func (s *source) close() error {
	err := s.conn.Close() // a transaction ends with it
	if s.unregister != nil {
		s.unregister()
	}
	if s.guard != nil {
		s.guard.Close() // and with it goes its lock
	}
	return err
}

func (s *source) busy(waited time.Duration) error {
	e := &BusyError{Path: s.path, Waited: waited}
	e.PIDs, e.Exclusive = lockHolders(s.path)
	return e
}

// explain says what err, which SQLite returned for something that was begun at start, means for
// a snapshot.
func (s *source) explain(ctx context.Context, err error, start time.Time) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.vfs.strayed, s.changed():
		return errChanged
	case errors.Is(err, sqlite3.READONLY_ROLLBACK):
		return fmt.Errorf("%s: %w", s.path, ErrHotJournal)
	case errors.Is(err, sqlite3.BUSY), errors.Is(err, sqlite3.PROTOCOL):
		return s.busy(time.Since(start))
	case errors.Is(err, sqlite3.CANTOPEN) && s.vfs.refused != nil:
		return s.vfs.refused
	case errors.Is(err, sqlite3.CANTOPEN) && s.access == rollback:
		// The header asks for WAL mode by now, for which this access has no shared memory.
		return fmt.Errorf("%w: %w", errChanged, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read %s: %w", s.path, err)
	case errors.Is(err, sqlite3.READONLY), errors.Is(err, sqlite3.CANTOPEN):
		return fmt.Errorf("read %s and its side files: %w", s.path, err)
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB), errors.Is(err, sqlite3.IOERR):
		return s.damage(err)
	}
	return fmt.Errorf("read %s: %w", s.path, err)
}

// damage says what is wrong with a source that could not be read because of err.
func (s *source) damage(err error) error {
	f, oerr := os.Open(s.path)
	if oerr != nil {
		return oerr
	}
	defer f.Close()
	h, ok, herr := readHeader(f, s.path)
	if herr != nil {
		return herr
	}
	if info, serr := f.Stat(); serr == nil && ok && info.Size() < h.size() {
		return &TruncatedError{Path: s.path, Size: info.Size(), Want: h.size()}
	}
	return &DamagedError{s.path, err}
}
