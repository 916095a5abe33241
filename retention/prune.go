package retention

import (
	"context"
	"errors"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// ErrNoPolicy says that a policy has no rule: it is not taken for one that keeps nothing.
var ErrNoPolicy = errors.New("no policy is given")

// PruneOptions say how to prune. The zero value works.
type PruneOptions struct {
	Options
	DryRun bool             // only plan
	Now    func() time.Time // nil is [time.Now]
}

// A Pruned is what came of pruning a database.
type Pruned struct {
	Plan []Verdict // of every snapshot that was listed, oldest first
	// Gone are the snapshots that were deleted, or in a dry run would be. Others than the plan let go may
	// be among them, and some of those missing: others announce, hold and push meanwhile.
	Gone map[format.Name]catalog.Snapshot
	// LocksUnknown is why the store did not say whether it locks snapshots; nil if it did.
	LocksUnknown error
}

// Freed returns the size of the objects of the snapshots that are gone, in bytes.
func (p *Pruned) Freed() int64 {
	var n int64
	for _, s := range p.Gone {
		n += s.Object.Size
	}
	return n
}

// Prune deletes the snapshots of a database that neither a policy keeps, see [Policy.Plan], nor a lock, and finishes
// what others have announced and not come to. If nothing is to be deleted the store is listed once and
// no more. After an error part of that has been done, and the result says what.
func Prune(ctx context.Context, st store.Store, database string, policy Policy, opts PruneOptions) (*Pruned, error) {
	if policy.IsZero() {
		return nil, ErrNoPolicy
	}
	s, err := Look(ctx, st, database)
	if err != nil {
		return nil, err
	}
	if s.Empty() {
		return nil, &catalog.NotFoundError{Database: database}
	}
	now := time.Now
	if opts.Now != nil {
		now = opts.Now
	}
	locks, unknown, err := locksOf(ctx, st)
	if err != nil {
		return nil, err
	}
	p := &Pruned{Plan: policy.Plan(s, now()), Gone: map[format.Name]catalog.Snapshot{}, LocksUnknown: unknown}
	if err := s.keepLocked(ctx, p.Plan, locks); err != nil {
		return nil, err
	}
	want := Names{}
	for _, v := range p.Plan {
		if !v.Goes() {
			continue
		}
		want[v.Snapshot.Name] = true
		if opts.DryRun {
			p.Gone[v.Snapshot.Name] = v.Snapshot
		}
	}
	if opts.DryRun {
		return p, nil
	}
	deleted := opts.Deleted
	opts.Deleted = func(snap catalog.Snapshot) {
		p.Gone[snap.Name] = snap
		if deleted != nil {
			deleted(snap)
		}
	}
	return p, remove(ctx, st, s, want, nil, opts.Options)
}
