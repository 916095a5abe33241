package watch_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litestash/litestash/watch"
)

// A fake is a database that is a number. It counts what is asked of it.
type fake struct {
	name    string
	version int           // what has been committed; 0 is a file that is not there
	blind   bool          // what it looks like is never known
	takes   time.Duration // each push
	trouble func() error  // of pushes and confirmations
	stale   bool          // the newest snapshot may not stand for it
	due     bool          // that is so old that there should be another one

	pushed           int // the version
	looks, confirms  int
	pushes, failures int
	busy             *bool // somebody is pushing
	t                *testing.T
	mu               *sync.Mutex // the bench's
}

func (f *fake) Name() string { return f.name }

func (f *fake) Look() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look()
}

func (f *fake) look() (string, error) {
	f.looks++
	switch {
	case f.version == 0:
		return "", fs.ErrNotExist
	case f.blind:
		return "", nil
	}
	return fmt.Sprint(f.version), nil
}

func (f *fake) Push(ctx context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *f.busy {
		f.t.Error("two pushes at once")
	}
	*f.busy = true
	defer func() { *f.busy = false }()
	f.pushes++
	if err := f.wait(ctx); err != nil {
		return "", err
	}
	if err := f.fault(); err != nil {
		return "", err
	}
	f.pushed, f.stale, f.due = f.version, false, false
	return f.look()
}

// wait lets the test look on while a push takes its time.
func (f *fake) wait(ctx context.Context) error {
	takes := f.takes
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-time.After(takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fake) Due() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.due
}

func (f *fake) Confirm(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.confirms++
	return !f.stale, f.fault()
}

func (f *fake) fault() error {
	if f.trouble == nil {
		return nil
	}
	err := f.trouble()
	if err != nil {
		f.failures++
	}
	return err
}

// A bench runs a watch in a bubble in which time is fake.
type bench struct {
	t    *testing.T
	all  []*fake
	log  strings.Builder
	stop context.CancelFunc
	end  chan error
	mu   sync.Mutex // guards the fakes and the log; the test holds it but for when it lets time pass
}

// Write is where the log goes.
func (b *bench) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(line)
}

var errDown = errors.New("down")

func start(t *testing.T, opts watch.Options, all ...*fake) *bench {
	b := &bench{t: t, all: all, end: make(chan error, 1)}
	busy := new(bool)
	var databases []watch.Database
	for i, f := range all {
		f.t, f.busy, f.mu = t, busy, &b.mu
		if f.name == "" {
			f.name = fmt.Sprintf("db%d", i)
		}
		databases = append(databases, f)
	}
	opts.Logger = slog.New(slog.NewTextHandler(b, nil))
	opts.Down = func(err error) bool { return errors.Is(err, errDown) }
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	go func() { b.end <- watch.Run(ctx, databases, opts) }()
	synctest.Wait()
	b.mu.Lock()
	return b
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	b.mu.Unlock()
	defer b.mu.Lock()
	time.Sleep(d)
	synctest.Wait()
}

// finish stops the watch and returns what it returns, and how long that took.
func (b *bench) finish() (time.Duration, error) {
	b.mu.Unlock()
	defer b.mu.Lock()
	from := time.Now()
	b.stop()
	err := <-b.end
	return time.Since(from), err
}

func (b *bench) stopped() {
	b.t.Helper()
	if _, err := b.finish(); err != nil {
		b.t.Errorf("at the end: %v", err)
	}
	for _, f := range b.all {
		if f.pushed != f.version {
			b.t.Errorf("%s: version %d was the last to be pushed, of %d", f.name, f.pushed, f.version)
		}
	}
}

// bubble runs a test in which time is fake.
func bubble(name string, t *testing.T, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestRun(t *testing.T) {
	bubble("idle", t, func(t *testing.T) {
		f := &fake{version: 1}
		b := start(t, watch.Options{}, f)
		b.pass(24*time.Hour - time.Second)
		if f.pushes != 1 || f.confirms != 23 || f.looks < 8600 {
			t.Errorf("an idle day: %d pushes, %d confirmations, %d looks; want 1, one an hour, and one every 10 s", f.pushes, f.confirms, f.looks)
		}
		f.stale = true
		b.pass(time.Hour)
		if f.pushes != 2 {
			t.Errorf("a newest snapshot that does not stand for the database any more: %d pushes, want another", f.pushes)
		}
		f.due = true
		b.pass(10 * time.Second)
		if f.pushes != 3 || f.confirms != 24 {
			t.Errorf("a newest snapshot that is too old: %d pushes, %d confirmations; want another push and nothing asked", f.pushes, f.confirms)
		}
		b.stopped()
		if f.pushes != 3 {
			t.Error("a database that has not changed was pushed at the end")
		}
	})
	bubble("busy", t, func(t *testing.T) {
		f := &fake{version: 1}
		b := start(t, watch.Options{Every: time.Second}, f)
		for range 100 {
			f.version++
			b.pass(time.Second)
			if f.pushed != f.version {
				t.Fatalf("version %d is pushed a second after version %d was there", f.pushed, f.version)
			}
		}
		if f.confirms > 0 {
			t.Error("a database that changes was confirmed")
		}
		f.version++
		b.stopped()
	})
	bubble("blind", t, func(t *testing.T) {
		f := &fake{version: 1, blind: true}
		b := start(t, watch.Options{}, f)
		b.pass(95 * time.Second)
		if f.pushes != 10 {
			t.Errorf("%d pushes of a database that cannot be told unchanged, want one every 10 s", f.pushes)
		}
		b.stopped()
	})
	bubble("absent", t, func(t *testing.T) {
		f := &fake{}
		b := start(t, watch.Options{}, f)
		b.pass(time.Hour)
		f.version = 1
		b.pass(10 * time.Second)
		if f.pushed != 1 {
			t.Error("a database that has appeared was not pushed")
		}
		f.version = 0
		b.pass(time.Hour)
		if n := strings.Count(b.log.String(), "waiting for it"); n != 2 {
			t.Errorf("it was said %d times that the database is not there, want each time it vanished", n)
		}
		if _, err := b.finish(); err != nil || f.pushes != 1 {
			t.Errorf("%d pushes (%v), want one", f.pushes, err)
		}
	})
}

func TestFailures(t *testing.T) {
	fail := errors.New("some fault")
	bubble("backs off", t, func(t *testing.T) {
		f, other := &fake{version: 1}, &fake{version: 1}
		b := start(t, watch.Options{}, f, other)
		f.version, f.trouble = 2, func() error { return fail }
		b.pass(time.Hour)
		// 10 of them until the delay is what it is at most, which on average is 3.75 minutes.
		if f.failures < 18 || f.failures > 40 {
			t.Errorf("%d attempts in an hour", f.failures)
		}
		if other.looks < 350 {
			t.Errorf("another database was looked at %d times in an hour", other.looks)
		}
		f.trouble = nil
		b.pass(watch.MaxBackoff)
		if f.pushed != 2 {
			t.Error("it was not pushed when it could be again")
		}
		f.version = 3
		b.pass(10 * time.Second)
		if f.pushed != 3 {
			t.Error("it is not looked at as before")
		}
		b.stopped()
	})
	bubble("store down", t, func(t *testing.T) {
		var all []*fake
		down := func() error { return errDown }
		for range 100 {
			all = append(all, &fake{version: 1, trouble: down})
		}
		b := start(t, watch.Options{}, all...)
		b.pass(time.Hour)
		attempts := 0
		for _, f := range all {
			attempts += f.failures
			f.trouble = nil
		}
		if attempts < 18 || attempts > 40 {
			t.Errorf("%d attempts in an hour while the store was down", attempts)
		}
		b.pass(watch.MaxBackoff)
		for _, f := range all {
			if f.pushed != 1 {
				t.Fatal("not all were pushed once the store was back")
			}
		}
		b.stopped()
	})
	bubble("fatal", t, func(t *testing.T) {
		opts := watch.Options{Fatal: func(err error) bool { return errors.Is(err, fail) }}
		f, g := &fake{version: 1}, &fake{version: 1}
		b := start(t, opts, g, f)
		g.version, g.trouble = 2, func() error { return fail }
		b.pass(time.Minute)
		if g.failures < 4 {
			t.Error("a fault after the first push ended the watch")
		}
		b.finish()
		g.failures, g.pushes = 0, 0
		b = start(t, opts, f, g)
		if err := <-b.end; !errors.Is(err, fail) || g.pushes != 1 {
			t.Errorf("%v after %d pushes, want the fault of the first", err, g.pushes)
		}
	})
	bubble("confirmation", t, func(t *testing.T) {
		f := &fake{version: 1}
		b := start(t, watch.Options{}, f)
		f.trouble = func() error { return fail }
		b.pass(2 * time.Hour)
		if f.pushes != 1 || f.confirms < 18 || f.confirms > 40 {
			t.Errorf("%d pushes, %d confirmations that failed", f.pushes, f.confirms)
		}
		b.stopped()
	})
}

func TestStop(t *testing.T) {
	bubble("a push goes on", t, func(t *testing.T) {
		f, g := &fake{version: 1, takes: 20 * time.Second}, &fake{}
		b := start(t, watch.Options{}, f, g)
		b.pass(time.Second)
		g.version = 1
		took, err := b.finish()
		if err != nil || took != 19*time.Second || f.pushed != 1 || g.pushed != 1 {
			t.Errorf("%v after %v; pushed versions %d and %d, want 1 and 1", err, took, f.pushed, g.pushed)
		}
	})
	bubble("for no longer than is allowed", t, func(t *testing.T) {
		f, g := &fake{version: 1, takes: time.Hour}, &fake{version: 1}
		b := start(t, watch.Options{StopTimeout: 7 * time.Second}, f, g)
		b.pass(time.Minute)
		took, err := b.finish()
		if !errors.Is(err, watch.ErrStopTimeout) || took != 7*time.Second {
			t.Errorf("%v after %v, want the end of the time after 7s", err, took)
		}
	})
	bubble("a failure is told", t, func(t *testing.T) {
		f, g := &fake{version: 1, trouble: func() error { return errDown }}, &fake{version: 1}
		b := start(t, watch.Options{}, f, g)
		b.pass(time.Hour)
		if _, err := b.finish(); !errors.Is(err, errDown) || g.pushed != 1 {
			t.Errorf("%v, and version %d of the other is pushed", err, g.pushed)
		}
	})
}
