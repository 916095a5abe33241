package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
)

// lookers is how many objects are looked for at once.
const lookers = 8

// look makes sure that the store holds all of a path and that nobody has announced to delete any of it. If not, it says
// why nothing can build on that. See [catalog.PathCheck].
func (p *Push) look(ctx context.Context, path []state.Link) (why string, err error) {
	check := catalog.PathCheck{}
	for _, l := range path {
		check.Path = append(check.Path, l.In(p.opts.Database).Name)
	}
	if p.history.confirmed {
		check.Confirmed = p.history.newest.Name
	}
	t, err := check.In(p.view(ctx, path))
	if illegible, ok := errors.AsType[*illegibleError](err); ok {
		p.log.Warn("an announcement of deletions cannot be understood, and may name anything", "key", illegible.key)
		return illegible.Error(), nil
	}
	switch {
	case err != nil || t == catalog.Trouble{}:
		return "", err
	case t.Gone:
		return fmt.Sprintf("%v is gone or cut short", t.Snapshot), nil
	default:
		return fmt.Sprintf("%v is about to be deleted", t.Snapshot), nil
	}
}

// view is what the store shows of a path and of the newest snapshot.
func (p *Push) view(ctx context.Context, path []state.Link) catalog.View {
	return catalog.View{
		Announced: func() (map[format.Name]bool, error) { return p.announced(ctx) },
		ConfirmedGone: func() (bool, error) {
			gone, err := isGone(ctx, p.st, p.history.newest.Key.String(), p.history.newest.Object.Size)
			if gone && err == nil {
				err = p.missNewest(ctx)
			}
			return gone, err
		},
		PathGone: func() (int, error) { return p.findGone(ctx, path) },
	}
}

// An illegibleError says that an announcement of deletions, which may name the path, cannot be understood.
type illegibleError struct{ key string }

func (e *illegibleError) Error() string {
	return fmt.Sprintf("what %s announces to be deleted cannot be understood", e.key)
}

// announced returns what is announced to be deleted. An announcement that cannot be understood may name anything that
// was stored before it. So it is an error the first time; the full that is stored then, and what rests on that, is
// nothing that it can name.
func (p *Push) announced(ctx context.Context) (map[format.Name]bool, error) {
	names, illegible, err := catalog.AnnouncedLegibly(ctx, p.st, p.opts.Database)
	if err != nil {
		return nil, err
	}
	before := p.illegible
	p.illegible = illegible
	for _, key := range illegible {
		if !slices.Contains(before, key) {
			return nil, &illegibleError{key}
		}
	}
	return names, nil
}

// missNewest notes that the store has lost the newest snapshot, which is gone. It has not if somebody else has pushed a
// newer one, beside which it may have been pruned, or if it was deleted on this host.
func (p *Push) missNewest(ctx context.Context) error {
	found, err := catalog.Find(ctx, p.st, p.opts.Database, catalog.Latest)
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		return err
	}
	newer := func(s catalog.Snapshot) bool { return s.Name != p.stored && s.Name.Compare(p.history.newest.Name) > 0 }
	if !slices.ContainsFunc(found, newer) && !p.opts.Memory.Forgotten() {
		p.damage = &LostError{p.opts.Database, p.history.newest.Base()}
	}
	return nil
}

// findGone returns the index of an object of a path that the store no longer has all of, or -1.
func (p *Push) findGone(ctx context.Context, path []state.Link) (int, error) {
	gone := make([]bool, len(path))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	for i, l := range path {
		g.Go(func() (err error) {
			gone[i], err = isGone(ctx, p.st, p.opts.Database+"/"+l.Key, l.Size)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return -1, err
	}
	return slices.Index(gone, true), nil
}

// Confirm reports whether a store still holds a snapshot as it was when it was pushed, by one request. What
// it rests on is not looked for.
func Confirm(ctx context.Context, st store.Store, snap catalog.Snapshot) (bool, error) {
	gone, err := isGone(ctx, st, snap.Key.String(), snap.Object.Size)
	return !gone, err
}

// isGone reports whether the store no longer has a key, or less of its object than was stored. It
// asks for the last byte.
func isGone(ctx context.Context, st store.Store, key string, size int64) (bool, error) {
	r, err := st.Open(ctx, store.Object{Key: key}, size-1, 1)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	_, err = io.ReadFull(r, make([]byte, 1))
	if err == io.EOF { // a body that breaks off says io.ErrUnexpectedEOF
		return true, nil
	}
	return false, err
}
