// Package survey tells how the databases in a store stand: how old their newest snapshots are, when these
// were last proved, what is damaged or missing, and what to prove next. It restores and changes nothing.
//
// Start with [List]. What is concluded from a listing, as by [Database.Status] and [Sample], is pure.
package survey

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A Database is what listings tell of a database.
type Database struct {
	Name      string
	Snapshots []catalog.Snapshot // oldest first; none if there are only holds and proofs of some that are gone
	Proofs    []catalog.Proof    // as [catalog.Proofs] returns them
	Holds     []catalog.Hold     // as [catalog.Holds] returns them
}

// List lists the store once, and the proofs and the holds in it once, and returns all databases by name.
func List(ctx context.Context, st store.Store) ([]Database, error) {
	found := map[string]*Database{}
	at := func(name string) *Database {
		if found[name] == nil {
			found[name] = &Database{Name: name}
		}
		return found[name]
	}
	// The proofs and holds first: one of a snapshot that is pushed in between would be of none.
	for p, err := range catalog.AllProofs(ctx, st) {
		if err != nil {
			return nil, err
		}
		d := at(p.Database)
		d.Proofs = append(d.Proofs, p)
	}
	for h, err := range catalog.AllHolds(ctx, st) {
		if err != nil {
			return nil, err
		}
		d := at(h.Database)
		d.Holds = append(d.Holds, h)
	}
	histories, err := catalog.ListAll(ctx, st)
	if err != nil {
		return nil, err
	}
	for _, h := range histories {
		at(h[0].Database).Snapshots = h
	}
	all := make([]Database, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, *found[name])
	}
	return all, nil
}

// Look lists one database, its proofs and its holds. One that has none of these is a [catalog.NotFoundError].
func Look(ctx context.Context, st store.Store, name string) (Database, error) {
	d := Database{Name: name}
	var err error
	if d.Proofs, err = catalog.Proofs(ctx, st, name); err != nil {
		return d, err
	}
	if d.Holds, err = catalog.Holds(ctx, st, name); err != nil {
		return d, err
	}
	d.Snapshots, err = catalog.List(ctx, st, name)
	if _, none := err.(*catalog.NotFoundError); none && len(d.Proofs)+len(d.Holds) > 0 {
		err = nil
	}
	return d, err
}

// Newest returns the newest snapshot, or nil.
func (d *Database) Newest() *catalog.Snapshot {
	if n := len(d.Snapshots); n > 0 {
		return &d.Snapshots[n-1]
	}
	return nil
}

// find returns where a snapshot is in the list, and whether it is there.
func (d *Database) find(n format.Name) (int, bool) {
	return slices.BinarySearchFunc(d.Snapshots, n, func(s catalog.Snapshot, n format.Name) int { return s.Name.Compare(n) })
}

// covers returns up to when a check tells of the database: it is about the state that its snapshot is of,
// which is the database's until the next snapshot was taken, and of nothing that is to come. It returns false if
// the snapshot is gone.
func (d *Database) covers(p *catalog.Proof, now time.Time) (format.Time, bool) {
	i, ok := d.find(p.Snapshot)
	if !ok {
		return 0, false
	}
	until := min(max(p.Check.Time, p.Snapshot.Time), format.TimeOf(now)) // whatever the clock of its host says
	if i+1 < len(d.Snapshots) {
		until = min(until, d.Snapshots[i+1].Name.Time)
	}
	return until, true
}

// Sample chooses snapshots to check which together need at most budget bytes to be read: first the newest of
// each database, those of databases that were checked longest ago first; then, if there is budget left, the
// others, those that were checked longest ago first. So whoever takes samples again and again comes to the newest
// of all. Checks by clocks that are ahead of the time now do not count. What cannot be restored, because it rests on what
// is gone or opens, which may be nil, says that it cannot be opened, has no check that could be recorded, and comes last:
// it would stay first for ever. Sample also returns how many databases need more
// than the budget, so that they will never be chosen.
func Sample(databases []Database, budget int64, now time.Time, opens func(catalog.Snapshot) bool) (chosen []catalog.Snapshot, tooLarge int) {
	var newest, others []candidate
	for i := range databases {
		n, o := candidates(&databases[i], now)
		newest, others = append(newest, n...), append(others, o...)
	}
	slices.SortFunc(newest, candidate.compare)
	slices.SortFunc(others, candidate.compare)
	left := budget
	var last []candidate
	for _, c := range slices.Concat(newest, others) {
		switch {
		case c.cost > left:
		case !c.whole || opens != nil && !opens(*c.snapshot):
			last = append(last, c)
		default:
			chosen = append(chosen, *c.snapshot)
			left -= c.cost
		}
	}
	for _, c := range last {
		if c.cost <= left {
			chosen = append(chosen, *c.snapshot)
			left -= c.cost
		}
	}
	for _, c := range newest {
		if c.cost > budget {
			tooLarge++
		}
	}
	return chosen, tooLarge
}

// A candidate is a snapshot that may be chosen for a check.
type candidate struct {
	snapshot *catalog.Snapshot
	cost     int64       // bytes that have to be read at most to restore it
	whole    bool        // they are all there
	checked  format.Time // when it was last; of the newest, up to when checks tell of the database; 0 is never
}

// candidates returns the newest snapshot of a database, if there is one, and the others.
func candidates(d *Database, now time.Time) (newest, others []candidate) {
	paths, last, covered := catalog.Paths(d.Snapshots), map[format.Name]format.Time{}, format.Time(0)
	for i := range d.Proofs {
		p := &d.Proofs[i]
		if p.Ahead(now) {
			continue
		}
		last[p.Snapshot] = max(last[p.Snapshot], p.Check.Time)
		if until, ok := d.covers(p, now); ok {
			covered = max(covered, until)
		}
	}
	for i := len(d.Snapshots) - 1; i >= 0; i-- {
		s := &d.Snapshots[i]
		switch {
		case s.Kind == format.Unknown: // a later version may check it
		case newest == nil:
			newest = []candidate{{s, paths[i].Stored, paths[i].State == catalog.Whole, covered}}
		default:
			others = append(others, candidate{s, paths[i].Stored, paths[i].State == catalog.Whole, last[s.Name]})
		}
	}
	return newest, others
}

// compare puts what was checked longest ago first, and of what never was the newest.
func (c candidate) compare(o candidate) int {
	return cmp.Or(cmp.Compare(c.checked, o.checked), cmp.Compare(o.snapshot.Name.Time, c.snapshot.Name.Time),
		strings.Compare(c.snapshot.Database, o.snapshot.Database), o.snapshot.Name.Compare(c.snapshot.Name))
}
