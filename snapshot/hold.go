package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/litestash/litestash/internal/durable"
)

// sideSuffixes are what SQLite appends to the name of a database for its side files.
var sideSuffixes = []string{"-wal", "-shm", "-journal"}

// A Held database is shut against everybody, and whole in its one file, so that a new one can take
// its place by a rename. Its methods belong to one goroutine.
type Held struct {
	path    string
	file    *os.File // carries the lock
	damage  error
	sides   []string
	release sync.Once
	err     error
}

// Hold takes over the database at path, which is about to be replaced.
//
// It locks the database against readers and writers, lets SQLite roll back a transaction that
// crashed or write back the WAL, and removes the side files: after that the database is one file
// and needs no other. The lock is held until Release,
// on the file and not on its name, so that after a rename it hinders no one and Release touches
// nothing of what is at path then. A kill at any moment leaves the old database: each change is one
// that SQLite itself would make on opening or closing it, in SQLite's order.
//
// It returns an [InUseError] at once if another process has the database open: holds a lock on it
// or, on Linux, has it or a side file among its open files, which is how a process that uses a
// rollback journal looks between two transactions. Processes of other users or in other containers
// may not show; neither does one that opens the database later, see [Held.Confirm].
//
// A database that SQLite cannot read is held nevertheless, see [Held.Damage].
//
// Who replaces the database does this, syncing the directory after each change:
//
//  1. Hold.
//  2. Link [Held.Path] to the name under which the old database is kept, then each of
//     [Held.SideFiles] to that name with the same suffix, and then remove those. Usually there are none.
//  3. [Held.Confirm], for the last moment at which somebody else's having the database open is noticed.
//  4. Rename the new database to [Held.Path].
//  5. Release.
//
// Nothing may be removed at the path's side names after the rename: they are the new database's.
func Hold(ctx context.Context, path string) (*Held, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	h := &Held{path: path, file: f}
	if err := h.take(ctx); err != nil {
		h.Release()
		return nil, err
	}
	return h, nil
}

// take locks the database and makes it whole.
func (h *Held) take(ctx context.Context) error {
	ok, err := lockExclusive(h.file)
	if err != nil {
		return &fs.PathError{Op: "lock", Path: h.path, Err: err}
	}
	if !ok {
		pids, _ := lockHolders(h.path)
		pids = append(pids, openBy(h.path, h.file)...)
		slices.Sort(pids)
		return &InUseError{Path: h.path, PIDs: slices.Compact(pids)}
	}
	if err := h.Confirm(); err != nil {
		return err
	}
	if err := h.recover(ctx); err != nil {
		return err
	}
	return h.tidy()
}

// Path returns the file to be replaced: the absolute path, with symbolic links resolved.
func (h *Held) Path() string { return h.path }

// Damage returns why SQLite could not recover the database: a [NotDatabaseError] or a
// [DamagedError], whose details say why, or nil. With it the side files are still there, see
// [Held.SideFiles].
func (h *Held) Damage() error { return h.damage }

// SideFiles returns the paths of the side files that are still there, because without them a
// damaged database would lose more. They have to be moved away, before the rename, to the name that
// the old database is kept under with the same suffix: beside the new one they would damage it.
func (h *Held) SideFiles() []string { return h.sides }

// Confirm looks again whether another process has the database open, and returns an
// [InUseError] if so. It is cheap enough to be called right before the rename.
func (h *Held) Confirm() error {
	if pids := openBy(h.path, h.file); len(pids) > 0 {
		return &InUseError{Path: h.path, PIDs: pids}
	}
	return nil
}

// Release gives up the lock. It touches nothing but the file that was held, whatever is at its path
// by now, and may be called again.
func (h *Held) Release() error {
	h.release.Do(func() { h.err = h.file.Close() })
	return h.err
}

// recover lets SQLite bring the file up to date from its side files.
func (h *Held) recover(ctx context.Context) error {
	head, ok, err := readHeader(h.file, h.path)
	if err == nil && !ok {
		err = h.emptyDamage()
	}
	h.damage = err
	if err != nil && !(errors.Is(err, ErrNotDatabase) && h.pending()) {
		return nil
	}
	sealed := false
	if ok {
		if sealed, err = checksummed(h.file, &head); err != nil {
			return &DamagedError{h.path, err}
		}
	}
	name, unregister := register(&heldVFS{VFS: vfs.Find(""), sealed: sealed})
	defer unregister()
	conn, err := sqlite3.OpenFlags(uri(h.path, name), sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err == nil {
		conn.SetInterrupt(ctx)
		err = foldIn(conn)
		conn.SetInterrupt(context.Background())
		if cerr := conn.Close(); err == nil {
			err = cerr
		}
	}
	switch {
	case err == nil:
		h.damage = nil
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB):
		if h.damage == nil {
			h.damage = &DamagedError{h.path, err}
		}
		return nil
	}
	return fmt.Errorf("recover %s: %w", h.path, err)
}

// pending reports whether a WAL or a journal has something in it: a first page that was torn by a
// crash may be whole there.
func (h *Held) pending() bool {
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Lstat(h.path + suffix); err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}

// emptyDamage returns an error if the database, which is a file of 0 bytes, has a WAL or a journal
// with something in it: SQLite would throw them away.
func (h *Held) emptyDamage() error {
	for _, suffix := range sideSuffixes {
		if info, err := os.Lstat(h.path + suffix); err == nil && suffix != "-shm" && info.Size() > 0 {
			return &TruncatedError{Path: h.path, Want: info.Size()}
		}
	}
	return nil
}

// foldIn rolls back or writes back what the side files hold. The lock is not SQLite's, see
// [heldVFS]; in exclusive mode it keeps the index of the WAL in memory and leaves the -shm alone.
func foldIn(conn *sqlite3.Conn) error {
	// What cannot even be read is not to be changed by closing it.
	if _, err := conn.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true); err != nil {
		return err
	}
	if err := conn.Exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=FULL; BEGIN; PRAGMA schema_version; COMMIT"); err != nil {
		return err
	}
	_, _, err := conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	return err
}

// tidy removes the side files, which hold nothing any more, for good: before anything else is
// done their removal must have reached the disk, or a loss of power could bring them back beside
// a new database.
func (h *Held) tidy() error {
	for _, suffix := range sideSuffixes {
		side := h.path + suffix
		if h.damage != nil {
			if _, err := os.Lstat(side); err == nil {
				h.sides = append(h.sides, side)
			}
			continue
		}
		if err := os.Remove(side); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return durable.SyncDir(filepath.Dir(h.path))
}

// A heldVFS is the file system for a database on which this process, though not SQLite, has an
// exclusive lock. It creates nothing, so that no side file gets this user's name.
type heldVFS struct {
	vfs.VFS
	sealed bool // pages carry checksums, which the driver should verify and keep
}

// OpenFilename implements [vfs.VFSFilename].
func (v *heldVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, out, err := vfsutil.WrapOpenFilename(v.VFS, name, flags&^vfs.OPEN_CREATE)
	if flags&vfs.OPEN_WAL != 0 && errors.Is(err, fs.ErrNotExist) {
		return new(vfsutil.SliceFile), flags, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if flags&vfs.OPEN_MAIN_DB != 0 {
		f = &heldFile{File: f}
		if !v.sealed {
			out &^= vfs.OPEN_MAIN_DB
		}
	}
	return f, out | flags&vfs.OPEN_CREATE, nil
}

// A heldFile is a database on which this process has every lock.
type heldFile struct {
	vfs.File
	level vfs.LockLevel
}

func (f *heldFile) Lock(level vfs.LockLevel) error {
	f.level = max(f.level, level)
	return nil
}

func (f *heldFile) Unlock(level vfs.LockLevel) error {
	f.level = min(f.level, level)
	return nil
}

// CheckReservedLock says whether somebody else is writing. Nobody can be, so that a journal is one
// of a crash.
func (f *heldFile) CheckReservedLock() (bool, error) { return f.level >= vfs.LOCK_RESERVED, nil }

// LockState implements [vfs.FileLockState].
func (f *heldFile) LockState() vfs.LockLevel { return f.level }
