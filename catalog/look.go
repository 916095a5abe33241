package catalog

import "github.com/litestash/litestash/format"

// A Look finds out whether snapshots stay, for whoever has just stored one that rests on them.
//
// Who deletes announces first and lists again before deleting, so of a push and a deletion that meet the second one
// sees the first. Announcements are read before what is there: they are withdrawn once all that they name is gone.
type Look struct {
	Path []format.Name // what has to stay
	// Confirmed, if set, is a snapshot that a look has found to stay with all that it rests on, of which Path is a part.
	// While it is there and not announced so is the path: nobody deletes what something rests on that stays.
	Confirmed format.Name
}

// A Sight is what a [Look] sees, at the moments at which it asks.
type Sight struct {
	Announced     func() (map[format.Name]bool, error)
	ConfirmedGone func() (bool, error)
	// PathGone returns the index of one of the path that is gone, or -1.
	PathGone func() (int, error)
}

// Trouble is why nothing can rest on a path; the zero value is none.
type Trouble struct {
	Snapshot format.Name // of the path
	Gone     bool        // it is, and otherwise about to be deleted
}

// At returns what troubles the path.
func (l Look) At(sight Sight) (Trouble, error) {
	announced, err := sight.Announced()
	if err != nil {
		return Trouble{}, err
	}
	for _, n := range l.Path {
		if announced[n] {
			return Trouble{Snapshot: n}, nil
		}
	}
	if !l.Confirmed.IsZero() && !announced[l.Confirmed] {
		if gone, err := sight.ConfirmedGone(); !gone || err != nil {
			return Trouble{}, err
		}
	}
	i, err := sight.PathGone()
	if err != nil || i < 0 {
		return Trouble{}, err
	}
	return Trouble{Snapshot: l.Path[i], Gone: true}, nil
}
