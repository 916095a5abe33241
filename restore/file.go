package restore

import (
	"context"
	"errors"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/disk"
	"github.com/litestash/litestash/store"
)

// FileOptions say how [File] treats what is there. The zero value replaces nothing.
type FileOptions struct {
	Options

	// Replace allows a database at the target to be replaced. Without it the target must not exist.
	// Unless Reuse names another file, pages that the database has already are taken from it.
	Replace bool
	// DiscardOld does not keep the database that is replaced.
	DiscardOld bool
	// MakeParents makes the directories that lead to the target, if they are missing.
	MakeParents bool
	// Hold takes over the database at path, so that it can be replaced. It must fail, matching
	// [ErrInUse], if a process has the database open. Replacing a database needs it.
	Hold func(ctx context.Context, path string) (Held, error)

	on fileSystem // nil is the real one
}

// A Held database is shut against everybody until it is released, and is whole in its one file. Its
// lock is on the file and not on the name, so that it does not hinder what stands at path later.
type Held interface {
	// SideFiles returns the side files that could not be folded into the database, because it is
	// damaged. They have to go with it: beside another database they would damage that.
	SideFiles() []string
	// Confirm fails, matching [ErrInUse], if a process has the database open now.
	Confirm() error
	// Release gives up the lock.
	Release() error
}

var (
	// ErrExists says that there is something at the target, or side files of a database beside it.
	ErrExists = errors.New("the target exists")
	// ErrInUse says that a process has the database at the target open.
	ErrInUse = errors.New("the target is open")
	// ErrNotFile says that what is at the target is no regular file, so that it cannot be replaced.
	ErrNotFile = errors.New("the target is not a file")
	// ErrSideFile says that the target has the name of a file that SQLite keeps beside a database, which
	// is there and would be damaged.
	ErrSideFile = errors.New("SQLite would take the target for a part of the database beside it")
)

// A SpaceError says that the disk of a directory has not enough room.
type SpaceError = disk.SpaceError

// File restores a snapshot to path. The database is put together and checked beside it, and then
// appears there in one step: whatever happens, path holds wholly what it did before or wholly the
// snapshot. It fails with [ErrExists], [ErrInUse], [ErrNotFile], [ErrSideFile] or a [SpaceError] before
// it has fetched anything, where that can be known.
func File(ctx context.Context, st store.Store, snap catalog.Snapshot, path string, opts FileOptions) (*Result, error) {
	if opts.on == nil {
		opts.on = osFS{}
	}
	t, err := findTarget(path, &opts)
	if err != nil {
		return nil, err
	}
	old, err := t.openCopy()
	if err != nil {
		return nil, err
	}
	defer old.Close()
	p, err := newPlan(ctx, st, snap, &opts.Options)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if opts.MakeParents {
		made, err := t.makeParents()
		if err != nil {
			return nil, err
		}
		defer removeEmpty(made) // of which there is none if the restore succeeds
	}
	if err := disk.Reserve(t.dir, p.size()); err != nil {
		return nil, err
	}
	f, err := t.newTemp()
	if err != nil {
		return nil, err
	}
	defer f.discard()
	if err := p.fill(ctx, f, old); err != nil {
		return nil, err
	}
	r := p.result()
	r.Kept, err = t.place(ctx, f)
	return r, err
}
