package catalog

import (
	"iter"

	"github.com/litestash/litestash/format"
)

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
// earlier than what builds on it: one that is not counts as gone, since whoever reads refuses it. Of several that may be
// the parent, see [Parents], it is the first whose path is whole.
func Paths(all []Snapshot) []Path {
	parents := NewParents(all)
	paths := make([]Path, len(all))
	for i, s := range all {
		p := Path{Parent: -1}
		if s.HasParent {
			p.State, p.Missing = Broken, s.Parent
		}
		for parent := range parents.Of(i) { // the latest first
			if p.Parent < 0 || p.State != Whole || paths[parent].State == Whole {
				p = paths[parent]
				p.Parent = parent
			}
		}
		p.Objects++
		p.Stored += s.Object.Size
		if s.Kind == format.Unknown && p.State == Whole {
			p.State = Foreign
		}
		paths[i] = p
	}
	return paths
}

// Parents tells which of all the snapshots of a database may be what others build on. A key names a parent by its id, of
// which there is one; but whoever may push can repeat it under another name. Which of them is meant only the index of the
// child says, so a listing has to reckon with each.
type Parents struct {
	all    []Snapshot
	last   map[format.ID]int
	before []int // the one before that has the same id, or -1
}

// NewParents is for all the snapshots of a database, in the order of time.
func NewParents(all []Snapshot) *Parents {
	p := &Parents{all, make(map[format.ID]int, len(all)), make([]int, len(all))}
	for i, s := range all {
		p.before[i] = -1
		if same, ok := p.last[s.Name.ID]; ok {
			p.before[i] = same
		}
		p.last[s.Name.ID] = i
	}
	return p
}

// Named yields the indexes of all that have the id which the i-th names as its parent, the latest first.
func (p *Parents) Named(i int) iter.Seq[int] {
	return func(yield func(int) bool) {
		if !p.all[i].HasParent {
			return
		}
		j, ok := p.last[p.all[i].Parent]
		for ok && j >= 0 && yield(j) {
			j = p.before[j]
		}
	}
}

// Of is as Named, but yields only those that are earlier, as a parent is.
func (p *Parents) Of(i int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for j := range p.Named(i) {
			if p.all[j].Name.Time < p.all[i].Name.Time && !yield(j) {
				return
			}
		}
	}
}
