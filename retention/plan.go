// Package retention deletes snapshots beside pushes, restores and other deletions, without locks
// and without clocks: whatever stops or overtakes whom, no snapshot that is kept loses what it
// rests on.
//
// Whoever deletes announces first, in an object of its own, which snapshots are to go; then lists
// again, and deletes those announced, by anyone, on which none rests that is not. Whoever pushes
// creates its snapshot first and then looks whether anything that it rests on is announced or gone; whoever
// holds one creates the hold first and then looks in the same way. Of two that meet, the second sees the
// first.
//
// What was deleted, it brings back where the store keeps versions.
//
// Start with [Prune], which keeps what a [Policy] says, [PlanDelete] or [Hold]; [Recover] undoes.
package retention

import (
	"fmt"
	"maps"
	"slices"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
)

// A RestError says that a snapshot cannot go because another one rests on it.
type RestError struct{ Snapshot, Dependent catalog.Snapshot }

func (e *RestError) Error() string {
	return fmt.Sprintf("the snapshot %v rests on %v", e.Dependent.Name, e.Snapshot.Name)
}

// Names is a set of snapshots.
type Names = map[format.Name]bool

// A HeldError says that a snapshot cannot go because it is held.
type HeldError struct{ Snapshot catalog.Snapshot }

func (e *HeldError) Error() string { return fmt.Sprintf("the snapshot %v is held", e.Snapshot.Name) }

// needed returns what those of all rest on that keep says, themselves included, each with one that
// rests on it. all is in the order of time. It is more cautious than [catalog.Paths], since what is deleted does not
// come back: all that may be a parent is kept, whatever its time, and a snapshot of an unknown kind that names none may
// rest on anything before it.
func needed(all []catalog.Snapshot, keep func(catalog.Snapshot) bool) map[format.Name]catalog.Snapshot {
	parents := catalog.NewParents(all)
	need, seen := map[format.Name]catalog.Snapshot{}, make([]bool, len(all))
	var greedy catalog.Snapshot // the latest that may rest on anything
	var todo []int
	for i, kept := range all {
		if keep(kept) {
			todo = append(todo, i)
		}
		for len(todo) > 0 {
			i := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[i] {
				continue
			}
			seen[i] = true
			s := all[i]
			need[s.Name] = kept
			if s.Kind == format.Unknown && !s.HasParent && s.Name.Compare(greedy.Name) > 0 {
				greedy = s
			}
			todo = slices.AppendSeq(todo, parents.Named(i))
		}
	}
	for _, s := range all {
		if _, seen := need[s.Name]; !seen && s.Name.Compare(greedy.Name) < 0 {
			need[s.Name] = greedy
		}
	}
	return need
}

// Announceable returns those of want that are to be announced: that are not yet, nor held, and on which nothing rests
// that is neither wanted to go nor announced. What is announced already, by anyone, is deleted as well.
func (s *Survey) Announceable(want Names) []format.Name {
	need := needed(s.Snapshots, func(o catalog.Snapshot) bool {
		return s.held[o.Name] || !want[o.Name] && !s.announced[o.Name]
	})
	var names []format.Name
	for _, o := range s.Snapshots {
		if _, ok := need[o.Name]; want[o.Name] && !s.announced[o.Name] && !ok {
			names = append(names, o.Name)
		}
	}
	return names
}

// Deletable returns, of a survey made after the announcements, what may be deleted, in rounds: all of one
// has to be gone before the next begins. No snapshot goes before one that rests on it: nothing that is
// kept needs the order, but so what an interruption leaves can be restored too.
//
// The newest good one and the newest proved stay, whoever announced them, unless insist names them.
func (s *Survey) Deletable(insist Names) [][]catalog.Snapshot {
	spared := s.spared()
	need := needed(s.Snapshots, func(o catalog.Snapshot) bool {
		return !s.announced[o.Name] || s.held[o.Name] || spared[o.Name] && !insist[o.Name]
	})
	var rounds [][]catalog.Snapshot // by the length of the path
	parents, lengths := catalog.NewParents(s.Snapshots), make([]int, len(s.Snapshots))
	longest := 0
	for i, o := range s.Snapshots {
		length := 0
		for p := range parents.Of(i) { // a parent comes before its children
			length = max(length, lengths[p]+1)
		}
		if length == 0 && o.Kind == format.Unknown {
			length = longest + 1 // it may rest on anything before it
		}
		lengths[i] = length
		longest = max(longest, length)
		if _, ok := need[o.Name]; !s.announced[o.Name] || ok {
			continue
		}
		for len(rounds) <= length {
			rounds = append(rounds, nil)
		}
		rounds[length] = append(rounds[length], o)
	}
	rounds = slices.DeleteFunc(rounds, func(r []catalog.Snapshot) bool { return len(r) == 0 })
	slices.Reverse(rounds)
	return rounds
}

// named returns the snapshots in want, all of which must exist.
func (s *Survey) named(want Names) ([]catalog.Snapshot, error) {
	if len(s.Snapshots) == 0 {
		return nil, &catalog.NotFoundError{Database: s.Database}
	}
	var found []catalog.Snapshot
	missing := maps.Clone(want)
	for _, o := range s.Snapshots {
		if want[o.Name] {
			found = append(found, o)
			delete(missing, o.Name)
		}
	}
	for n := range missing {
		return nil, &catalog.NotFoundError{Database: s.Database, What: n.String()}
	}
	return found, nil
}

// checkFree returns a [HeldError] if one of want is held, and a [RestError] if a snapshot that is not in
// want rests on one that is.
func (s *Survey) checkFree(want Names) error {
	need := needed(s.Snapshots, func(o catalog.Snapshot) bool { return !want[o.Name] })
	for _, o := range s.Snapshots {
		if want[o.Name] && s.held[o.Name] {
			return &HeldError{o}
		}
		if by, ok := need[o.Name]; want[o.Name] && ok {
			return &RestError{o, by}
		}
	}
	return nil
}
