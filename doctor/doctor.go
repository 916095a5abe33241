// Package doctor tries all that the other packages need of a store, step by step, and says what came of each. What to
// do about a step that failed is for its caller to say.
//
// Start with [Run].
package doctor

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/store"
)

// Prefix is what the keys of all that is stored to try a store begin with.
const Prefix = format.Reserved + "/doctor/"

// Options say how to examine a store. The zero value works.
type Options struct {
	ReadOnly bool  // leaves out what writes
	PartSize int64 // bytes that the store sends at once; 0 is [store.DefaultPartSize]
	// Bar draws the meter of something that takes a while, until stop is called. Nil draws none.
	Bar func(label string, m *progress.Meter) (stop func())
	// Logger is told what was survived. Nil discards.
	Logger *slog.Logger
}

// A Step is what came of trying one thing.
type Step struct {
	Name    string
	Outcome Outcome
	Text    string // what was found; if it failed, what the error says
	Err     error  // if it failed
	Right   string // what S3 calls the right that the step takes; empty if it takes none that its caller could grant
	Elapsed time.Duration
}

// An Outcome is what a step came to, one lower-case word.
type Outcome string

const (
	OK      Outcome = "ok"
	Warning Outcome = "warning" // works, but somebody should know
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // could not be tried, or a step that it builds on failed
)

// Left is what could not be removed, and so may still be in the store.
type Left struct {
	Keys []string
	Err  error // why
}

// Run takes all steps on the store that open returns, which is the first of them, and tells each when it is done. It
// removes what the steps stored, also after an interruption, and returns what is left of it; nil is nothing. An error is
// tell's or the context's: that of a step does not end it.
func Run(ctx context.Context, open func(context.Context) (store.Store, error), opts Options, tell func(Step) error) (*Left, error) {
	e := newExamination(open, opts)
	err := e.run(ctx, tell)
	return e.cleanUp(ctx), err
}

// An examination is what the steps know of the store and tell each other.
type examination struct {
	connect func(context.Context) (store.Store, error)
	opts    Options
	st      store.Store
	passed  map[string]bool // by step

	seen  []string // some of the keys that the store listed
	rules []store.LifecycleRule

	folder  string // all that is written is in it
	made    []string
	objects map[string]store.Object // what is known to be stored
}

func newExamination(open func(context.Context) (store.Store, error), opts Options) *examination {
	opts.PartSize = cmp.Or(opts.PartSize, store.DefaultPartSize)
	if opts.Bar == nil {
		opts.Bar = func(string, *progress.Meter) func() { return func() {} }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &examination{
		connect: open, opts: opts,
		passed: map[string]bool{}, objects: map[string]store.Object{},
		folder: Prefix + strings.ToLower(rand.Text()) + "/",
	}
}

// A check is one step, before it is taken.
type check struct {
	name   string
	needs  string // the step without which this one makes no sense; empty for none
	writes bool
	bucket bool // only a store in a bucket has what is looked at
	right  string
	do     func(context.Context) (finding, error)
}

// A finding is what a step that did not fail has to say.
type finding struct {
	outcome Outcome
	text    string
}

func (e *examination) checks() []check {
	return []check{
		{name: "open", do: e.open},
		{name: "reach", needs: "open", right: "s3:ListBucket", do: e.reach},
		{name: "clock", needs: "reach", do: e.clock},
		{name: "listing", needs: "reach", right: "s3:ListBucket", do: e.listing},
		{name: "create", needs: "reach", writes: true, right: "s3:PutObject", do: e.create},
		{name: "create-only", needs: "create", writes: true, do: e.createOnly},
		{name: "read", needs: "create", writes: true, right: "s3:GetObject", do: e.read},
		{name: "parts", needs: "create", writes: true, right: "s3:PutObject and s3:GetObject", do: e.parts},
		{name: "ranges", needs: "parts", writes: true, right: "s3:GetObject", do: e.ranges},
		{name: "new objects", needs: "create", writes: true, right: "s3:ListBucket", do: e.listNew},
		{name: "delete", needs: "create", writes: true, right: "s3:DeleteObject", do: e.remove},
		{name: "gone", needs: "delete", writes: true, do: e.gone},
		{name: "lifecycle", needs: "reach", bucket: true, do: e.lifecycle},
		{name: "versions", needs: "reach", bucket: true, do: e.versions},
		{name: "locks", needs: "reach", bucket: true, do: e.locks},
	}
}

func (e *examination) run(ctx context.Context, tell func(Step) error) error {
	for _, c := range e.checks() {
		if _, inBucket := e.bucket(); c.writes && e.opts.ReadOnly || c.bucket && !inBucket {
			continue
		}
		s, err := e.try(ctx, c)
		if err != nil {
			return err
		}
		if err := tell(s); err != nil {
			return err
		}
	}
	return nil
}

// try takes one step. An error is the context's.
func (e *examination) try(ctx context.Context, c check) (Step, error) {
	s := Step{Name: c.name, Right: c.right}
	if c.needs != "" && !e.passed[c.needs] {
		s.Outcome, s.Text = Skipped, fmt.Sprintf("it builds on the step %q", c.needs)
		return s, nil
	}
	start := time.Now()
	found, err := c.do(ctx)
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	s.Outcome, s.Text, s.Err = found.outcome, found.text, err
	if err != nil {
		s.Outcome, s.Text = Failed, err.Error()
	}
	if s.Outcome != Skipped {
		s.Elapsed = time.Since(start)
	}
	e.passed[c.name] = err == nil
	return s, nil
}

// bucket returns the store if it is in a bucket, with settings of its own.
func (e *examination) bucket() (*store.S3, bool) {
	b, ok := e.st.(*store.S3)
	return b, ok
}

// removeTime is for removing what was written, also after an interruption.
const removeTime = 20 * time.Second

// cleanUp removes what the steps did not, and returns what it could not remove. It goes on when the context has ended.
func (e *examination) cleanUp(ctx context.Context) *Left {
	if len(e.made) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	if _, err := e.remove(ctx); err != nil {
		return &Left{slices.Sorted(slices.Values(e.made)), err}
	}
	return nil
}
