// Package watch pushes databases again and again, for as long as it is let. It decides when, and what
// to do when a push fails; how a database is looked at and pushed is its caller's business.
package watch

import (
	"container/heap"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"time"
)

// A Database is what is watched. Its methods are called one at a time.
type Database interface {
	// Name is what the log calls it.
	Name() string
	// Look returns what the database looks like, without reading it: while that stays the same nothing
	// has been committed. Empty is not known. The error is [fs.ErrNotExist] if it is not there.
	Look() (string, error)
	// Push stores a snapshot if anything has been committed since the newest one, and returns what the
	// database looked like when that was taken.
	Push(ctx context.Context) (look string, err error)
	// Due reports whether the newest snapshot is so old that another one is to be stored though nothing has
	// been committed. It asks nobody.
	Due() bool
	// Confirm reports whether the newest snapshot may stand for a database that has not changed: it is
	// still there, and its locks last for long enough.
	Confirm(ctx context.Context) (bool, error)
}

// Options say how to watch. The zero value works.
type Options struct {
	Every        time.Duration // from one look at a database to the next; 0 is 10 s
	ConfirmEvery time.Duration // from one Confirm of an idle database to the next; 0 is an hour
	// StopTimeout is how long a push that is under way, and the last ones, may take once Run is to
	// end; 0 is 25 s.
	StopTimeout time.Duration
	// Fatal reports whether an error of a database's first push is not worth another try. Nil is none.
	Fatal func(error) bool
	// Down reports whether an error is not about one database but about the store: until
	// it answers, no other database is tried. Nil is none.
	Down func(error) bool
	// Logger is told what is waited for and what failed. Nil discards.
	Logger *slog.Logger
}

// MaxBackoff is how long it takes at most until a push that failed is tried again.
const MaxBackoff = 5 * time.Minute

// ErrStopTimeout is the cause of the end of a push that took longer than [Options.StopTimeout].
var ErrStopTimeout = errors.New("the time for the last push was up")

// Run watches databases until ctx ends. Then it lets a push that is under way finish, pushes
// each database that has changed a last time, and returns what failed of that. There is never more than
// one push at a time.
func Run(ctx context.Context, databases []Database, opts Options) error {
	w := newWatcher(databases, opts)
	work, cancel := lasting(ctx, w.opts.StopTimeout)
	defer cancel()
	for len(w.queue) > 0 {
		if !waitUntil(ctx, w.queue[0].due, w.downUntil) {
			break
		}
		if err := w.turn(work, w.queue[0]); err != nil {
			return err
		}
		heap.Fix(&w.queue, 0)
	}
	return w.pushLast(work)
}

// A watcher belongs to the goroutine of Run.
type watcher struct {
	opts      Options
	queue     queue
	downUntil time.Time // the store is not tried before
	downs     int       // how often in a row it could not be reached
}

// An entry is a database in the queue.
type entry struct {
	Database
	due       time.Time
	look      string    // when it was last pushed; empty if that is not known
	pushed    bool      // at least once
	confirmed time.Time // the newest snapshot was there
	failures  int       // in a row
	absent    bool      // and that has been said
}

func newWatcher(databases []Database, opts Options) *watcher {
	opts.Every = orElse(opts.Every, 10*time.Second)
	opts.ConfirmEvery = orElse(opts.ConfirmEvery, time.Hour)
	opts.StopTimeout = orElse(opts.StopTimeout, 25*time.Second)
	never := func(error) bool { return false }
	if opts.Fatal == nil {
		opts.Fatal = never
	}
	if opts.Down == nil {
		opts.Down = never
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	w := &watcher{opts: opts}
	now := time.Now()
	for _, d := range databases {
		w.queue = append(w.queue, &entry{Database: d, due: now})
	}
	return w
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// lasting returns a context that lives on for a time after ctx has ended.
func lasting(ctx context.Context, more time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(more)
		defer t.Stop()
		select {
		case <-t.C:
			cancel(ErrStopTimeout)
		case <-work.Done():
		}
	})
	return work, func() {
		stop()
		cancel(nil)
	}
}

// waitUntil waits for the later of two times, and returns false if ctx ends first.
func waitUntil(ctx context.Context, a, b time.Time) bool {
	if b.After(a) {
		a = b
	}
	t := time.NewTimer(time.Until(a))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// turn gives a database its turn. An error ends the watch.
func (w *watcher) turn(ctx context.Context, e *entry) error {
	err := w.visit(ctx, e)
	switch {
	case err == nil:
		e.failures = 0
		e.due = time.Now().Add(w.opts.Every)
		return nil
	case ctx.Err() != nil:
		return nil // the last push will tell
	case !e.pushed && w.opts.Fatal(err):
		return err
	}
	retry := w.backOff(e, err)
	w.opts.Logger.Warn("push failed", "database", e.Name(), "err", err, "retry_in", retry.Round(time.Millisecond))
	return nil
}

// visit looks at a database and pushes it if anything has been committed.
func (w *watcher) visit(ctx context.Context, e *entry) error {
	look, there := w.look(e)
	if !there {
		return nil
	}
	if look != "" && look == e.look && !e.Due() {
		if time.Since(e.confirmed) < w.opts.ConfirmEvery {
			return nil
		}
		ok, err := e.Confirm(ctx)
		if err != nil {
			return err
		}
		w.reached()
		if ok {
			e.confirmed = time.Now()
			return nil
		}
	}
	return w.push(ctx, e)
}

// look looks at a database and reports whether it is there.
func (w *watcher) look(e *entry) (look string, there bool) {
	look, err := e.Look()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !e.absent {
			w.opts.Logger.Warn("the database is not there: waiting for it", "database", e.Name())
		}
		e.absent, e.look = true, ""
		return "", false
	case err != nil:
		w.opts.Logger.Debug("what the database looks like cannot be told", "database", e.Name(), "err", err)
		look = "" // so that it is read
	}
	e.absent = false
	return look, true
}

func (w *watcher) push(ctx context.Context, e *entry) error {
	look, err := e.Push(ctx)
	if err != nil {
		return err
	}
	e.look, e.pushed, e.confirmed = look, true, time.Now()
	w.reached()
	return nil
}

// reached notes that the store answers.
func (w *watcher) reached() { w.downs, w.downUntil = 0, time.Time{} }

// backOff says when a database, or the store as a whole, is tried again after err, and returns how long
// that is. The first time is soon: many faults pass at once.
func (w *watcher) backOff(e *entry, err error) time.Duration {
	if w.opts.Down(err) {
		d := w.delay(w.downs)
		w.downs++
		w.downUntil = time.Now().Add(d)
		return d
	}
	d := w.delay(e.failures)
	e.failures++
	e.due = time.Now().Add(d)
	return d
}

// delay returns how long to wait after so many failures before: twice as long each time, and a random
// part of it, so that many hosts do not come back at once.
func (w *watcher) delay(failures int) time.Duration {
	d := min(w.opts.Every, time.Second)
	for range failures {
		if d *= 2; d >= MaxBackoff {
			d = MaxBackoff
			break
		}
	}
	return d/2 + rand.N(d/2)
}

// pushLast pushes what has changed since it was last pushed.
func (w *watcher) pushLast(ctx context.Context) error {
	var failed []error
	for _, e := range w.queue {
		look, there := w.look(e)
		if !there || look != "" && look == e.look {
			continue
		}
		if err := w.push(ctx, e); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			w.opts.Logger.Error("last push failed", "database", e.Name(), "err", err)
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
