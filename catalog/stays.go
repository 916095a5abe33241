package catalog

import (
	"context"
	"errors"
	"slices"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// Trouble is why nothing can rest on a path; the zero value is none.
type Trouble struct {
	Snapshot format.Name // of the path; without a time if only its id is known
	Gone     bool        // it is, and otherwise about to be deleted
}

// Stays finds out which of some snapshots of a database do not stay with all that they rest on, and why. It is for
// whoever has just stored or held them.
//
// Who deletes announces first and lists again before deleting, so of a deletion and one who stores or holds the second
// sees the first. Announcements are read before what is there: they are withdrawn once all that they name is gone.
func Stays(ctx context.Context, st store.Store, database string, names ...format.Name) (map[format.Name]Trouble, error) {
	announced, err := Announced(ctx, st, database)
	if err != nil {
		return nil, err
	}
	all, err := List(ctx, st, database)
	if err != nil && !errors.As(err, new(*NotFoundError)) {
		return nil, err
	}
	return StaysIn(all, announced, names...), nil
}

// StaysIn is [Stays] for what was read of a store: what was announced, and then all snapshots, in the order of time.
func StaysIn(all []Snapshot, announced map[format.Name]bool, names ...format.Name) map[format.Name]Trouble {
	paths, going, troubled := Paths(all), goingBelow(all, announced), map[format.Name]Trouble{}
	for _, n := range names {
		at, found := slices.BinarySearchFunc(all, n, func(s Snapshot, n format.Name) int { return s.Name.Compare(n) })
		switch {
		case !found:
			troubled[n] = Trouble{n, true}
		case going[at] >= 0:
			troubled[n] = Trouble{all[going[at]].Name, false}
		case paths[at].State == Broken:
			troubled[n] = Trouble{format.Name{ID: paths[at].Missing}, true}
		}
	}
	return troubled
}

// goingBelow returns for each of all the index of one that is announced, itself or any that it may rest on; -1 if there
// is none.
func goingBelow(all []Snapshot, announced map[format.Name]bool) []int {
	parents, going := NewParents(all), make([]int, len(all))
	for i, s := range all { // a parent comes before its children
		going[i] = -1
		for p := range parents.Of(i) {
			going[i] = max(going[i], going[p])
		}
		if announced[s.Name] {
			going[i] = i
		}
	}
	return going
}

// A PathCheck finds out what [Stays] does about a path that is known, by fewer and smaller requests: for whoever pushes
// again and again.
type PathCheck struct {
	Path []format.Name // what has to stay
	// Confirmed, if set, is a snapshot that was found to stay with all that it rests on, of which Path is a part.
	// While it is there and not announced so is the path: nobody deletes what something rests on that stays.
	Confirmed format.Name
}

// A View is what a store shows to a [PathCheck], at the moments at which it asks.
type View struct {
	Announced     func() (map[format.Name]bool, error)
	ConfirmedGone func() (bool, error)
	// PathGone returns the index of one of the path that is gone, or -1.
	PathGone func() (int, error)
}

// In returns what troubles the path in a view.
func (c PathCheck) In(view View) (Trouble, error) {
	announced, err := view.Announced()
	if err != nil {
		return Trouble{}, err
	}
	for _, n := range c.Path {
		if announced[n] {
			return Trouble{Snapshot: n}, nil
		}
	}
	if !c.Confirmed.IsZero() && !announced[c.Confirmed] {
		if gone, err := view.ConfirmedGone(); !gone || err != nil {
			return Trouble{}, err
		}
	}
	i, err := view.PathGone()
	if err != nil || i < 0 {
		return Trouble{}, err
	}
	return Trouble{Snapshot: c.Path[i], Gone: true}, nil
}
