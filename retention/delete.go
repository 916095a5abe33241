package retention

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/store"
)

// Options say how to delete. The zero value works.
type Options struct {
	// Concurrency is how many objects are deleted at once; 0 is 16.
	Concurrency int
	// Deleted is called after each snapshot that is gone, once at a time. Nil is not called.
	Deleted func(catalog.Snapshot)

	evenHeld bool // delete snapshots though they are held
}

// ErrNeeded says that a snapshot came to be needed while it was to be deleted.
var ErrNeeded = errors.New("another snapshot has come to rest on it, or it has been held")

// A Deletion is of snapshots that may go, as far as was seen when it was planned.
type Deletion struct {
	Snapshots []catalog.Snapshot // that are to go, oldest first
	// LocksUnknown is why the store did not say whether it locks snapshots; nil if it did.
	LocksUnknown error

	st     store.Store
	survey *Survey
}

// PlanDelete finds out whether all the snapshots of a database in want can be deleted. If not it is a
// [catalog.NotFoundError], a [HeldError], a [RestError] or a [LockedError]. It changes nothing.
func PlanDelete(ctx context.Context, st store.Store, database string, want Names) (*Deletion, error) {
	s, err := Look(ctx, st, database)
	if err != nil {
		return nil, err
	}
	d := &Deletion{st: st, survey: s}
	if d.Snapshots, err = s.named(want); err != nil {
		return nil, err
	}
	if err := s.checkFree(want); err != nil {
		return nil, err
	}
	locks, unknown, err := locksOf(ctx, st)
	if err != nil {
		return nil, err
	}
	if err := locks.check(ctx, d.Snapshots); err != nil {
		return nil, err
	}
	d.LocksUnknown = unknown
	return d, nil
}

// Run deletes the snapshots, as far as nobody has held or built on them since, and finishes what others have announced
// and not come to. Proofs go after their snapshots. It is [ErrNeeded] if one has to stay. What it could not
// finish, the next deletion or [Prune] will.
func (d *Deletion) Run(ctx context.Context, opts Options) error {
	left := Names{}
	for _, s := range d.Snapshots {
		left[s.Name] = true
	}
	want, deleted := maps.Clone(left), opts.Deleted
	opts.Deleted = func(s catalog.Snapshot) {
		delete(left, s.Name)
		if deleted != nil {
			deleted(s)
		}
	}
	if err := remove(ctx, d.st, d.survey, want, want, opts); err != nil {
		return err
	}
	for _, s := range d.Snapshots {
		if left[s.Name] {
			return fmt.Errorf("%v was not deleted: %w", s.Name, ErrNeeded)
		}
	}
	return nil
}

// mostAnnounced is how many snapshots one announcement names, some 4 MB: who pushes reads it.
const mostAnnounced = 100_000

// remove announces want, which s shows, looks again, and deletes. See [Survey.Deletable] for insist.
func remove(ctx context.Context, st store.Store, s *Survey, want, insist Names, opts Options) error {
	if opts.evenHeld {
		s.held = nil
	}
	names := s.Announceable(want)
	if len(names) == 0 && len(s.announcements) == 0 && len(s.orphans) == 0 && (len(s.holds) == 0 || !opts.evenHeld) {
		return nil
	}
	for len(names) > 0 {
		part := names[:min(mostAnnounced, len(names))]
		if err := catalog.Announce(ctx, st, s.Database, catalog.NewName(), part); err != nil {
			return err
		}
		names = names[len(part):]
	}
	s, err := Look(ctx, st, s.Database)
	if err != nil {
		return err
	}
	if opts.evenHeld {
		s.held = nil
	}
	gone, err := deleteRounds(ctx, st, s.Deletable(insist), opts)
	if err != nil {
		return err
	}
	return s.tidy(ctx, st, gone, opts)
}

// deleteRounds deletes what it is given, round after round, and returns the names of that.
func deleteRounds(ctx context.Context, st store.Store, rounds [][]catalog.Snapshot, opts Options) (Names, error) {
	var mu sync.Mutex
	gone := Names{}
	for _, round := range rounds {
		var g errgroup.Group // which cuts none off that is under way: it may be gone, and would count as kept
		var failed atomic.Bool
		g.SetLimit(opts.concurrency())
		for _, snap := range round {
			g.Go(func() error {
				if failed.Load() {
					return nil
				}
				if err := st.Delete(ctx, snap.Object.Key); err != nil {
					failed.Store(true)
					return fmt.Errorf("delete %v: %w", snap.Name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				gone[snap.Name] = true
				if opts.Deleted != nil {
					opts.Deleted(snap)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

func (o Options) concurrency() int {
	if o.Concurrency == 0 {
		return 16
	}
	return o.Concurrency
}

// tidy removes what is about snapshots that are gone: those in gone since the survey, the others before
// it. Their holds only if even what is held was to go: else somebody else has deleted or hidden them, and the hold is to
// keep what comes back. The announcements of which everything is gone are withdrawn last, so that whoever finishes an
// interrupted deletion finds the rest, and not a moment earlier than that: a push that rests on what is
// named has to see the one or the other.
func (s *Survey) tidy(ctx context.Context, st store.Store, gone Names, opts Options) error {
	left := Names{}
	for _, snap := range s.Snapshots {
		left[snap.Name] = !gone[snap.Name]
	}
	about := Names{}
	for n := range s.orphans {
		about[n] = true
	}
	var done []catalog.Announcement
	for _, a := range s.announcements {
		all := true
		for _, n := range a.Names {
			all = all && !left[n]
			about[n] = !left[n]
		}
		if all {
			done = append(done, a)
		}
	}
	if len(about) > 0 {
		if err := catalog.DeleteProofs(ctx, st, s.Database, about); err != nil {
			return err
		}
	}
	for _, h := range s.holds {
		if left[h.Snapshot] || !opts.evenHeld {
			continue
		}
		if err := catalog.RemoveHold(ctx, st, h); err != nil {
			return err
		}
	}
	for _, a := range done {
		if err := catalog.Withdraw(ctx, st, a); err != nil {
			return err
		}
	}
	return nil
}
