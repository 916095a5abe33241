package upload_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// A locking store remembers locks, and checks that nothing is created before what it rests on is locked for
// as long.
type locking struct {
	*store.Dir
	t    *testing.T
	mode store.LockMode // if not empty, the only one that ExtendLock sets
	fail error          // of ExtendLock

	mu       sync.Mutex
	locks    map[string]store.Lock
	extended []string // keys, since the last look
}

func newLocking(t *testing.T) *locking {
	return &locking{Dir: storetest.OpenDir(t, t.TempDir()), t: t, locks: map[string]store.Lock{}}
}

func (l *locking) CanLock(context.Context) error { return nil }

func (l *locking) CreateLocked(ctx context.Context, key string, body io.Reader, most int64, lock store.Lock) (store.Object, error) {
	l.mu.Lock()
	before := maps.Clone(l.locks)
	l.mu.Unlock()
	o, err := l.Create(ctx, key, body, most)
	if err != nil {
		return o, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locks[key] = lock
	for s := range l.path(key) {
		if !before[s].Covers(lock) {
			l.t.Errorf("%s was created with the lock %v when %s had %v", key, lock, s, before[s])
		}
	}
	return o, nil
}

// path returns the keys that a snapshot rests on by the parents in their names.
func (l *locking) path(key string) map[string]bool {
	found := map[string]bool{}
	all := list(l.t, l.Dir, "app.db")
	for {
		i := slices.IndexFunc(all, func(s catalog.Snapshot) bool { return s.Object.Key == key })
		if !all[i].HasParent {
			return found
		}
		i = slices.IndexFunc(all, func(s catalog.Snapshot) bool { return s.Name.ID == all[i].Parent })
		key = all[i].Object.Key
		found[key] = true
	}
}

func (l *locking) ExtendLock(_ context.Context, key string, lock store.Lock) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.extended = append(l.extended, key)
	switch {
	case l.fail != nil:
		return l.fail
	case l.mode != "" && l.mode != lock.Mode:
		return fmt.Errorf("%s: %w", key, store.ErrLockMode)
	}
	if !l.locks[key].Covers(lock) {
		l.locks[key] = lock
	}
	return nil
}

func (l *locking) LockOf(_ context.Context, key, _ string) (store.Lock, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.locks[key], nil
}

// took returns how many locks were extended since the last time that it was asked.
func (l *locking) took() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.extended)
	l.extended = nil
	return n
}

// A lockedSeries pushes one version after the other, in each of which another page has changed, a second
// apart, with locks of 30 days, from 40 seconds before midnight on.
type lockedSeries struct {
	t    *testing.T
	st   store.Store
	opts upload.Options
	now  time.Time
	data []byte
	last *catalog.Snapshot
}

func newLockedSeries(t *testing.T, st store.Store) *lockedSeries {
	return &lockedSeries{
		t: t, st: st, data: memimage.Noise(1, 4096, 300),
		now:  time.Date(2026, 11, 22, 23, 59, 20, 7e6, time.UTC),
		opts: upload.Options{Database: "app.db", Source: here, LockFor: 30 * 24 * time.Hour, Memory: newMemory(t)},
	}
}

func (s *lockedSeries) push() *upload.Result {
	s.t.Helper()
	page := s.now.Unix() % 300 * 4096
	copy(s.data[page:page+4096], memimage.Noise(uint64(s.now.Unix()), 4096, 1))
	return s.pushSame()
}

func (s *lockedSeries) pushSame() *upload.Result {
	s.t.Helper()
	r, err := s.try()
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *lockedSeries) try() (*upload.Result, error) {
	s.now = s.now.Add(time.Second)
	s.opts.Now = func() time.Time { return s.now }
	s.opts.Confirmed = s.last
	p, err := upload.Begin(s.t.Context(), s.st, s.opts)
	if err != nil {
		return nil, err
	}
	r, err := told(p.Commit(s.t.Context(), uploadtest.Take(4096, s.data, s.now)))
	if err == nil {
		s.last = &r.Snapshot
	}
	return r, err
}

// TestLocks pushes a minute of one snapshot a second and over midnight: until then no lock has to be extended,
// and after it one for each snapshot that is built on, once.
func TestLocks(t *testing.T) {
	st := newLocking(t)
	s := newLockedSeries(t, st)
	for range 39 {
		if r := s.push(); !r.Lock.Until.Equal(time.Date(2026, 12, 23, 0, 0, 0, 0, time.UTC)) || r.Lock.Mode != store.Governance {
			t.Fatalf("locked with %v", r.Lock)
		}
	}
	if n := st.took(); n != 0 {
		t.Errorf("%d locks were extended", n)
	}
	for range 50 {
		s.push()
	}
	if n := st.took(); n != 1 {
		t.Errorf("%d locks were extended after midnight, want that of the full", n)
	}
}

// TestLocksFromTheStore pushes without what is remembered: it does not know what is locked.
func TestLocksFromTheStore(t *testing.T) {
	st := newLocking(t)
	s := newLockedSeries(t, st)
	for range 5 {
		s.push()
	}
	s.opts.Memory, s.last = newMemory(t), nil
	s.push()
	if n := st.took(); n != 5 {
		t.Errorf("%d locks were extended, want those of all five", n)
	}
}

// TestUnchangedLocks finds a database unchanged on another day.
func TestUnchangedLocks(t *testing.T) {
	st := newLocking(t)
	s := newLockedSeries(t, st)
	for range 3 {
		s.push()
	}
	s.pushSame()
	if n := st.took(); n != 0 {
		t.Errorf("%d locks were extended on the same day", n)
	}
	s.now = s.now.Add(time.Hour)
	for i, want := range []int{3, 0} {
		opts := s.opts
		opts.Now = func() time.Time { return s.now }
		if due := upload.LockDue(opts); due != (want > 0) {
			t.Errorf("locks are due: %v", due)
		}
		if r := s.pushSame(); r.Index != nil || !r.Lock.Until.Equal(time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("push %d: %+v", i, r)
		}
		if n := st.took(); n != want {
			t.Errorf("push %d extended %d locks, want %d", i, n, want)
		}
	}
	for key, lock := range st.locks {
		if lock.Until.Day() != 24 {
			t.Errorf("%s has the lock %v", key, lock)
		}
	}
}

// TestLockSpans checks how much longer than asked locks are.
func TestLockSpans(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 10, 20, 7, time.UTC)
	for d, want := range map[time.Duration]string{
		30 * 24 * time.Hour: "2026-12-23T00:00:00Z",
		10 * 24 * time.Hour: "2026-12-03T00:00:00Z",
		24 * time.Hour:      "2026-11-23T13:00:00Z",
		time.Hour:           "2026-11-22T13:11:00Z",
		time.Second:         "2026-11-22T12:11:00Z",
	} {
		st := newLocking(t)
		s := newLockedSeries(t, st)
		s.now, s.opts.LockFor, s.opts.LockMode = now, d, store.Compliance
		if r := s.push(); r.Lock.Until.Format(time.RFC3339) != want || r.Lock.Mode != store.Compliance {
			t.Errorf("%v: locked with %v, want until %s", d, r.Lock, want)
		}
	}
}

// TestCannotExtend pushes upon what cannot be locked: nothing is built on that.
func TestCannotExtend(t *testing.T) {
	denied := errors.New("no right to do that")
	for _, c := range []struct {
		name   string
		change func(*locking)
		why    string
		err    error
	}{
		{"gone", func(l *locking) { l.fail = fs.ErrNotExist }, "is gone", nil},
		{"another mode", func(l *locking) { l.mode = store.Governance }, "is locked in another mode", nil},
		{"denied", func(l *locking) { l.fail = denied }, "", denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := newLocking(t)
			s := newLockedSeries(t, st)
			s.push()
			s.push()
			c.change(st)
			s.opts.LockMode = store.Compliance
			before := len(list(t, st, "app.db"))
			s.data[0]++
			r, err := s.try()
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if err != nil {
				if n := len(list(t, st, "app.db")); n != before {
					t.Error("a snapshot was stored")
				}
				return
			}
			if r.Index.Kind() != format.Full || !strings.Contains(r.Why, c.why) {
				t.Errorf("a %v, because %s", r.Index.Kind(), r.Why)
			}
			if r := s.push(); r.Index.Kind() != format.Delta {
				t.Errorf("then a %v (%s)", r.Index.Kind(), r.Why)
			}
		})
	}
}

// TestNoLocks wants locks of a store that has none.
func TestNoLocks(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	_, err := upload.Begin(t.Context(), st, upload.Options{Database: "app.db", Source: here, LockFor: time.Hour, Memory: newMemory(t)})
	if !errors.Is(err, store.ErrCannotLock) {
		t.Errorf("got %v", err)
	}
	checkEmpty(t, st)
}

// TestLocksAreRemembered pushes from a memory that was closed and opened again.
func TestLocksAreRemembered(t *testing.T) {
	st, dir := newLocking(t), t.TempDir()
	s := newLockedSeries(t, st)
	for range 3 {
		m, err := state.Open(dir, state.Key{Store: "s", Database: "app.db", Source: here}, t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.opts.Memory, s.last = m, nil
		s.push()
		m.Close()
	}
	if n := st.took(); n != 0 {
		t.Errorf("%d locks were extended", n)
	}
}
