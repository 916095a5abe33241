package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/litestash/litestash/store"
)

// ErrFault is what a call fails with when a [Step] says so.
var ErrFault = errors.New("injected fault")

// How says in what way a call goes wrong.
type How int

const (
	Before   How = iota // it fails and had no effect
	After               // it took effect, and fails all the same
	Stall               // it has no effect and waits until its context ends
	Cut                 // its body, or its listing, ends in the middle with an error
	CutStall            // its body, or its listing, stops in the middle until its context ends
)

// Hows are all the ways, for tests that try each.
var Hows = []How{Before, After, Stall, Cut, CutStall}

func (h How) String() string {
	return [...]string{"before", "after", "stall", "cut", "cut-stall"}[h]
}

// A Step lets one call go wrong.
type Step struct {
	Call int    // which call, from 1
	Op   string // if not empty, only calls of this method count: "Create", "Open", "List", "Delete" or "Skew", or of a [FaultyVersioner]
	How  How
	Err  error // instead of [ErrFault]
	// Stalled, if set, is called when the call begins to stand still: for a test that ends its context then.
	Stalled func()
}

// A Faulty is a [store.Store] that fails on purpose and keeps watch. Its methods may be called
// concurrently; then it is up to chance which call has which number.
//
// A rig runs its subject once for every call and every way it can go wrong, until the numbers
// exceed the calls:
//
//	for _, how := range storetest.Hows {
//		for n := 1; ; n++ {
//			s := storetest.Fault(open(t), storetest.Step{Call: n, How: how})
//			err := subject(s)
//			if s.Hit() == 0 {
//				break // it makes fewer than n calls
//			}
//			// Judge err and what the store holds now. Then heal it, and judge again:
//			s.Plan()
//			err = subject(s)
//			s.Check(t)
//		}
//	}
//
// Stall and CutStall need a context that ends: give the subject a short timeout, or end it by Step.Stalled.
type Faulty struct {
	store store.Store

	mu     sync.Mutex
	plan   []Step
	calls  []Call
	counts map[string]int // of calls by method
	hit    int
	used   map[string]bool // keys that a Create succeeded with, or may have
	fouls  []string
}

// A Call is one call that a [Faulty] got.
type Call struct {
	Op  string // the method's name
	Key string // or the prefix of a List
}

// Fault returns a store that hands every call to s but for those that the plan lets go wrong.
func Fault(s store.Store, plan ...Step) *Faulty {
	return &Faulty{store: s, plan: plan, counts: map[string]int{}, used: map[string]bool{}}
}

// String returns what the store is called that calls are handed to.
func (f *Faulty) String() string { return fmt.Sprint(f.store) }

// Plan replaces the plan and starts to count from 1 again. Which keys were used is remembered.
func (f *Faulty) Plan(plan ...Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan, f.calls, f.hit = plan, nil, 0
	clear(f.counts)
}

// Calls returns the calls since the plan was made, in the order in which they came.
func (f *Faulty) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// Hit returns how many calls went wrong since the plan was made.
func (f *Faulty) Hit() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

// Check fails the test if a key was created again after a Create that had taken effect, whether
// it was deleted in between or not: a key that was used must never come back.
func (f *Faulty) Check(t interface{ Errorf(string, ...any) }) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, foul := range f.fouls {
		t.Errorf("%s", foul)
	}
}

// begin counts a call and returns the step that is meant for it, or nil.
func (f *Faulty) begin(op, key string) *Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, Call{op, key})
	f.counts[op]++
	for _, s := range f.plan {
		if s.Op == "" && s.Call == len(f.calls) || s.Op == op && s.Call == f.counts[op] {
			f.hit++
			return &s
		}
	}
	return nil
}

// fail returns the error of a call that the step lets go wrong before it took effect.
func (s *Step) fail(ctx context.Context, op, key string) error {
	if s.How == Stall {
		return s.stall(ctx)
	}
	return s.err(op, key)
}

// stall waits until the context of a call ends.
func (s *Step) stall(ctx context.Context) error {
	if s.Stalled != nil {
		s.Stalled()
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *Step) err(op, key string) error {
	err := s.Err
	if err == nil {
		err = ErrFault
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}

// never says whether the step keeps its call from reaching the store.
func (s *Step) never() bool { return s != nil && (s.How == Before || s.How == Stall) }

// cuts says whether the step stops its call in the middle.
func (s *Step) cuts() bool { return s != nil && (s.How == Cut || s.How == CutStall) }

// Create implements [store.Store]. After makes it an [store.ErrUnknown]. Cut lets the body fail
// after half of most bytes, or of 64 KiB if there is no bound.
func (f *Faulty) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	step := f.begin("Create", key)
	f.police(key)
	if step.never() {
		return store.Object{}, step.fail(ctx, "create", key)
	}
	if step.cuts() {
		half := most / 2
		if most == 0 {
			half = 32 << 10
		}
		body = io.MultiReader(io.LimitReader(body, half), &cutReader{ctx, step, step.err("create", key)})
	}
	o, err := f.store.Create(ctx, key, body, most)
	if err == nil || errors.Is(err, store.ErrUnknown) {
		f.mu.Lock()
		f.used[key] = true
		f.mu.Unlock()
	}
	if err == nil && step != nil && step.How == After {
		return store.Object{}, fmt.Errorf("%w: %w", store.ErrUnknown, step.err("create", key))
	}
	return o, err
}

// police takes note if key was used before.
func (f *Faulty) police(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used[key] {
		f.fouls = append(f.fouls, fmt.Sprintf("key %q was used again", key))
	}
}

// A cutReader stands for the rest of a body that is cut.
type cutReader struct {
	ctx  context.Context
	step *Step
	err  error
}

func (r *cutReader) Read([]byte) (int, error) {
	if r.step.How == CutStall {
		return 0, r.step.stall(r.ctx)
	}
	return 0, r.err
}

// Open implements [store.Store]. Cut ends the body after half of it with [io.ErrUnexpectedEOF].
func (f *Faulty) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	return f.open(ctx, "Open", o, off, n, func() (io.ReadCloser, error) { return f.store.Open(ctx, o, off, n) })
}

func (f *Faulty) open(ctx context.Context, op string, o store.Object, off, n int64, do func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	step := f.begin(op, o.Key)
	if step.never() {
		return nil, step.fail(ctx, "open", o.Key)
	}
	r, err := do()
	if err != nil || step == nil {
		return r, err
	}
	if step.How == After {
		return nil, errors.Join(step.err("open", o.Key), r.Close())
	}
	half := max(o.Size-off, 0)
	if n >= 0 {
		half = min(half, n)
	}
	rest := &cutReader{ctx, step, fmt.Errorf("read %s: %w", o.Key, io.ErrUnexpectedEOF)}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, half/2), rest), r}, nil
}

// List implements [store.Store]. After yields everything and then the error, Cut every object
// before the middle one.
func (f *Faulty) List(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
	return faultList(ctx, f, "List", q.Prefix, f.store.List(ctx, q))
}

func faultList[T any](ctx context.Context, f *Faulty, op, prefix string, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		step := f.begin(op, prefix)
		if step == nil {
			list(yield)
			return
		}
		if step.never() {
			yield(none, step.fail(ctx, "list", prefix))
			return
		}
		var all []T
		for o, err := range list {
			if err != nil {
				yield(none, err)
				return
			}
			all = append(all, o)
		}
		if step.cuts() {
			all = all[:len(all)/2]
		}
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
		_, err := (&cutReader{ctx, step, step.err("list", prefix)}).Read(nil)
		yield(none, err)
	}
}

// Delete implements [store.Store]. There is nothing to cut, so that Cut is Before.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.whole(ctx, "Delete", key, func() error { return f.store.Delete(ctx, key) })
}

// whole is a call that has no middle.
func (f *Faulty) whole(ctx context.Context, op, key string, do func() error) error {
	step := f.begin(op, key)
	switch {
	case step == nil:
		return do()
	case step.How == After:
		return errors.Join(do(), step.err(op, key))
	}
	return step.whole().fail(ctx, op, key)
}

// Skew implements [store.Store]. There is nothing to cut, so that Cut is Before.
func (f *Faulty) Skew(ctx context.Context) (time.Duration, error) {
	if step := f.begin("Skew", ""); step != nil {
		return 0, step.whole().fail(ctx, "ask for the time", "")
	}
	return f.store.Skew(ctx)
}

// whole is the step for a call that has no middle.
func (s *Step) whole() *Step {
	if s.How != CutStall {
		return s
	}
	stall := *s
	stall.How = Stall
	return &stall
}
