package snapshot

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// register makes v available to SQLite under a name that nothing else uses, until the function
// that it returns is called.
func register(v vfs.VFS) (name string, unregister func()) {
	name = "litestash-" + rand.Text()
	vfs.Register(name, v)
	return name, func() { vfs.Unregister(name) }
}

// uri returns the name by which SQLite opens the file at path through the named VFS. Everything
// but the plainest characters is escaped: https://sqlite.org/uri.html section 3.1.
func uri(path, vfsName string, params ...string) string {
	var b strings.Builder
	b.WriteString("file:")
	for _, c := range []byte(path) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/-_.", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	b.WriteString("?vfs=" + vfsName)
	for _, p := range params {
		b.WriteString("&" + p)
	}
	return b.String()
}

// errReadOnly answers whatever would change the source.
var errReadOnly = errors.New("internal error: write to the source of a snapshot")

// A sourceVFS lets SQLite read one database and makes sure that nothing of it is ever written,
// created or deleted.
//
// It does not say that what it opens is a main database unless the pages carry checksums: the
// driver takes any eight reserved bytes per page for checksums, see its vfs/cksm.go, and would
// refuse to read a database that keeps something else there.
type sourceVFS struct {
	vfs.VFS // of the operating system
	access  access
	sealed  bool        // pages carry checksums, which the driver should verify
	main    *sourceFile // the database, once it is open
	strayed bool        // SQLite wanted what the access has no place for: the database has changed its mode
	refused error       // why a file could not be opened, which SQLite forgets
}

// OpenFilename implements [vfs.VFSFilename].
func (v *sourceVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	const change = vfs.OPEN_READWRITE | vfs.OPEN_CREATE | vfs.OPEN_EXCLUSIVE | vfs.OPEN_DELETEONCLOSE
	switch {
	case flags&vfs.OPEN_MAIN_DB != 0:
		f, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags&^change|vfs.OPEN_READONLY)
		if err != nil {
			return nil, 0, err
		}
		v.main = &sourceFile{File: f, access: v.access}
		if !v.sealed {
			flags &^= vfs.OPEN_MAIN_DB
		}
		return v.main, flags, nil
	case flags&vfs.OPEN_WAL != 0:
		if v.access == rollback {
			v.strayed = true
			return nil, 0, sqlite3.CANTOPEN
		}
		f, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags&^change|vfs.OPEN_READONLY)
		if errors.Is(err, fs.ErrNotExist) {
			return new(vfsutil.SliceFile), flags, nil // what SQLite would create
		}
		if err != nil {
			v.refused = err
			return nil, 0, err
		}
		return &sourceFile{File: f, access: v.access}, flags, nil
	case flags&(vfs.OPEN_MAIN_JOURNAL|vfs.OPEN_SUPER_JOURNAL) != 0:
		f, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags&^change|vfs.OPEN_READONLY)
		if err != nil {
			return nil, 0, err
		}
		return &sourceFile{File: f, access: v.access}, flags, nil
	}
	return new(vfsutil.SliceFile), flags, nil
}

// Delete implements [vfs.VFS].
func (v *sourceVFS) Delete(string, bool) error {
	return vfs.SystemError(errReadOnly, sqlite3.IOERR_DELETE)
}

// A sourceFile is the source or one of its side files.
type sourceFile struct {
	vfs.File
	access access
	level  vfs.LockLevel // the lock that SQLite believes to hold in [private] access
	ahead  readAhead

	locked time.Time     // when SQLite took the lock that it holds
	held   time.Duration // the longest time that it held one, up to now
	short  int           // reads of pages that are not in the file
}

// ReadAt implements [vfs.File].
func (f *sourceFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.ahead.ReadAt(f.File, p, off)
	if n == 0 && err == io.EOF && f.ahead.on {
		f.short++
	}
	return n, err
}

// is reports whether f is the file that info describes.
func (f *sourceFile) is(info os.FileInfo) (bool, error) {
	file, ok := f.File.(interface{ Stat() (os.FileInfo, error) })
	if !ok {
		return false, fmt.Errorf("internal error: a %T has no Stat method", f.File)
	}
	own, err := file.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(own, info), nil
}

// moved reports whether another file is at path by now.
func (f *sourceFile) moved(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	same, err := f.is(info)
	return !same, err
}

func (f *sourceFile) WriteAt([]byte, int64) (int, error) {
	return 0, vfs.SystemError(errReadOnly, sqlite3.READONLY)
}

func (f *sourceFile) Truncate(int64) error {
	return vfs.SystemError(errReadOnly, sqlite3.READONLY)
}

func (f *sourceFile) Lock(level vfs.LockLevel) error {
	f.ahead.forget()
	if f.access == private {
		f.level = max(f.level, level)
		return nil
	}
	err := f.File.Lock(level)
	if err == nil && level == vfs.LOCK_SHARED {
		f.locked = time.Now()
	}
	return err
}

func (f *sourceFile) Unlock(level vfs.LockLevel) error {
	f.ahead.forget()
	if f.access == private {
		f.level = min(f.level, level)
		return nil
	}
	if !f.locked.IsZero() && level == vfs.LOCK_NONE {
		f.held = max(f.held, time.Since(f.locked))
		f.locked = time.Time{}
	}
	return f.File.Unlock(level)
}

// SharedMemory implements [vfs.FileSharedMemory].
func (f *sourceFile) SharedMemory() vfs.SharedMemory {
	if shm, ok := f.File.(vfs.FileSharedMemory); ok && f.access == shared {
		return shm.SharedMemory()
	}
	return nil
}

// A spoolVFS holds one file, the destination of a backup, which is a [spool].
type spoolVFS struct{ *spool }

// Open implements [vfs.VFS]. It does not say that the file is a main database, so that the
// driver leaves checksums to the spool: it would begin with them only when it sees page 1, which
// comes late.
func (v spoolVFS) Open(_ string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if flags&vfs.OPEN_MAIN_DB == 0 {
		return nil, 0, sqlite3.CANTOPEN
	}
	return spoolFile(v), flags &^ vfs.OPEN_MAIN_DB, nil
}

func (spoolVFS) Delete(string, bool) error                   { return nil }
func (spoolVFS) Access(string, vfs.AccessFlag) (bool, error) { return false, nil }
func (spoolVFS) FullPathname(name string) (string, error)    { return name, nil }

type spoolFile struct{ *spool }

func (f spoolFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.add(p, off); err != nil {
		return 0, vfs.SystemError(err, sqlite3.IOERR_WRITE)
	}
	return len(p), nil
}

func (f spoolFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.read(p, off)
	if err != nil && err != io.EOF {
		err = vfs.SystemError(err, sqlite3.IOERR_READ)
	}
	return n, err
}

func (f spoolFile) Truncate(size int64) error {
	return vfs.SystemError(f.truncate(size), sqlite3.IOERR_TRUNCATE)
}

func (f spoolFile) Size() (int64, error)           { return f.size, nil }
func (spoolFile) Close() error                     { return nil }
func (spoolFile) Sync(vfs.SyncFlag) error          { return nil }
func (spoolFile) Lock(vfs.LockLevel) error         { return nil }
func (spoolFile) Unlock(vfs.LockLevel) error       { return nil }
func (spoolFile) CheckReservedLock() (bool, error) { return false, nil }
func (spoolFile) SectorSize() int                  { return 512 }
func (spoolFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_POWERSAFE_OVERWRITE | vfs.IOCAP_SAFE_APPEND | vfs.IOCAP_SEQUENTIAL
}
