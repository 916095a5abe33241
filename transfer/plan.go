package transfer

import (
	"slices"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A plan says which snapshots of a database are to be in the copy, and in which order they can come there.
type plan struct {
	steps   []step // in the order of time, so that a parent is before its children
	roots   []int  // steps that wait for no other
	bytes   int64  // stored, of all that is not there yet
	leaving int    // snapshots that are left out because they are announced to be deleted
	foreign []catalog.Snapshot
}

// A step brings one snapshot into the copy.
type step struct {
	catalog.Snapshot
	there    *store.Object // under the same key in the copy; nil if it is to be copied
	parent   int           // the step that it waits for; -1 if none
	children []int         // the steps that wait for it
}

// newPlan plans from listings, which are in the order of time, and from what is announced to be deleted. What
// is announced where it comes from is copied only if something that is not rests on it; what is announced in
// the copy is not copied, nor what rests on it.
func newPlan(all []catalog.Snapshot, leaving map[format.Name]bool, there []catalog.Snapshot, deleting map[format.Name]bool) *plan {
	paths := catalog.Paths(all)
	needed := make([]bool, len(all))
	for i, s := range all {
		if leaving[s.Name] {
			continue
		}
		for j := i; j >= 0 && !needed[j]; j = paths[j].Parent {
			needed[j] = true
		}
	}
	inCopy := make(map[string]*store.Object, len(there))
	for i := range there {
		inCopy[there[i].Object.Key] = &there[i].Object
	}
	p := &plan{}
	steps := make([]int, len(all)) // the step of each snapshot; -1 if none
	for i, s := range all {
		steps[i] = -1
		parent := -1
		if paths[i].Parent >= 0 {
			parent = steps[paths[i].Parent]
		}
		switch {
		case paths[i].State == catalog.Broken:
			continue // which is told as a loss
		case paths[i].State == catalog.Foreign:
			p.foreign = append(p.foreign, s)
			continue
		case !needed[i] || deleting[s.Name] || paths[i].Parent >= 0 && parent < 0:
			p.leaving++
			continue
		}
		steps[i] = len(p.steps)
		p.steps = append(p.steps, step{Snapshot: s, there: inCopy[s.Object.Key], parent: parent})
		if parent < 0 {
			p.roots = append(p.roots, steps[i])
		} else {
			p.steps[parent].children = append(p.steps[parent].children, steps[i])
		}
		if inCopy[s.Object.Key] == nil {
			p.bytes += s.Object.Size
		}
	}
	return p
}

// path returns the objects that a snapshot rests on, the full first.
func (p *plan) path(s *step) []format.Link {
	var links []format.Link
	for i := s.parent; i >= 0; i = p.steps[i].parent {
		links = append(links, format.Link{Key: p.steps[i].Base(), Size: p.steps[i].Object.Size})
	}
	slices.Reverse(links)
	return links
}

// descendants returns how many steps wait for a step, or for one that does.
func (p *plan) descendants(i int) int {
	n := 0
	for todo := slices.Clone(p.steps[i].children); len(todo) > 0; n++ {
		last := len(todo) - 1
		next := todo[last]
		todo = append(todo[:last], p.steps[next].children...)
	}
	return n
}
