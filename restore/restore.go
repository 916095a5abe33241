// Package restore turns a snapshot in a store back into a database, and verifies that it could.
//
// It trusts no byte that it gets: every page is checked against its hash and all hashes against
// the snapshot's root before a target path changes or the first byte is handed on. Start with
// [File] or [Stream], or with [Verify] or [Rebuild], which leave nothing behind.
package restore

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/disk"
	"github.com/litestash/litestash/internal/ioctx"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

// Options hold for all ways to restore. The zero value is ready for use.
type Options struct {
	// Root, if set, is what the snapshot's root has to be.
	Root *format.Root
	// Check, if set, is called with the path of the restored database before anything is placed
	// or handed on. The file is the callee's alone to read. An error ends the restore.
	Check func(ctx context.Context, path string) error
	// Reuse is the path of a file, such as an older copy of the database: pages that it has already
	// are taken from it instead of the store. It may be written to meanwhile. It must be there, and
	// must not be open through C SQLite in this process, whose POSIX locks on it would be dropped.
	// [Verify] and [Rebuild] do not read it.
	Reuse string
	// Identities open what is encrypted; nil opens nothing that is.
	Identities *seal.Identities
	// TempDir is where page tables of large databases are kept, 20 bytes a page, and images that go to a stream.
	// Empty is [os.TempDir].
	TempDir string
	// Concurrency is how many ranges are fetched at once; each takes about 4 MiB of memory. 0 is 6.
	Concurrency int
	// Meter counts bytes of pages that were fetched or reused, and checked.
	Meter *progress.Meter
	// Logger is told what was survived. Nil discards.
	Logger *slog.Logger

	headers bool // are checked as well
}

func (o *Options) concurrency() int {
	if o.Concurrency > 0 {
		return o.Concurrency
	}
	return 6
}

func (o *Options) chain() chain.Options {
	return chain.Options{Identities: o.Identities, TempDir: o.TempDir}
}

func (o *Options) logger() *slog.Logger {
	if o.Logger != nil {
		return o.Logger
	}
	return slog.New(slog.DiscardHandler)
}

// A Result says what was restored or verified.
type Result struct {
	Index    *format.Index
	Links    int    // objects that the snapshot rests on, itself included
	Fetched  int64  // bytes read from the store
	Requests int64  // reads of the store
	Reused   int64  // bytes of pages that were taken from an older copy
	Kept     string // where [File] put the database that it replaced; empty if nowhere
}

// A RootError says that a snapshot's root is not the one that was insisted on.
type RootError struct{ Want, Got format.Root }

func (e *RootError) Error() string {
	return fmt.Sprintf("the snapshot's root is %v, not %v", e.Got, e.Want)
}

// Is makes the error match [format.ErrDamaged]: it is not the snapshot that it should be.
func (e *RootError) Is(target error) bool { return target == format.ErrDamaged }

// Verify reads all of a snapshot back and checks it as a restore does, and the headers of its objects as
// well. It writes nothing but temporary files, with page tables.
func Verify(ctx context.Context, st store.Store, snap catalog.Snapshot, opts Options) (*Result, error) {
	opts.headers = true
	p, err := newPlan(ctx, st, snap, &opts)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := p.fetch(ctx, discard{}); err != nil {
		return nil, err
	}
	return p.result(), nil
}

type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

// Stream restores a snapshot into a temporary file and, when all of it has been checked, copies it
// to w. Nothing is written to w before that.
func Stream(ctx context.Context, st store.Store, snap catalog.Snapshot, w io.Writer, opts Options) (*Result, error) {
	return rebuild(ctx, st, snap, &opts, func(image io.Reader) error {
		if _, err := io.Copy(w, image); err != nil {
			return fmt.Errorf("write the database: %w", err)
		}
		return nil
	})
}

// Rebuild does all that a restore and [Verify] do, and then discards what it restored: a temporary file, for
// which there has to be room as for any other. It is a drill, with opts.Check to look at the database.
func Rebuild(ctx context.Context, st store.Store, snap catalog.Snapshot, opts Options) (*Result, error) {
	opts.Reuse, opts.headers = "", true
	return rebuild(ctx, st, snap, &opts, func(io.Reader) error { return nil })
}

// rebuild restores a snapshot into a temporary file and calls use with its content.
func rebuild(ctx context.Context, st store.Store, snap catalog.Snapshot, opts *Options, use func(io.Reader) error) (*Result, error) {
	old, err := opts.openCopy()
	if err != nil {
		return nil, err
	}
	defer old.Close()
	p, err := newPlan(ctx, st, snap, opts)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	dir := opts.TempDir
	if dir == "" {
		dir = os.TempDir()
	}
	if err := disk.Reserve(dir, p.size()); err != nil {
		return nil, err
	}
	t, err := newTemp(osFS{}, dir, "litestash-rebuilt-", 0o600)
	if err != nil {
		return nil, err
	}
	defer t.discard()
	if err := p.fill(ctx, t, old); err != nil {
		return nil, err
	}
	return p.result(), use(ioctx.Reader(ctx, io.NewSectionReader(t, 0, p.size())))
}

// fill restores into t, makes it durable, and checks it. If there is an old copy, it takes from that
// what it can, and closes it: that must not wait until the target is held, because closing it then
// would drop the lock.
func (p *plan) fill(ctx context.Context, t *temp, old *os.File) error {
	w := behind{t}
	if old != nil {
		if err := p.reuse(ctx, old, w); err != nil {
			return err
		}
		old.Close()
	}
	if err := p.fetch(ctx, w); err != nil {
		return err
	}
	if err := t.Sync(); err != nil {
		return fmt.Errorf("sync the restored database: %w", err)
	}
	if p.opts.Check == nil {
		return nil
	}
	if err := p.opts.Check(ctx, t.Name()); err != nil {
		return fmt.Errorf("check the restored database: %w", err)
	}
	return nil
}
