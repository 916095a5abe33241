package retention

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A Covered is a snapshot that ordinary reads of a store with versions do not see as it was created.
type Covered struct {
	catalog.Snapshot               // as it was created
	First            store.Version // which is that
	Newest           store.Version // what is seen instead; nothing if it is a marker
	Since            time.Time     // when the first of what covers it was put there, by the store's clock
}

// listCovered yields the covered snapshots of a database, or of all if that is empty, in the order of their
// keys. The oldest version of a snapshot's key is what was created, since names are used once; who put
// what covers it there, a deletion or a thief, cannot be told. It is one listing of all versions; where the newest
// has the size of the oldest but another ETag, both are read.
func listCovered(ctx context.Context, st store.Versioner, database string) iter.Seq2[Covered, error] {
	q := store.Query{}
	if database != "" {
		q = store.Query{Prefix: database + "/", Shallow: true}
	}
	return func(yield func(Covered, error) bool) {
		var c Covered
		// finish yields the key that has ended, if it is that of a covered snapshot.
		finish := func() bool {
			covered, err := isCovered(ctx, st, &c)
			if err != nil {
				yield(Covered{}, err)
				return false
			}
			return !covered || yield(c, nil)
		}
		for v, err := range st.Versions(ctx, q) {
			if err != nil {
				yield(Covered{}, err)
				return
			}
			if v.Key != c.Newest.Key {
				if !finish() {
					return
				}
				c = Covered{Newest: v}
			}
			c.below(v)
		}
		finish()
	}
}

// below notes the next version of the key, from the newest down.
func (c *Covered) below(v store.Version) {
	if v.Marker {
		c.cover(v)
		return
	}
	if c.First.Key != "" {
		c.cover(c.First) // which is not the first, then
	}
	c.First = v
}

// cover notes a version that is not the first.
func (c *Covered) cover(v store.Version) {
	if c.Since.IsZero() || v.Stored.Before(c.Since) {
		c.Since = v.Stored
	}
}

// isCovered finds out whether a key with all its versions is that of a covered snapshot, and which.
func isCovered(ctx context.Context, st store.Versioner, c *Covered) (bool, error) {
	k, ok := format.ParseKey(c.First.Key)
	if !ok || c.First.ID == c.Newest.ID {
		return false, nil
	}
	c.Snapshot = catalog.Snapshot{Key: k, Object: c.First.Object}
	same, err := sameContent(ctx, st, c.First, c.Newest)
	return !same, err
}

// sameContent says whether two versions hold the same. A copy of an object that was stored in parts may have
// another ETag.
func sameContent(ctx context.Context, st store.Versioner, a, b store.Version) (bool, error) {
	switch {
	case a.Marker || b.Marker || a.Size != b.Size:
		return false, nil
	case a.ETag == b.ETag:
		return true, nil
	}
	sumA, err := hashVersion(ctx, st, a)
	if err != nil {
		return false, err
	}
	sumB, err := hashVersion(ctx, st, b)
	return sumA == sumB, err
}

func hashVersion(ctx context.Context, st store.Versioner, v store.Version) (sum [sha256.Size]byte, err error) {
	r, err := st.OpenVersion(ctx, v, 0, -1)
	if err != nil {
		return sum, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// ErrCovered says that something new lies on top of a snapshot whenever that is cleared.
var ErrCovered = errors.New("others put something on top of it again and again")

// mostCopies is how many copies are put on top of a snapshot before it is given up.
const mostCopies = 10

// uncover makes ordinary reads see a snapshot as it was created, and returns when it has looked that they do. What lies
// above it is deleted for good, but for what is locked: then a copy is put on top.
func uncover(ctx context.Context, st store.Versioner, c Covered) error {
	for copies := 0; copies <= mostCopies; {
		newest, above, err := lookAbove(ctx, st, c.First)
		if err != nil {
			return err
		}
		if newest.ID == c.First.ID && len(above) == 0 {
			return nil
		}
		if copies > 0 {
			if same, err := sameContent(ctx, st, c.First, newest); same || err != nil {
				return err
			}
		}
		locked, err := deleteVersions(ctx, st, above)
		if err != nil {
			return err
		}
		if !locked {
			continue
		}
		if _, err := st.CopyVersion(ctx, c.First); err != nil {
			return err
		}
		copies++
	}
	return ErrCovered
}

// mostAbove is how many versions are looked at before they are deleted: who overwrites can do so without end.
const mostAbove = 10_000

// lookAbove returns the version of a key that ordinary reads see or do not see, and the newest of those that are not the
// first. It reads the listing to its end, or to that of mostAbove, before anything is deleted: a server that is asked for
// the page after a version which is gone may say that there is none.
func lookAbove(ctx context.Context, st store.Versioner, first store.Version) (newest store.Version, above []store.Version, err error) {
	for v, err := range st.Versions(ctx, store.Query{Prefix: first.Key, Shallow: true}) {
		if err != nil {
			return newest, nil, err
		}
		if v.Key != first.Key || len(above) == mostAbove {
			break
		}
		if v.Newest {
			newest = v
		}
		if v.ID != first.ID {
			above = append(above, v)
		}
	}
	return newest, above, nil
}

// deleteVersions deletes versions for good, and reports whether any is locked, which stays.
func deleteVersions(ctx context.Context, st store.Versioner, all []store.Version) (locked bool, err error) {
	for _, v := range all {
		err := st.DeleteVersion(ctx, v)
		switch {
		case errors.As(err, new(*store.LockedError)):
			locked = true
		case err != nil:
			return locked, err
		}
	}
	return locked, nil
}

// uncoverers is how many snapshots are brought back at once.
const uncoverers = 8

// RecoverOptions say what to bring back. The zero value works.
type RecoverOptions struct {
	Since  time.Time // leave alone what was covered before that; zero is never
	DryRun bool      // only find it
}

// Recover brings back the covered snapshots of a database, or of all if that is empty. It calls found for each that is
// uncovered, or in a dry run would be, one at a time. What it does not come to, the next Recover will.
//
// What announces the deletion of any of them is withdrawn first, since the next deletion would finish it. So none may run
// meanwhile: it would delete what nobody is warned of any more. And what checks found of damage in their objects, or in
// those of what rests on them, is forgotten: it may be that of what covers them.
func Recover(ctx context.Context, st store.Versioner, database string, opts RecoverOptions, found func(Covered)) error {
	lost := map[string][]Covered{} // by database
	for c, err := range listCovered(ctx, st, database) {
		if err != nil {
			return err
		}
		switch {
		case c.Since.Before(opts.Since):
		case opts.DryRun:
			found(c)
		default:
			lost[c.Database] = append(lost[c.Database], c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lost)) {
		if err := withdraw(ctx, st, name, lost[name]); err != nil {
			return err
		}
		if err := forgetRot(ctx, st, name, lost[name]); err != nil {
			return err
		}
		if err := uncoverAll(ctx, st, lost[name], found); err != nil {
			return err
		}
	}
	return nil
}

// forgetRot deletes the proofs that objects are damaged which are about snapshots that are to come back, and about what
// rests on them.
func forgetRot(ctx context.Context, st store.Store, database string, lost []Covered) error {
	all, err := catalog.List(ctx, st, database)
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		return err
	}
	back := namesOf(lost)
	for _, c := range lost {
		all = append(all, c.Snapshot) // a second time if it is overwritten
	}
	slices.SortFunc(all, func(a, b catalog.Snapshot) int { return a.Name.Compare(b.Name) })
	parents := catalog.NewParents(all)
	for i, s := range all { // a parent comes before its children
		for p := range parents.Of(i) {
			if back[all[p].Name] {
				back[s.Name] = true
			}
		}
	}
	return catalog.DeleteRot(ctx, st, database, back)
}

func namesOf(lost []Covered) Names {
	names := Names{}
	for _, c := range lost {
		names[c.Name] = true
	}
	return names
}

// withdraw removes the announcements that name a snapshot which is to come back.
func withdraw(ctx context.Context, st store.Store, database string, lost []Covered) error {
	all, err := catalog.Announcements(ctx, st, database)
	if err != nil {
		return err
	}
	back := namesOf(lost)
	for _, a := range all {
		if !slices.ContainsFunc(a.Names, func(n format.Name) bool { return back[n] }) {
			continue
		}
		if err := catalog.Withdraw(ctx, st, a); err != nil {
			return err
		}
	}
	return nil
}

// uncoverAll uncovers snapshots side by side.
func uncoverAll(ctx context.Context, st store.Versioner, lost []Covered, found func(Covered)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uncoverers)
	var mu sync.Mutex
	for _, c := range lost {
		g.Go(func() error {
			if err := uncover(ctx, st, c); err != nil {
				return fmt.Errorf("bring %v back: %w", c.Key, err)
			}
			mu.Lock()
			defer mu.Unlock()
			found(c)
			return nil
		})
	}
	return g.Wait()
}
