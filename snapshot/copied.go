package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/litestash/litestash/internal/tempfile"
)

// A copied database is one that nobody changes, so that SQLite can be asked about it. What SQLite needs
// room for, such as sorting, is in files without a name in tempDir.
type copied struct {
	file    *os.File
	name    string // for errors
	size    int64  // of the database, in bytes
	tempDir string

	sealed bool  // its pages carry checksums, which the driver should verify
	failed error // the first failure of a disk: SQLite would report it as if the database were damaged
}

// openCopy opens the database file at path. The caller closes its file.
func openCopy(path, tempDir string) (*copied, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &copied{file: f, name: path, size: info.Size(), tempDir: tempDir}, nil
}

// use calls f with a connection that can only read. It fails with what matches [ErrDamaged] or
// [ErrNotDatabase] if the database cannot even be opened, with errNoMemory if f needs more memory than
// [checkMemory], and if a disk fails.
func (c *copied) use(ctx context.Context, f func(*sqlite3.Conn) error) error {
	if err := c.inspect(); err != nil {
		return err
	}
	name, unregister := register(copiedVFS{c})
	defer unregister()
	// Immutable, so that a database in WAL mode needs no side files.
	conn, err := sqlite3.OpenContext(sqlite3.WithMaxMemory(ctx, checkMemory), uri("/copy", name, "mode=ro", "immutable=1"))
	if err != nil {
		return fmt.Errorf("open %s: %w", c.name, err)
	}
	err = enoughMemory(func() error {
		conn.SetInterrupt(ctx)
		// Old schemas quote strings like names, and newer ones rely on functions that SQLite trusts
		// by default.
		for _, op := range []sqlite3.DBConfig{sqlite3.DBCONFIG_DQS_DDL, sqlite3.DBCONFIG_DQS_DML, sqlite3.DBCONFIG_TRUSTED_SCHEMA} {
			if _, err := conn.Config(op, true); err != nil {
				return err
			}
		}
		return f(conn)
	})
	if cerr := enoughMemory(conn.Close); err == nil && cerr != nil && !errors.Is(cerr, errNoMemory) {
		err = cerr
	}
	if c.failed != nil {
		return c.failed
	}
	return err
}

// inspect looks at the header.
func (c *copied) inspect() error {
	h, ok, err := readHeader(c.file, c.name)
	if err != nil || !ok {
		return err
	}
	if c.size < h.size() {
		return &TruncatedError{Path: c.name, Size: c.size, Want: h.size()}
	}
	c.sealed, err = checksummed(c.file, &h)
	return err
}

// checkMemory is how much memory SQLite may use for a check, in bytes. It needs a few megabytes,
// and the length of the largest indexed value several times.
const checkMemory = 96 << 20

// errNoMemory means that SQLite has reached its limit.
var errNoMemory = errors.New("out of memory")

// enoughMemory runs f, and turns the panic with which the driver says that SQLite has run out of
// the memory that it was allowed (errorFor in its conn.go) into [errNoMemory].
func enoughMemory(f func() error) (err error) {
	defer func() {
		r := recover()
		if e, ok := r.(error); ok && strings.Contains(e.Error(), "out of memory") {
			err = errNoMemory
		} else if r != nil {
			panic(r)
		}
	}()
	return f()
}

// A copiedVFS lets SQLite read a copied database.
type copiedVFS struct{ *copied }

// Open implements [vfs.VFS]. As to what it says of a main database see [sourceVFS].
func (v copiedVFS) Open(_ string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if flags&vfs.OPEN_MAIN_DB != 0 {
		if !v.sealed {
			flags &^= vfs.OPEN_MAIN_DB
		}
		return copiedFile(v), flags, nil
	}
	f, err := tempfile.Unlinked(v.tempDir)
	if err != nil {
		return nil, 0, vfs.SystemError(v.fail(err), sqlite3.CANTOPEN)
	}
	return roomFile{f, v.copied}, flags, nil
}

func (copiedVFS) Delete(string, bool) error                   { return nil }
func (copiedVFS) Access(string, vfs.AccessFlag) (bool, error) { return false, nil }
func (copiedVFS) FullPathname(name string) (string, error)    { return name, nil }

// fail notes and returns the error of a disk.
func (c *copied) fail(err error) error {
	if c.failed == nil {
		c.failed = err
	}
	return err
}

// readAt reads from a file of the copy. Its end is none of a disk's failures.
func (c *copied) readAt(f io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := f.ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = vfs.SystemError(c.fail(err), sqlite3.IOERR_READ)
	}
	return n, err
}

// A copiedFile is the database itself.
type copiedFile struct{ *copied }

func (f copiedFile) ReadAt(p []byte, off int64) (int, error) { return f.readAt(f.file, p, off) }

func (copiedFile) WriteAt([]byte, int64) (int, error) {
	return 0, vfs.SystemError(errReadOnly, sqlite3.READONLY)
}

func (copiedFile) Truncate(int64) error {
	return vfs.SystemError(errReadOnly, sqlite3.READONLY)
}

func (f copiedFile) Size() (int64, error)           { return f.size, nil }
func (copiedFile) Close() error                     { return nil } // whoever opened it does
func (copiedFile) Sync(vfs.SyncFlag) error          { return nil }
func (copiedFile) Lock(vfs.LockLevel) error         { return nil }
func (copiedFile) Unlock(vfs.LockLevel) error       { return nil }
func (copiedFile) CheckReservedLock() (bool, error) { return false, nil }
func (copiedFile) SectorSize() int                  { return 512 }
func (copiedFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_IMMUTABLE
}

// A roomFile is a temporary file of SQLite's.
type roomFile struct {
	*os.File
	c *copied
}

func (f roomFile) ReadAt(p []byte, off int64) (int, error) { return f.c.readAt(f.File, p, off) }

func (f roomFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if err != nil {
		err = vfs.SystemError(f.c.fail(err), sqlite3.IOERR_WRITE)
	}
	return n, err
}

func (f roomFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, vfs.SystemError(f.c.fail(err), sqlite3.IOERR_FSTAT)
	}
	return info.Size(), nil
}

func (roomFile) Sync(vfs.SyncFlag) error          { return nil } // nobody needs it after a crash
func (roomFile) Lock(vfs.LockLevel) error         { return nil }
func (roomFile) Unlock(vfs.LockLevel) error       { return nil }
func (roomFile) CheckReservedLock() (bool, error) { return false, nil }
func (roomFile) SectorSize() int                  { return 512 }
func (roomFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_POWERSAFE_OVERWRITE
}
