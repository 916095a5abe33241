// Package catalog finds databases and snapshots in a store: it turns listings into snapshots and what
// they rest on, and reads what an object says about itself. Beside the snapshots it keeps what is to be known of them:
// proofs, holds, and announcements of deletions. Snapshots themselves it neither restores nor changes.
//
// Start with [Databases], [List] or [Find].
package catalog

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A Snapshot is a snapshot that a store lists.
type Snapshot struct {
	format.Key
	Object store.Object
}

// A Database sums up what a store lists under one name.
type Database struct {
	Name      string
	Snapshots int
	Stored    int64 // bytes of all its objects
	First     Snapshot
	Newest    Snapshot
}

// A NotFoundError says that a database, or the snapshot of it that was asked for, does not exist.
// It matches [fs.ErrNotExist].
type NotFoundError struct {
	Database string
	What     string    // the snapshot that was asked for; empty for any
	Nearest  *Snapshot // the first after what was asked for, if there is one
}

func (e *NotFoundError) Error() string {
	switch {
	case e.What == "":
		return fmt.Sprintf("database %q has no snapshots in the store", e.Database)
	case e.Nearest != nil:
		return fmt.Sprintf("database %q has no snapshot %s; the first after it is %v", e.Database, e.What, e.Nearest.Name)
	}
	return fmt.Sprintf("database %q has no snapshot %s", e.Database, e.What)
}

// Is makes the error match [fs.ErrNotExist].
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// Databases lists the whole store and returns its databases by name.
func Databases(ctx context.Context, st store.Store) ([]Database, error) {
	found := map[string]*Database{}
	for s, err := range snapshots(ctx, st) {
		if err != nil {
			return nil, err
		}
		d := found[s.Database]
		if d == nil {
			d = &Database{Name: s.Database, First: s}
			found[s.Database] = d
		}
		d.Snapshots++
		d.Stored += s.Object.Size
		d.Newest = s
	}
	all := make([]Database, 0, len(found))
	for _, d := range found {
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b Database) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// ListAll lists the whole store and returns the snapshots of each database, oldest first, by the names of
// the databases.
func ListAll(ctx context.Context, st store.Store) ([][]Snapshot, error) {
	found := map[string][]Snapshot{}
	for s, err := range snapshots(ctx, st) {
		if err != nil {
			return nil, err
		}
		found[s.Database] = append(found[s.Database], s)
	}
	all := make([][]Snapshot, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[name])
	}
	return all, nil
}

// snapshots yields all snapshots in the order of their keys, and stops after the first error.
func snapshots(ctx context.Context, st store.Store) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		for o, err := range st.List(ctx, store.Query{}) {
			if err != nil {
				yield(Snapshot{}, fmt.Errorf("list databases: %w", err))
				return
			}
			if k, ok := format.ParseKey(o.Key); ok && !yield(Snapshot{k, o}, nil) {
				return
			}
		}
	}
}

// List returns the snapshots of a database, oldest first. A database without any is a
// [NotFoundError].
func List(ctx context.Context, st store.Store, database string) ([]Snapshot, error) {
	all, err := list(ctx, st, database, math.MinInt64, math.MaxInt64)
	if err == nil && len(all) == 0 {
		err = &NotFoundError{Database: database}
	}
	return all, err
}

// list returns the snapshots from the time from on until to, both included, and stops reading
// after that.
func list(ctx context.Context, st store.Store, database string, from, to format.Time) ([]Snapshot, error) {
	q := store.Query{Prefix: database + "/", Shallow: true}
	if from > 0 {
		q.After = q.Prefix + from.String()
	}
	var all []Snapshot
	for o, err := range st.List(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("list snapshots of %s: %w", database, err)
		}
		k, ok := format.ParseKey(o.Key)
		if !ok || k.Database != database {
			continue
		}
		if k.Name.Time > to {
			break
		}
		all = append(all, Snapshot{k, o})
	}
	return all, nil
}

// windows are how far back Find looks, one after the other, before it looks at all: a listing can
// only ascend, and a database may have many more snapshots than anyone asks for.
var windows = []time.Duration{time.Hour, 24 * time.Hour, 30 * 24 * time.Hour}

// Find returns the newest snapshots at or before the time at: the newest first, then what else was
// listed on the way, in falling order. There is at least one, or the error is a [NotFoundError].
func Find(ctx context.Context, st store.Store, database string, at format.Time) ([]Snapshot, error) {
	near := min(at, format.TimeOf(time.Now()))
	for _, w := range windows {
		found, err := list(ctx, st, database, near-format.Time(w.Milliseconds()), at)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			slices.Reverse(found)
			return found, nil
		}
	}
	all, err := List(ctx, st, database)
	if err != nil {
		return nil, err
	}
	n, _ := slices.BinarySearchFunc(all, at, func(s Snapshot, at format.Time) int {
		if s.Name.Time <= at {
			return -1
		}
		return 1
	})
	if n == 0 {
		return nil, &NotFoundError{database, "at or before " + at.String(), &all[0]}
	}
	found := all[:n]
	slices.Reverse(found)
	return found, nil
}

// Latest is a time that no snapshot is after, for [Find].
const Latest = format.Time(253402300799999) // 9999-12-31T23:59:59.999Z

// Get returns the snapshot of that name, or a [NotFoundError].
func Get(ctx context.Context, st store.Store, database string, name format.Name) (Snapshot, error) {
	found, err := list(ctx, st, database, name.Time, name.Time)
	if err != nil {
		return Snapshot{}, err
	}
	for _, s := range found {
		if s.Name == name {
			return s, nil
		}
	}
	return Snapshot{}, &NotFoundError{Database: database, What: name.String()}
}
