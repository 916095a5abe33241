package retention

import (
	"context"
	"errors"
	"fmt"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A LeftError says that not all snapshots of a database are gone: others have been pushed or held
// meanwhile.
type LeftError struct {
	Database string
	Left     []catalog.Snapshot
}

func (e *LeftError) Error() string {
	return fmt.Sprintf("database %q still has snapshots: %d were pushed or held meanwhile, the newest is %v",
		e.Database, len(e.Left), e.Left[len(e.Left)-1].Name)
}

// A DeletionOfAll is of all that a store has of a database: snapshots, what is known about them, and, in a store that
// keeps versions, those of them and of what was deleted earlier. Parts of interrupted uploads go as well.
type DeletionOfAll struct {
	Snapshots []catalog.Snapshot // oldest first
	// LocksUnknown is as that of a [Deletion].
	LocksUnknown error

	st       store.Store
	survey   *Survey
	evenHeld bool
}

// PlanDeleteAll finds out whether all that there is of a database can be deleted. If not it is a [HeldError], unless even
// those are to go that are held, or a [LockedError]. It changes nothing.
func PlanDeleteAll(ctx context.Context, st store.Store, database string, evenHeld bool) (*DeletionOfAll, error) {
	s, err := Look(ctx, st, database)
	if err != nil {
		return nil, err
	}
	if len(s.holds) > 0 && !evenHeld { // on what is hidden too: its versions would go
		return nil, &HeldError{catalog.Snapshot{Key: format.Key{Database: database, Name: s.holds[0].Snapshot}}}
	}
	locks, unknown, err := locksOf(ctx, st)
	if err != nil {
		return nil, err
	}
	if err := locks.check(ctx, s.Snapshots); err != nil {
		return nil, err
	}
	return &DeletionOfAll{Snapshots: s.Snapshots, LocksUnknown: unknown, st: st, survey: s, evenHeld: evenHeld}, nil
}

// Run deletes everything, and returns how many versions and markers it removed. It is a [catalog.NotFoundError] if there
// was nothing.
//
// Whoever pushes the database meanwhile finds out, as beside every other deletion, and stores a full, which
// stays: it is a [LeftError] then.
func (d *DeletionOfAll) Run(ctx context.Context, opts Options) (versions int, err error) {
	want, database := Names{}, d.survey.Database
	for _, snap := range d.Snapshots {
		want[snap.Name] = true
	}
	empty := d.survey.Empty()
	opts.evenHeld = d.evenHeld
	if err := remove(ctx, d.st, d.survey, want, want, opts); err != nil {
		return 0, err
	}
	s, err := Look(ctx, d.st, database)
	if err != nil {
		return 0, err
	}
	if len(s.Snapshots) > 0 {
		return 0, &LeftError{database, s.Snapshots}
	}
	if v, ok := d.st.(store.Versioner); ok {
		if versions, err = purge(ctx, v, database); err != nil {
			return versions, err
		}
	}
	parts, err := dropUnfinished(ctx, d.st, database)
	if err == nil && empty && versions == 0 && parts == 0 {
		err = &catalog.NotFoundError{Database: database}
	}
	return versions, err
}

// An unfinisher is a store that may keep parts of objects which were never finished.
type unfinisher interface {
	// DropUnfinished removes them of all keys that q selects and ours accepts, and returns how many objects they are of.
	DropUnfinished(ctx context.Context, q store.Query, ours func(key string) bool) (int, error)
}

// dropUnfinished removes what interrupted pushes of a database have left.
func dropUnfinished(ctx context.Context, st store.Store, database string) (int, error) {
	u, ok := st.(unfinisher)
	if !ok {
		return 0, nil
	}
	return u.DropUnfinished(ctx, store.Query{Prefix: database + "/", Shallow: true}, func(key string) bool {
		k, ok := format.ParseKey(key)
		return ok && k.Database == database
	})
}

// purge removes what a store keeps of the deleted objects of a database, for good.
func purge(ctx context.Context, st store.Versioner, database string) (int, error) {
	n := 0
	var locked error
	for _, prefix := range append(catalog.About(database), database+"/") {
		var key []store.Version // of one key, the newest first
		flush := func() error {
			removed, err := purgeKey(ctx, st, key)
			n += removed
			key = key[:0]
			if errors.As(err, new(*store.LockedError)) { // the others can go
				locked, err = err, nil
			}
			return err
		}
		for v, err := range st.Versions(ctx, store.Query{Prefix: prefix, Shallow: true}) {
			if err != nil {
				return n, err
			}
			if k, ok := format.ParseKey(v.Key); prefix == database+"/" && (!ok || k.Database != database) {
				continue // not ours
			}
			if len(key) > 0 && key[0].Key != v.Key {
				if err := flush(); err != nil {
					return n, err
				}
			}
			key = append(key, v)
		}
		if err := flush(); err != nil {
			return n, err
		}
	}
	return n, locked
}

// purgeKey removes the versions of a key that ordinary reads do not see any more, and then the markers that
// hide them: the other way round they would come to light.
func purgeKey(ctx context.Context, st store.Versioner, versions []store.Version) (n int, err error) {
	for _, v := range versions {
		if v.Newest && !v.Marker {
			return 0, nil // pushed since
		}
	}
	for _, markers := range []bool{false, true} {
		for _, v := range versions {
			if v.Marker != markers {
				continue
			}
			if err := st.DeleteVersion(ctx, v); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}
