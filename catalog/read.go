package catalog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

// ReadTail reads what a snapshot's object says about itself and checks that it is the object that
// its key promises. What is damaged, renamed or none of ours is a [format.ErrDamaged], what a later
// version wrote a [format.VersionError], and what is encrypted and not opened by ids, which may be
// nil, a [seal.LockedError].
func ReadTail(ctx context.Context, st store.Store, s Snapshot, ids *seal.Identities) (*format.Tail, error) {
	t, _, err := Open(ctx, st, s, ids)
	return t, err
}

// Open is as [ReadTail], and also returns the object, to read the rest of. As much of its end is kept in
// memory as had to be read: at least [format.FirstTail] bytes, or all.
func Open(ctx context.Context, st store.Store, s Snapshot, ids *seal.Identities) (t *format.Tail, o *seal.Object, err error) {
	if o, err = seal.Open(ctx, st, s.Object, s.Encrypted, format.FirstTail, ids); err == nil {
		t, err = readTail(ctx, o)
		if errors.Is(err, format.ErrDamaged) {
			err = explain(ctx, o, err)
		}
	}
	if err == nil {
		err = matches(t.Index, s.Key)
	}
	if errors.As(err, new(*seal.LockedError)) {
		return nil, nil, err // which names the object
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", s.Object.Key, err)
	}
	return t, o, nil
}

// tailReaders is how many objects' ends [ReadTails] reads at once.
const tailReaders = 8

// ReadTails calls do with what each of the snapshots says about itself, or with why that cannot be read, for
// several at once and in no order. It stops at the first error that do returns.
func ReadTails(ctx context.Context, st store.Store, snaps []Snapshot, ids *seal.Identities, do func(i int, t *format.Tail, err error) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(tailReaders, len(snaps)) {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(snaps); i = int(next.Add(1)) - 1 {
				t, err := ReadTail(ctx, st, snaps[i], ids)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := do(i, t, err); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func readTail(ctx context.Context, o *seal.Object) (*format.Tail, error) {
	for {
		end, err := o.End()
		if err != nil {
			return nil, err
		}
		t, need, err := format.ParseTail(end, o.Size())
		if err != nil || need == 0 {
			return t, err
		}
		if err := o.Extend(ctx, need); err != nil {
			return nil, err
		}
	}
}

// explain looks at the start of an object whose end could not be understood, for a better reason.
func explain(ctx context.Context, o *seal.Object, damage error) error {
	head, err := o.Read(ctx, format.Span{Len: min(o.Size(), 64)})
	if err != nil {
		return errors.Join(damage, err)
	}
	if err := format.Identify(head); err != nil {
		return err
	}
	return damage
}

// matches checks that an object is the one that its key promises.
func matches(x *format.Index, k format.Key) error {
	if x.Database != k.Database || x.Snapshot != k.Name || x.Kind() != k.Kind || k.HasParent && x.Parent.ID != k.Parent {
		return fmt.Errorf("%w: it says that it is the %v snapshot %v of %s: it was renamed or replaced",
			format.ErrDamaged, x.Kind(), x.Snapshot, x.Database)
	}
	return nil
}
