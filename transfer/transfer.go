// Package transfer copies snapshots from one store to another, byte for byte and under the same keys, so
// that each is in the copy what it was.
//
// It checks what it copies on the way, and stores no snapshot before all that it rests on: whenever it is
// interrupted, what is in the copy can be restored, and the next time goes on from there. Start with
// [Database].
package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

// Options for [Database]. The zero value works.
type Options struct {
	// Concurrency is how many snapshots are copied at once, of which one may be large. 0 is 4.
	Concurrency int
	// Identities open what is encrypted, so that it is checked as well. What they do not open is copied as it is.
	Identities *seal.Identities
	// Meter counts stored bytes of snapshots that are copied.
	Meter *progress.Meter
	// Logger is told of each snapshot and of what was survived. Nil discards.
	Logger *slog.Logger
}

// A Result says what was done.
type Result struct {
	Copied  int   // snapshots
	Bytes   int64 // stored bytes of these
	Sealed  int   // of these, encrypted ones that no identity opened: that they can be whole was seen from outside
	There   int   // snapshots that were in the copy already
	Leaving int   // snapshots that are announced to be deleted, here or there, and not copied
	Records int   // holds, and findings of what is wrong with the database, that were copied
	Behind  int   // snapshots that were not copied because something that they rest on was not

	// Failed says of each snapshot that could not be copied, and of each that was found wrong in the copy, why.
	Failed []error
}

// ErrOvertaken says that a snapshot which was being copied, or something that it rests on, was deleted from
// the copy at the same time.
var ErrOvertaken = errors.New("it was deleted from the copy meanwhile")

// large is the stored size, in bytes, from which on an object is copied alone: it is uploaded in parts, and
// these take memory.
const large = 8 << 20

// Database copies the snapshots of a database that are whole and not about to be deleted, their holds, and
// what was found wrong with the database itself; see [catalog.Portable]. What is wrong with single snapshots is in the Result; an error says that it could not go on.
func Database(ctx context.Context, from, to store.Store, database string, opts Options) (*Result, error) {
	if opts.Concurrency <= 0 {
		opts.Concurrency = 4
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	t := &transfer{from: from, to: to, opts: opts, facts: map[format.Name]facts{}, alone: make(chan struct{}, 1)}
	if err := t.survey(ctx, database); err != nil {
		return nil, err
	}
	if err := t.run(ctx); err != nil {
		return &t.result, err
	}
	if err := t.lookBack(ctx, database); err != nil {
		return &t.result, err
	}
	err := t.copyRecords(ctx, database) // those who may push may be denied holds: what is copied is looked for still
	return &t.result, errors.Join(err, t.look(ctx, database))
}

// A transfer is the copying of one database.
type transfer struct {
	from, to store.Store
	opts     Options
	plan     *plan
	alone    chan struct{} // holds a token while a large object is copied

	mu     sync.Mutex
	result Result
	facts  map[format.Name]facts // of the snapshots that are in the copy
	copied map[format.Name]bool  // by this transfer
	gone   bool                  // something was, before it was copied
}

// facts are what the delta on a snapshot must fit to.
type facts struct {
	root     format.Root
	salt     format.Salt
	pageSize int
}

// survey lists both stores and plans.
func (t *transfer) survey(ctx context.Context, database string) error {
	// What is announced must have been so before the listing that is to show what rests on it.
	leaving, err := catalog.Announced(ctx, t.from, database)
	if err != nil {
		return err
	}
	all, err := catalog.List(ctx, t.from, database)
	if err != nil {
		return err
	}
	deleting, there, err := t.listCopy(ctx, database)
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	t.plan = newPlan(all, leaving, there, deleting)
	t.copied = map[format.Name]bool{}
	t.result.Leaving = t.plan.leaving
	for _, l := range chain.Losses(all) {
		t.result.Failed = append(t.result.Failed, &chain.LossError{Database: database, Loss: l})
		t.result.Behind += len(l.Lost)
	}
	for _, s := range t.plan.foreign {
		t.result.Failed = append(t.result.Failed, &chain.UnknownError{Snapshot: s})
	}
	t.opts.Meter.Expect(t.plan.bytes)
	return nil
}

// listCopy returns what is announced to be deleted from the copy, and what is in it.
func (t *transfer) listCopy(ctx context.Context, database string) (map[format.Name]bool, []catalog.Snapshot, error) {
	deleting, err := catalog.Announced(ctx, t.to, database)
	if err != nil {
		return nil, nil, err
	}
	there, err := catalog.List(ctx, t.to, database)
	if errors.As(err, new(*catalog.NotFoundError)) {
		err = nil
	}
	return deleting, there, err
}

// run copies all that is planned. A snapshot is begun when what it builds on is in the copy.
func (t *transfer) run(ctx context.Context) error {
	left := len(t.plan.steps)
	if left == 0 {
		return nil
	}
	ready := make(chan int, left) // never full
	for _, i := range t.plan.roots {
		ready <- i
	}
	g, ctx := errgroup.WithContext(ctx)
	for range min(left, t.opts.Concurrency) {
		g.Go(func() error {
			for {
				var i int
				var ok bool
				select {
				case i, ok = <-ready:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				if !ok {
					return nil
				}
				done, err := t.step(ctx, i)
				if err != nil {
					return err
				}
				t.mu.Lock()
				if done {
					for _, child := range t.plan.steps[i].children {
						ready <- child
					}
					left--
				} else {
					n := t.plan.descendants(i)
					t.result.Behind += n
					left -= 1 + n
				}
				if left == 0 {
					close(ready)
				}
				t.mu.Unlock()
			}
		})
	}
	return g.Wait()
}

// step brings one snapshot into the copy, or sees that it is there. It reports false if the snapshot cannot
// be copied, and returns an error if nothing can.
func (t *transfer) step(ctx context.Context, i int) (done bool, err error) {
	s := &t.plan.steps[i]
	f, err := t.bring(ctx, s)
	if isDamage(err) && ctx.Err() == nil {
		t.opts.Logger.Warn("read damaged data, reading it again", "key", s.Object.Key, "err", err)
		f, err = t.bring(ctx, s)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		if f != nil {
			t.facts[s.Name] = *f
		}
		if s.there != nil {
			t.result.There++
			return true, nil
		}
		t.opts.Logger.Info("copied", "key", s.Object.Key, "size", s.Object.Size)
		t.copied[s.Name] = true
		t.result.Copied++
		t.result.Bytes += s.Object.Size
		if f == nil {
			t.result.Sealed++
		}
		return true, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.As(err, new(*storeError)):
		return false, fmt.Errorf("copy %s: %w", s.Object.Key, err)
	case errors.Is(err, fs.ErrNotExist) && !errors.Is(err, store.ErrNoBucket):
		t.opts.Logger.Info("deleted before it was copied", "key", s.Object.Key)
		t.gone = true
		return false, nil
	case isDamage(err), errors.Is(err, ErrOvertaken):
		t.result.Failed = append(t.result.Failed, fmt.Errorf("copy %s: %w", s.Object.Key, err))
		return false, nil
	}
	return false, fmt.Errorf("copy %s: %w", s.Object.Key, err)
}

// isDamage reports whether err is about the bytes of one object: a version that is not known may be a byte that
// was damaged.
func isDamage(err error) bool {
	return errors.Is(err, format.ErrDamaged) || errors.Is(err, store.ErrChanged) || errors.As(err, new(*format.VersionError))
}

// bring copies a snapshot, or compares it with what is there. For one that can be read it returns the facts that
// those which build on it have to fit to.
func (t *transfer) bring(ctx context.Context, s *step) (*facts, error) {
	if s.Encrypted && t.opts.Identities == nil {
		return nil, t.bringSealed(ctx, s)
	}
	tail, object, err := catalog.Open(ctx, t.from, s.Snapshot, t.opts.Identities)
	if errors.As(err, new(*seal.LockedError)) {
		return nil, t.bringSealed(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	end, err := object.End()
	if err != nil {
		return nil, err
	}
	if err := t.checkParent(s, tail.Index); err != nil {
		return nil, err
	}
	x := tail.Index
	f := &facts{x.Root, x.Salt, x.PageSize}
	check := func(text io.Reader) io.ReadCloser { return newChecker(ctx, s.Kind, object, tail, end, text) }
	switch {
	case s.there != nil && s.Encrypted:
		return f, t.compare(ctx, s, comparedAt)
	case s.there != nil:
		return f, t.compare(ctx, s, int64(len(end)))
	case s.Encrypted:
		return f, t.create(ctx, s, func(stored io.Reader) io.ReadCloser { return newSealedChecker(object, stored, check) })
	}
	return f, t.create(ctx, s, check)
}

// checkParent checks that a delta was made for the snapshots that it rests on as they are.
func (t *transfer) checkParent(s *step, x *format.Index) error {
	if s.Kind == format.Full {
		return nil
	}
	if !slices.Equal(x.Chain, t.plan.path(s)) {
		return fmt.Errorf("%w: it rests on other objects than those that are there", format.ErrDamaged)
	}
	t.mu.Lock()
	parent, ok := t.facts[x.Parent]
	t.mu.Unlock()
	if ok && (*x.ParentRoot != parent.root || x.Salt != parent.salt || x.PageSize != parent.pageSize) {
		return fmt.Errorf("%w: it was built on another %v than the one that is there", format.ErrDamaged, x.Parent)
	}
	return nil
}

// create stores an object in the copy, as check lets its bytes through.
func (t *transfer) create(ctx context.Context, s *step, check func(io.Reader) io.ReadCloser) error {
	if s.Object.Size >= large {
		select {
		case t.alone <- struct{}{}:
			defer func() { <-t.alone }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	body, err := t.from.Open(ctx, s.Object, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	checked := check(body)
	defer checked.Close()
	counted := &counter{r: checked, meter: t.opts.Meter}
	o, err := t.to.Create(ctx, s.Object.Key, counted, s.Object.Size)
	if errors.Is(err, fs.ErrExist) {
		counted.takeBack()
		return t.compareNew(ctx, s) // another copy was faster
	}
	if err != nil {
		counted.takeBack()
		if counted.err == nil {
			err = &storeError{err}
		}
		return err
	}
	if o.Size != s.Object.Size {
		return fmt.Errorf("%w: %d bytes were stored where %d belong", format.ErrDamaged, o.Size, s.Object.Size)
	}
	return nil
}

// compareNew compares a snapshot with one that has come into the copy since that was listed.
func (t *transfer) compareNew(ctx context.Context, s *step) error {
	there, err := catalog.Get(ctx, t.to, s.Database, s.Name)
	if errors.As(err, new(*catalog.NotFoundError)) {
		return ErrOvertaken
	}
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	s.there = &there.Object
	return t.compare(ctx, s, format.FirstTail)
}

// compareStart is how much of the start of objects is compared, in bytes.
const compareStart = 4 << 10

// compare compares a snapshot with the one of that key in the copy: the size, the start, and at least n bytes
// at the end, which tell what is in it.
func (t *transfer) compare(ctx context.Context, s *step, n int64) error {
	if s.there.Size != s.Object.Size {
		return fmt.Errorf("%w: in the copy it has %d bytes where %d belong", format.ErrDamaged, s.there.Size, s.Object.Size)
	}
	size := s.Object.Size
	for _, span := range []format.Span{{Off: max(0, size-n), Len: min(n, size)}, {Len: min(compareStart, max(0, size-n))}} {
		ours, err := store.ReadRange(ctx, t.from, s.Object, span.Off, span.Len)
		if err != nil {
			return err
		}
		theirs, err := store.ReadRange(ctx, t.to, *s.there, span.Off, span.Len)
		if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, store.ErrNoBucket) {
			return ErrOvertaken
		}
		if err != nil {
			return fmt.Errorf("look at the copy: %w", err)
		}
		if !bytes.Equal(ours, theirs) {
			return fmt.Errorf("%w: in the copy there is another object under its key", format.ErrDamaged)
		}
	}
	return nil
}

// lookBack finds out, if something was gone before it was copied, whether anything is left that rests on it: whoever
// deletes as it should deletes that before.
func (t *transfer) lookBack(ctx context.Context, database string) error {
	if !t.gone {
		return nil
	}
	all, err := catalog.List(ctx, t.from, database)
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		return err
	}
	told := map[format.ID]bool{}
	for _, err := range t.result.Failed {
		if loss, ok := errors.AsType[*chain.LossError](err); ok {
			told[loss.Missing] = true
		}
	}
	for _, l := range chain.Losses(all) {
		if !told[l.Missing] {
			t.result.Failed = append(t.result.Failed, &chain.LossError{Database: database, Loss: l})
		}
	}
	return nil
}

// look makes sure that what was copied is in the copy with all that it rests on, and not about to go.
func (t *transfer) look(ctx context.Context, database string) error {
	if len(t.copied) == 0 {
		return nil
	}
	troubled, err := catalog.Stays(ctx, t.to, database, slices.Collect(maps.Keys(t.copied))...)
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	for i := range t.plan.steps {
		s := &t.plan.steps[i]
		if _, ok := troubled[s.Name]; ok {
			t.result.Failed = append(t.result.Failed, fmt.Errorf("copy %s: %w", s.Object.Key, ErrOvertaken))
		}
	}
	return nil
}

// A storeError says that the copy could not be written, for a reason of its own: that something does not
// exist there, such as a directory or an upload, says nothing about what is copied.
type storeError struct{ err error }

func (e *storeError) Error() string { return "write the copy: " + e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// A counter counts the bytes that are read from it.
type counter struct {
	r     io.Reader
	meter *progress.Meter
	n     int64
	err   error // of r, but for its end
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.meter.Add(int64(n))
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// takeBack undoes the count: it will be read again, or not at all.
func (c *counter) takeBack() { c.meter.Add(-c.n) }
