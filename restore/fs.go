package restore

import (
	"io"
	"io/fs"
	"os"

	"github.com/litestash/litestash/internal/durable"
)

// fileSystem is what restore changes disks through, so that a test can take the power away: one
// that forgets what was not synced. Looking is done with package os.
type fileSystem interface {
	// Create makes a new file; the name must be free.
	Create(name string, perm fs.FileMode) (file, error)
	// Link gives old the second name new, which must be free.
	Link(old, new string) error
	// Rename moves old to new, replacing what is there.
	Rename(old, new string) error
	// RenameNew moves old to new, which must be free.
	RenameNew(old, new string) error
	Remove(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
}

// file is an open file that restore writes.
type file interface {
	io.ReaderAt
	io.WriterAt
	Name() string
	Truncate(size int64) error
	Chmod(mode fs.FileMode) error
	Chown(uid, gid int) error
	Sync() error
	Fd() uintptr
	Close() error
}

// osFS is the real thing.
type osFS struct{}

func (osFS) Create(name string, perm fs.FileMode) (file, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
}

func (osFS) Link(old, new string) error      { return os.Link(old, new) }
func (osFS) Rename(old, new string) error    { return os.Rename(old, new) }
func (osFS) RenameNew(old, new string) error { return durable.RenameNew(old, new) }
func (osFS) Remove(name string) error        { return os.Remove(name) }
func (osFS) SyncDir(dir string) error        { return durable.SyncDir(dir) }
