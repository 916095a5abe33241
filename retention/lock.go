package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/litestash/litestash/catalog"
)

// A LockedUntil tells until when the store keeps what was created under each of a database's keys from being
// deleted; zero if it does not, or no longer. They are few, and in order.
type LockedUntil func(ctx context.Context, keys []string) ([]time.Time, error)

// A LockedError says that a snapshot cannot be deleted yet.
type LockedError struct {
	Snapshot catalog.Snapshot
	Until    time.Time
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("the snapshot %v is locked until %s UTC", e.Snapshot.Name, e.Until.UTC().Format(time.DateTime))
}

// CheckLocks returns a [LockedError] if one of the snapshots is locked. It comes before [Delete]: what cannot go
// is not to be announced, since nobody builds on that any more. A nil locked is that of a store without locks.
func CheckLocks(ctx context.Context, all []catalog.Snapshot, locked LockedUntil) error {
	if locked == nil {
		return nil
	}
	for len(all) > 0 {
		some := all[:min(lockLot, len(all))]
		until, err := locked.ask(ctx, some)
		if err != nil {
			return err
		}
		for i, u := range until {
			if !u.IsZero() {
				return &LockedError{some[i], u}
			}
		}
		all = all[len(some):]
	}
	return nil
}

// lockLot is how many snapshots are asked about in one go.
const lockLot = 32

// ask returns the ends of the locks of snapshots; zero for none.
func (l LockedUntil) ask(ctx context.Context, all []catalog.Snapshot) ([]time.Time, error) {
	keys := make([]string, len(all))
	for i, s := range all {
		keys[i] = s.Object.Key
	}
	return l(ctx, keys)
}

// keepLocked keeps of a plan what is locked, and what that rests on. It asks in the order of time and stops when a
// whole lot is locked: later snapshots are locked for longer, and asking for thousands that will not go would cost
// more than they are worth. What is kept too long by that goes when those before it have.
func (s *Survey) keepLocked(ctx context.Context, plan []Verdict, locked LockedUntil) error {
	if locked == nil {
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
		until, err := locked.ask(ctx, snaps)
		if err != nil {
			return err
		}
		all = true
		for k, i := range some {
			if until[k].IsZero() {
				all = false
				continue
			}
			plan[i].keep("locked until " + until[k].UTC().Format(time.DateTime) + " UTC")
		}
	}
	s.keepBases(plan)
	return nil
}
