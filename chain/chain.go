// Package chain reads what a snapshot rests on: the objects of its chain and, from their page
// tables, what every page of the database must hash to and which object holds it. It reads no
// pages; whoever does can check them.
package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

// A Chain is a snapshot with all that it rests on, proved against the snapshot's root. It owns
// temporary files without a name. All methods may be called concurrently, except that Close must
// come after the others have returned.
type Chain struct {
	Index *format.Index // of the snapshot
	Links []*Link       // the full first, the snapshot itself last

	table *table
	ends  *ends
}

// A HoleError says that an object which a snapshot rests on is gone. It matches
// [format.ErrDamaged]: missing data is damage.
type HoleError struct {
	Snapshot catalog.Snapshot
	Missing  format.Key
	Loss     *Loss // what that means for other snapshots; nil until [Explain] has looked
}

func (e *HoleError) Error() string {
	text := fmt.Sprintf("the snapshot %v rests on %v, which is gone", e.Snapshot.Name, e.Missing)
	if e.Missing == e.Snapshot.Key {
		text = fmt.Sprintf("%v is gone", e.Missing)
	}
	if e.Loss != nil {
		text += "; " + e.Loss.String()
	}
	return text
}

// Is makes the error match [format.ErrDamaged].
func (e *HoleError) Is(target error) bool { return target == format.ErrDamaged }

// concurrency is how many objects' ends are read at once: small requests, which wait for the network
// more than they use it.
const concurrency = 8

// Options say how a chain is read. The zero value is ready for use.
type Options struct {
	// Identities open what is encrypted; nil opens nothing that is.
	Identities *seal.Identities
	// TempDir is where the page table of a large database is kept, 20 bytes a page, and the end of each object, 128 KiB as a
	// rule; empty is [os.TempDir].
	TempDir string
}

// Open reads the chain of a snapshot. Damage of any kind is a [format.ErrDamaged], a [HoleError] among
// them; an object that is encrypted and cannot be opened is a [seal.LockedError].
func Open(ctx context.Context, st store.Store, snap catalog.Snapshot, opts Options) (_ *Chain, err error) {
	c := &Chain{}
	if c.ends, err = newEnds(opts.TempDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.openLinks(ctx, st, snap, opts.Identities); err != nil {
		return nil, err
	}
	if err := c.checkLinks(); err != nil {
		return nil, err
	}
	c.table = newTable(opts.TempDir)
	if err := c.readPageTables(ctx); err != nil {
		return nil, err
	}
	return c, c.prove(ctx, snap)
}

// Hole returns the error of a link's object that has vanished since the chain was opened.
func (c *Chain) Hole(l *Link) error {
	return &HoleError{Snapshot: c.Links[len(c.Links)-1].Snapshot, Missing: l.Key}
}

// Close releases the temporary files.
func (c *Chain) Close() error {
	err := c.ends.Close()
	if c.table != nil {
		err = cmp.Or(err, c.table.Close())
	}
	return err
}

// path returns the objects that the index x of a snapshot says it rests on, the full first.
func path(x *format.Index) []catalog.Snapshot {
	objects := make([]catalog.Snapshot, len(x.Chain))
	for i, l := range x.Chain {
		k := l.In(x.Database)
		objects[i] = catalog.Snapshot{Key: k, Object: store.Object{Key: k.String(), Size: l.Size}}
	}
	return objects
}

// openLinks reads what snap and the objects that it rests on say about themselves.
func (c *Chain) openLinks(ctx context.Context, st store.Store, snap catalog.Snapshot, ids *seal.Identities) error {
	last, err := c.openLink(ctx, st, snap, ids)
	if errors.Is(err, fs.ErrNotExist) {
		err = &HoleError{Snapshot: snap, Missing: snap.Key}
	}
	if err != nil {
		return err
	}
	c.Index = last.Tail.Index
	objects := path(c.Index)
	c.Links = make([]*Link, len(objects)+1)
	c.Links[len(objects)] = last
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i, s := range objects {
		g.Go(func() error {
			l, err := c.openLink(ctx, st, s, ids)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return &HoleError{Snapshot: snap, Missing: s.Key}
			case errors.Is(err, io.ErrUnexpectedEOF):
				return explainShort(ctx, st, s, err)
			case err != nil:
				return err
			}
			// Else a chain of a thousand would be in memory a thousand times.
			if x, path := l.Tail.Index, c.Index.Chain[:i:i]; slices.Equal(x.Chain, path) {
				x.Chain = path
			}
			c.Links[i] = l
			return nil
		})
	}
	return g.Wait()
}

// openLink is as [OpenLink], and keeps nothing of the object in memory.
func (c *Chain) openLink(ctx context.Context, st store.Store, s catalog.Snapshot, ids *seal.Identities) (*Link, error) {
	l, err := OpenLink(ctx, st, s, ids)
	if err != nil {
		return nil, err
	}
	return l, l.object.Spill(c.ends.put)
}

// explainShort tells an object that has lost its end from a connection that broke off, which err
// may be. How long the object should be is known from the index of one that rests on it.
func explainShort(ctx context.Context, st store.Store, s catalog.Snapshot, err error) error {
	now, lerr := catalog.Get(ctx, st, s.Database, s.Name)
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	if now.Object.Size >= s.Object.Size {
		return err
	}
	return fmt.Errorf("read %s: %w: it has %d bytes where %d belong", s.Object.Key, format.ErrDamaged, now.Object.Size, s.Object.Size)
}

// checkLinks checks that each link is what the next one was built on.
func (c *Chain) checkLinks() error {
	for i, l := range c.Links[1:] {
		x, parent := l.Tail.Index, c.Links[i].Tail.Index
		switch {
		case *x.ParentRoot != parent.Root:
			return fmt.Errorf("%s: %w: it was built on another %v than the one that is there", l.Object.Key, format.ErrDamaged, parent.Snapshot)
		case x.Salt != parent.Salt || x.PageSize != parent.PageSize || !slices.Equal(x.Chain, c.Index.Chain[:i+1]):
			return fmt.Errorf("%s: %w: it does not fit to its parent %v", l.Object.Key, format.ErrDamaged, parent.Snapshot)
		}
	}
	return nil
}

// readPageTables enters the pages of all links into the table, so that the newest copy of each
// stays.
func (c *Chain) readPageTables(ctx context.Context) error {
	for i, l := range c.Links {
		err := l.readPageTable(ctx, c.table, i)
		if errors.Is(err, fs.ErrNotExist) {
			return c.Hole(l)
		}
		if err != nil {
			return fmt.Errorf("%s: page table: %w", l.Object.Key, err)
		}
	}
	return nil
}

// prove checks that the page hashes are the ones that the root was made of.
func (c *Chain) prove(ctx context.Context, snap catalog.Snapshot) error {
	root := format.NewRootHasher(c.Index.PageSize, c.Index.Pages, c.Index.Salt)
	for entries, err := range c.table.all(c.Index.Pages) {
		if err != nil {
			return fmt.Errorf("%s: %w", snap.Object.Key, err)
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		for i := range entries {
			root.Write(entries[i].Hash[:])
		}
	}
	if err := root.Check(c.Index.Root); err != nil {
		return fmt.Errorf("%s: %w", snap.Object.Key, err)
	}
	return nil
}

// ReadEntries fills dst with the entries of the pages from first on, which must exist.
func (c *Chain) ReadEntries(first uint32, dst []Entry) error { return c.table.get(first, dst) }
