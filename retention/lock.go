package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/store"
)

// A LockedError says that a snapshot cannot be deleted yet.
type LockedError struct {
	Snapshot catalog.Snapshot
	Until    time.Time
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("the snapshot %v is locked until %s UTC", e.Snapshot.Name, e.Until.UTC().Format(time.DateTime))
}

// locks are what a store keeps from being deleted. The zero value is those of a store without any.
type locks struct{ st store.VersionLocker }

// locksOf finds out whether a store can lock. If it does not say so to these credentials, unknown is why, and nothing
// counts as locked: what is stays, and is told by the deletion.
func locksOf(ctx context.Context, st store.Store) (l locks, unknown, err error) {
	locker, ok := st.(store.VersionLocker)
	if !ok {
		return locks{}, nil, nil
	}
	switch err := locker.CanLock(ctx); {
	case errors.Is(err, store.ErrCannotLock):
		return locks{}, nil, nil
	case errors.Is(err, store.ErrDenied):
		return locks{}, err, nil
	case err != nil:
		return locks{}, nil, err
	}
	return locks{locker}, nil, nil
}

// lockLot is how many snapshots are asked about in one go.
const lockLot = 32

// ends returns when the locks of snapshots end, which are of one database, few, and in order; zero for those that are not
// locked, or not any more by the store's clock. The lock is that of what was pushed, whatever lies on top.
func (l locks) ends(ctx context.Context, all []catalog.Snapshot) ([]time.Time, error) {
	ends := make([]time.Time, len(all))
	if l.st == nil {
		return ends, nil
	}
	keys := make([]string, len(all))
	for i, s := range all {
		keys[i] = s.Object.Key
	}
	created, err := store.CreatedLocks(ctx, l.st, keys)
	if err != nil {
		return nil, fmt.Errorf("ask whether snapshots are locked: %w", err)
	}
	skew, err := l.st.Skew(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask whether locks are over: %w", err)
	}
	now := time.Now().Add(skew)
	for i, lock := range created {
		if lock.Until.After(now) {
			ends[i] = lock.Until
		}
	}
	return ends, nil
}

// check returns a [LockedError] if one of the snapshots is locked: what cannot go is not to be announced, since nobody
// builds on that any more.
func (l locks) check(ctx context.Context, all []catalog.Snapshot) error {
	for len(all) > 0 {
		some := all[:min(lockLot, len(all))]
		ends, err := l.ends(ctx, some)
		if err != nil {
			return err
		}
		for i, end := range ends {
			if !end.IsZero() {
				return &LockedError{some[i], end}
			}
		}
		all = all[len(some):]
	}
	return nil
}

// keepLocked keeps of a plan what is locked, and what that rests on. It asks in the order of time and stops when a
// whole lot is locked: later snapshots are locked for longer, and asking for thousands that will not go would cost
// more than they are worth. What is kept too long by that goes when those before it have.
func (s *Survey) keepLocked(ctx context.Context, plan []Verdict, l locks) error {
	if l.st == nil {
		return nil
	}
	var going []int
	for i, v := range plan {
		if v.Goes() {
			going = append(going, i)
		}
	}
	for all := false; len(going) > 0; {
		some := going[:min(lockLot, len(going))]
		going = going[len(some):]
		if all {
			for _, i := range some {
				plan[i].keep("locked, as those before it")
			}
			continue
		}
		snaps := make([]catalog.Snapshot, len(some))
		for k, i := range some {
			snaps[k] = plan[i].Snapshot
		}
		ends, err := l.ends(ctx, snaps)
		if err != nil {
			return err
		}
		all = true
		for k, i := range some {
			if ends[k].IsZero() {
				all = false
				continue
			}
			plan[i].keep("locked until " + ends[k].UTC().Format(time.DateTime) + " UTC")
		}
	}
	s.keepBases(plan)
	return nil
}
