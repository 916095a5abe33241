package catalog

import (
	"fmt"
	"time"
)

// MaxSkew is how far this host's clock may be off the store's: the names of snapshots and of checks are times.
const MaxSkew = 5 * time.Minute

// A SkewError says that this host's clock is further off the store's than [MaxSkew].
type SkewError struct{ Here, Store time.Time }

func (e *SkewError) Error() string {
	return fmt.Sprintf("the clocks disagree: here it is %s, at the store %s",
		e.Here.UTC().Format(time.RFC3339), e.Store.UTC().Format(time.RFC3339))
}

// CheckClock returns a [SkewError] if the store's clock is too far off this host's, which says now. A skew is what
// [store.Store] has by that name.
func CheckClock(now time.Time, skew time.Duration) error {
	if skew.Abs() > MaxSkew {
		return &SkewError{Here: now, Store: now.Add(skew)}
	}
	return nil
}
