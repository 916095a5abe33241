package upload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
)

// lockUntil returns until when what is stored or confirmed at the time now is locked: for as long as
// was asked for, and on to the end of a day in UTC, or of an hour or a minute if that is more than a tenth of it.
// So all locks that are set within such a span end at the same time, and those of what a snapshot rests on need
// not be extended with every snapshot, but once in a span.
func lockUntil(now time.Time, d time.Duration) time.Time {
	span := time.Minute
	switch {
	case d >= 10*24*time.Hour:
		span = 24 * time.Hour
	case d >= 10*time.Hour:
		span = time.Hour
	}
	until := now.Add(d).UTC()
	if whole := until.Truncate(span); whole.Before(until) {
		return whole.Add(span)
	}
	return until
}

// lock returns the lock of what is stored or confirmed now; zero if there is to be none.
func (o *Options) lock() store.Lock {
	if o.LockFor == 0 {
		return store.Lock{}
	}
	mode := o.LockMode
	if mode == "" {
		mode = store.Governance
	}
	return store.Lock{Mode: mode, Until: lockUntil(o.now(), o.LockFor)}
}

// checkLock finds the store's locks, and returns [store.ErrCannotLock] if it has none.
func (p *Push) checkLock(ctx context.Context) error {
	if p.opts.LockFor == 0 {
		return nil
	}
	locker, ok := p.st.(store.Locker)
	if !ok {
		return fmt.Errorf("%v: %w", p.st, store.ErrCannotLock)
	}
	p.locker = locker
	return locker.CanLock(ctx)
}

// LockDue reports whether locks of the newest snapshot, which Memory must be about, or of what it rests on, end
// too early for opts by now, so that they are to be extended by a push.
func LockDue(opts Options) bool {
	lock, facts := opts.lock(), opts.Memory.Facts()
	return opts.LockFor > 0 && facts != nil && slices.ContainsFunc(facts.Path, func(l state.Link) bool { return !known(l).Covers(lock) })
}

// known returns how long a link is known to be locked.
func known(l state.Link) store.Lock {
	return store.Lock{Mode: store.LockMode(l.Lock.Mode), Until: l.Lock.Until}
}

// remembered returns a lock as it is remembered.
func remembered(l store.Lock) state.Lock { return state.Lock{Mode: string(l.Mode), Until: l.Until} }

// lockPath makes sure that all of a path is locked at least as lock says. It asks the store only about
// what is not known to be, and notes in path what is. If something cannot be built on it says why.
func (p *Push) lockPath(ctx context.Context, path []state.Link, lock store.Lock) (why string, err error) {
	if p.locker == nil {
		return "", nil
	}
	whys := make([]string, len(path))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	for i := range path {
		l := &path[i]
		if known(*l).Covers(lock) {
			continue
		}
		g.Go(func() error {
			err := p.locker.ExtendLock(ctx, p.opts.Database+"/"+l.Key, lock)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				whys[i] = l.Key + " is gone"
			case errors.Is(err, store.ErrLockMode):
				whys[i] = l.Key + " is locked in another mode"
			case err != nil:
				return err
			default:
				l.Lock = remembered(lock)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return "", fmt.Errorf("lock what the snapshot rests on: %w", err)
	}
	if i := slices.IndexFunc(whys, func(why string) bool { return why != "" }); i >= 0 {
		return whys[i], nil
	}
	return "", nil
}

// renewLocks extends the locks of the newest snapshot and of all that it rests on, so that it stays for as
// long from now on as one that would be stored now. The facts in the memory may be other ones afterwards.
func (p *Push) renewLocks(ctx context.Context, lock store.Lock) (why string, err error) {
	if p.locker == nil {
		return "", nil
	}
	facts := p.opts.Memory.Facts()
	path := slices.Clone(facts.Path)
	if why, err = p.lockPath(ctx, path, lock); why != "" || err != nil || slices.Equal(path, facts.Path) {
		return why, err
	}
	if err := p.opts.Memory.SetPath(path); err != nil {
		p.log.Warn("what is locked cannot be remembered", "err", err)
	}
	return "", nil
}
