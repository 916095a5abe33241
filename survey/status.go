package survey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

// Limits say what is too old. 0 is never.
type Limits struct {
	MaxAge        time.Duration // of the newest snapshot
	MaxUnverified time.Duration // since the time up to which the database is proved
}

// GrowthTime is how far back [Status.Growth] looks.
const GrowthTime = 7 * 24 * time.Hour

// A Status is how a database stands.
type Status struct {
	Database  string
	Snapshots int
	Newest    *catalog.Snapshot // nil if there is none
	Chain     int               // objects that the newest rests on, itself included
	Stored    int64             // bytes of all objects
	Growth    int64             // of these, bytes that were stored in the last [GrowthTime] and are still there
	Size      int64             // of the newest, as a database, in bytes; -1 is not known
	// Proved is up to when the database is proved to restore: the time of a check, or if there were
	// newer snapshots by then, the time of the next one. Zero is never.
	Proved time.Time
	// Damaged is of how many snapshots it is known that they are.
	Damaged  int
	Problems []Problem
}

// A Problem is something that is not as it should be.
type Problem struct {
	Kind ProblemKind
	Text string // a sentence without the database's name
}

// A ProblemKind says what is to be done: for the first two it is high time, with the third that cannot be told, and
// the others lose data.
type ProblemKind string

const (
	TooOld   ProblemKind = "too old"
	Unproved ProblemKind = "unproved"
	Ahead    ProblemKind = "clock ahead"
	Unmet    ProblemKind = "unmet"
	Damaged  ProblemKind = "damaged"
	Missing  ProblemKind = "missing"
)

// Loses reports whether data is damaged or missing, or is not what it should be.
func (k ProblemKind) Loses() bool { return k != TooOld && k != Unproved && k != Ahead }

func (s *Status) add(k ProblemKind, format string, args ...any) {
	s.Problems = append(s.Problems, Problem{k, fmt.Sprintf(format, args...)})
}

// Status tells how the database stood at the time now, from the listings alone: its Size is not known.
// remembered is the newest snapshot that this host pushed; the zero name is none.
func (d *Database) Status(now time.Time, limits Limits, remembered format.Name) Status {
	s := Status{Database: d.Name, Snapshots: len(d.Snapshots), Newest: d.Newest(), Size: -1}
	for i := range d.Snapshots {
		o := &d.Snapshots[i]
		s.Stored += o.Object.Size
		if now.Sub(o.Name.Time.UTC()) < GrowthTime {
			s.Growth += o.Object.Size
		}
	}
	paths := catalog.Paths(d.Snapshots)
	d.judgeHolds(&s)
	d.judgeMissing(&s, paths, remembered)
	if s.Newest == nil {
		return s
	}
	s.Chain = paths[len(paths)-1].Objects
	d.judgeProofs(&s, paths, now)
	d.judgeClocks(&s, now)
	if age := now.Sub(s.Newest.Name.Time.UTC()); limits.MaxAge > 0 && age > limits.MaxAge {
		s.add(TooOld, "the newest snapshot is %s old, and %s is allowed", span(age), span(limits.MaxAge))
	}
	if limit := limits.MaxUnverified; limit > 0 && s.Proved.IsZero() {
		s.add(Unproved, "no snapshot has been proved to restore")
	} else if limit > 0 && now.Sub(s.Proved) > limit {
		s.add(Unproved, "the database was last proved to restore as it was %s ago, and %s is allowed", span(now.Sub(s.Proved)), span(limit))
	}
	return s
}

// judgeHolds finds what is held and not there: nothing of ours deletes that unless it is asked to.
func (d *Database) judgeHolds(s *Status) {
	gone := map[format.Name]bool{}
	var last format.Name
	for _, h := range d.Holds {
		if _, there := d.find(h.Snapshot); !there {
			gone[h.Snapshot], last = true, h.Snapshot
		}
	}
	switch n := len(gone); {
	case n == 1:
		s.add(Missing, "the snapshot %v is held, and gone", last)
	case n > 1:
		s.add(Missing, "%d snapshots that are held, the last of them %v, are gone", n, last)
	}
}

// judgeMissing finds what should be there and is not.
func (d *Database) judgeMissing(s *Status, paths []catalog.Path, remembered format.Name) {
	switch {
	case s.Newest == nil && remembered.IsZero():
		if len(d.Proofs) > 0 {
			s.add(Missing, "there are proofs of its snapshots, and none of them is there")
		}
		return
	case s.Newest == nil:
		s.add(Missing, "none of its snapshots is there, and this host pushed %v", remembered)
		return
	case remembered.Compare(s.Newest.Name) > 0:
		s.add(Missing, "this host pushed %v, and the newest that is there is %v", remembered, s.Newest.Name)
	}
	lost, last := 0, format.Name{}
	for i, p := range paths {
		if p.State == catalog.Broken {
			lost++
			last = d.Snapshots[i].Name
		}
	}
	if lost > 0 {
		s.add(Missing, "%d of %d snapshots, the last of them %v, rest on one that is gone", lost, s.Snapshots, last)
	}
}

// judgeClocks finds what is said to be of a time that has not come.
func (d *Database) judgeClocks(s *Status, now time.Time) {
	if t := s.Newest.Name.Time.UTC(); t.Sub(now) > catalog.MaxSkew {
		s.add(Ahead, "the newest snapshot is said to be of %s, which is to come: how old it is cannot be told", t.Format(stamp))
	}
	for i := len(d.Proofs) - 1; i >= 0; i-- {
		if p := d.Proofs[i]; p.Ahead(now) {
			s.add(Ahead, "a check of %v is said to be of %s, which is to come: that something was good then is not believed", p.Snapshot, clock(p))
			return
		}
	}
}

// judgeProofs finds what is proved, and what has been found to be damaged.
func (d *Database) judgeProofs(s *Status, paths []catalog.Path, now time.Time) {
	standing := catalog.Standing(catalog.Believable(d.Proofs, now))
	var proved format.Time
	for _, snap := range d.Snapshots {
		p, ok := standing[snap.Name]
		if !ok {
			continue
		}
		if p.Outcome == catalog.Damaged {
			s.Damaged++
		}
		if until, _ := d.covers(&p, now); p.Outcome.Good() && until > proved {
			proved, s.Proved = until, until.UTC()
		}
	}
	newest, checked := standing[s.Newest.Name]
	switch {
	case newest.Outcome == catalog.Damaged && newest.Level == catalog.LevelPages:
		s.add(Damaged, "the newest snapshot was found damaged in the store at %s", clock(newest))
	case newest.Outcome == catalog.Damaged:
		s.add(Damaged, "SQLite found the newest snapshot damaged at %s, as the database was when it was pushed", clock(newest))
	case newest.Outcome == catalog.Unmet:
		s.add(Unmet, "the newest snapshot did not hold what it should at %s", clock(newest))
	}
	if newest.Outcome == catalog.Damaged {
		return
	}
	for i := paths[len(paths)-1].Parent; i >= 0; i = paths[i].Parent {
		n := d.Snapshots[i].Name
		p := standing[n]
		if p.Outcome == catalog.Damaged && p.Level == catalog.LevelPages && !(checked && newest.Check.Time > p.Check.Time) {
			s.add(Damaged, "%v, which the newest snapshot rests on, was found damaged in the store at %s", n, clock(p))
		}
	}
}

// stamp is how times are written.
const stamp = time.DateTime + " UTC"

func clock(p catalog.Proof) string { return p.Check.Time.UTC().Format(stamp) }

// span writes a length of time, to the minute once it has hours.
func span(d time.Duration) string {
	if d < time.Hour {
		return d.Round(time.Second).String()
	}
	d = d.Truncate(time.Minute)
	hours, minutes := int(d.Hours()), int(d.Minutes())%60
	if minutes == 0 {
		return fmt.Sprintf("%dh", hours)
	}
	return fmt.Sprintf("%dh%dm", hours, minutes)
}

// measuring is how many objects are looked at at once: small requests.
const measuring = 16

// Measure reads what the newest snapshot of each database says of itself, one request each, and sets the
// Size. That one is damaged is a Problem. What cannot be told, such as of one that is encrypted and that ids,
// which may be nil, do not open, stays unknown.
func Measure(ctx context.Context, st store.Store, ids *seal.Identities, all []Status) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(measuring)
	for i := range all {
		s := &all[i]
		if s.Newest == nil || s.Newest.Kind == format.Unknown || s.Newest.Encrypted && ids == nil {
			continue
		}
		g.Go(func() error { return s.measure(ctx, st, ids) })
	}
	return g.Wait()
}

func (s *Status) measure(ctx context.Context, st store.Store, ids *seal.Identities) error {
	t, err := catalog.ReadTail(ctx, st, *s.Newest, ids)
	switch {
	case err == nil:
		s.Size = t.Index.Size()
	case errors.Is(err, fs.ErrNotExist), errors.As(err, new(*format.VersionError)), errors.As(err, new(*seal.LockedError)):
		return nil // deleted meanwhile, of a later version, or for other identities
	case errors.Is(err, format.ErrDamaged):
		s.add(Damaged, "%v", err)
	default:
		return err
	}
	return nil
}
