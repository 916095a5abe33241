package catalog

import "github.com/litestash/litestash/format"

// A Path is what a listing alone tells of what a snapshot rests on.
type Path struct {
	Parent  int       // index in the listing of what it builds on; -1 if that is nothing, or gone
	Objects int       // of the path that are there, its own included
	Stored  int64     // bytes of these: about what a restore fetches at most
	Missing format.ID // of what it rests on and is gone, if it is Broken
	State   PathState
}

// A PathState says whether a snapshot can be restored, as far as a listing tells.
type PathState int

const (
	Whole   PathState = iota // all that it rests on is there
	Broken                   // some of it is gone
	Foreign                  // some of it is in a form that this version does not know
)

// Paths returns the path of each of all the snapshots of a database, which are in the order of time. A parent is
// earlier than what builds on it: one that is not counts as gone, since whoever reads refuses it.
func Paths(all []Snapshot) []Path {
	paths := make([]Path, len(all))
	index := make(map[format.ID]int, len(all))
	for i, s := range all {
		p := Path{Parent: -1, Objects: 1, Stored: s.Object.Size}
		if s.HasParent {
			if parent, ok := index[s.Parent]; ok && all[parent].Name.Time < s.Name.Time {
				p = paths[parent]
				p.Parent = parent
				p.Objects++
				p.Stored += s.Object.Size
			} else {
				p.State, p.Missing = Broken, s.Parent
			}
		}
		if s.Kind == format.Unknown && p.State == Whole {
			p.State = Foreign
		}
		paths[i], index[s.Name.ID] = p, i
	}
	return paths
}
