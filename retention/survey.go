package retention

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A Survey is what a store holds of a database, as far as it matters for deleting.
type Survey struct {
	Database  string
	Snapshots []catalog.Snapshot // oldest first
	Standing  map[format.Name]catalog.Proof

	announcements []catalog.Announcement
	holds         []catalog.Hold
	announced     Names
	held          Names
	orphans       Names // snapshots that are gone, and proofs of them are left
}

// Look surveys a database. One without snapshots is no error.
//
// The order matters. What is announced must have been so before the holds are read: of a hold and an
// announcement that meet one sees the other. And both must have been there before the listing that is to
// show what rests on what.
func Look(ctx context.Context, st store.Store, database string) (*Survey, error) {
	announcements, err := catalog.Announcements(ctx, st, database)
	if err != nil {
		return nil, err
	}
	holds, err := catalog.Holds(ctx, st, database)
	if err != nil {
		return nil, err
	}
	proofs, err := catalog.Proofs(ctx, st, database)
	if err != nil {
		return nil, err
	}
	all, err := catalog.List(ctx, st, database)
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		return nil, err
	}
	s := NewSurvey(database, all, announcements, holds, catalog.Believable(proofs, time.Now()))
	return s, nil
}

// NewSurvey puts a survey together from what was read of a store, each in the order in which package
// catalog returns it.
func NewSurvey(database string, all []catalog.Snapshot, announcements []catalog.Announcement, holds []catalog.Hold, proofs []catalog.Proof) *Survey {
	s := &Survey{
		Database:      database,
		Snapshots:     all,
		Standing:      catalog.Standing(proofs),
		announcements: announcements,
		holds:         holds,
		announced:     Names{},
		held:          Names{},
		orphans:       Names{},
	}
	for _, a := range announcements {
		for _, n := range a.Names {
			s.announced[n] = true
		}
	}
	for _, h := range holds {
		s.held[h.Snapshot] = true
	}
	for n := range s.Standing {
		s.orphans[n] = true
	}
	for _, snap := range all { // listed last: what is not there has gone
		delete(s.orphans, snap.Name)
	}
	return s
}

// Held reports whether a snapshot is held.
func (s *Survey) Held(n format.Name) bool { return s.held[n] }

// Empty reports whether there is nothing at all.
func (s *Survey) Empty() bool {
	return len(s.Snapshots) == 0 && len(s.announcements) == 0 && len(s.holds) == 0 && len(s.orphans) == 0
}

// A grade says what a snapshot is good for.
type grade int

const (
	useless  grade = iota // damaged, without what it rests on, or of an unknown kind
	doubtful              // what it rests on is damaged, and it was not proved since
	doomed                // what it rests on may be about to be deleted
	sure
)

// grades grades every snapshot. That it is announced itself does not matter.
func (s *Survey) grades() []grade {
	grades := make([]grade, len(s.Snapshots))
	parents := catalog.NewParents(s.Snapshots)
	flaws := make([]flaw, len(s.Snapshots))
	for i, snap := range s.Snapshots { // a parent comes before its children
		standing := s.Standing[snap.Name]
		below := flaw{broken: snap.HasParent}
		for parent := range parents.Of(i) {
			below = below.or(flaws[parent])
		}
		if snap.Kind == format.Unknown { // it may do without what is gone, and so may what rests on it
			below.broken = false
		}
		switch {
		case below.broken || snap.Kind == format.Unknown:
		case standing.Outcome == catalog.Damaged:
			if s.hasNamesake(i) { // which may be the damaged one
				grades[i] = doubtful
			}
		case below.damaged && !(standing.Outcome.Good() && standing.Check.Time > below.found):
			grades[i] = doubtful
		case below.doomed:
			grades[i] = doomed
		default:
			grades[i] = sure
		}
		flaws[i] = below.with(standing, s.announced[snap.Name])
	}
	return grades
}

// hasNamesake reports whether another object has the name of the i-th snapshot, which only a forgery does.
func (s *Survey) hasNamesake(i int) bool {
	is := func(j int) bool { return j >= 0 && j < len(s.Snapshots) && s.Snapshots[j].Name == s.Snapshots[i].Name }
	return is(i-1) || is(i+1)
}

// A flaw is what speaks against a snapshot, or anything that it rests on.
type flaw struct {
	broken, doomed, damaged bool // broken is without what it rests on

	found format.Time // when damage was last
}

// or returns the flaws of what may rest on what has those of f or of o: it is whole if one of them is.
func (f flaw) or(o flaw) flaw {
	return flaw{f.broken && o.broken, f.doomed || o.doomed, f.damaged || o.damaged, max(f.found, o.found)}
}

// with returns the flaws of a snapshot that rests on what has those of f.
func (f flaw) with(standing catalog.Proof, announced bool) flaw {
	f.doomed = f.doomed || announced
	if standing.Outcome == catalog.Damaged {
		f.damaged, f.found = true, max(f.found, standing.Check.Time)
	}
	return f
}

// spared returns what is not to be deleted though it is announced: the newest good one and the newest
// proved. Of those who prune at the same time each keeps one of these, but maybe one of which another did not
// know, or knew better.
func (s *Survey) spared() Names {
	spared := Names{}
	grades := s.grades()
	spare := func(is func(i int) bool) {
		for i := range slices.Backward(grades) {
			n := s.Snapshots[i].Name
			switch {
			case grades[i] == useless || !is(i):
			case s.announced[n]:
				spared[n] = true // and with it what it rests on
				if grades[i] != doubtful {
					return
				}
			case grades[i] == sure:
				return
			}
		}
	}
	spare(func(int) bool { return true })
	spare(func(i int) bool { return s.Standing[s.Snapshots[i].Name].Outcome.Good() })
	return spared
}
