package upload_test

import (
	"context"
	"errors"
	"slices"
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

// A series pushes one version after the other within one second of one minute, each upon the one before
// and by what that one confirmed.
type series struct {
	t    *testing.T
	st   store.Store
	m    *state.Memory
	now  time.Time
	data [][]byte
	last *catalog.Snapshot
	opts upload.Options // the rest of them

	page   int // its size
	images int // that were taken
}

var twenty = sync.OnceValue(func() [][]byte { return versions(20) })

func newSeries(t *testing.T, st store.Store) *series {
	now := time.Date(2026, 11, 22, 12, 10, 20, 0, time.UTC)
	return &series{t: t, st: st, m: newMemory(t), now: now, data: slices.Clone(twenty()), page: 4096}
}

func (s *series) push() *upload.Result {
	s.t.Helper()
	s.now = s.now.Add(time.Millisecond)
	r, err := s.tryPush()
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *series) tryPush() (*upload.Result, error) {
	s.t.Helper()
	opts := s.opts
	opts.Database, opts.Source, opts.Memory, opts.Confirmed = "app.db", here, s.m, s.last
	opts.Now = func() time.Time { return s.now }
	p, err := upload.Begin(s.t.Context(), s.st, opts)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := p.Unchanged(s.t.Context())
	if r == nil && err == nil {
		r, err = told(p.Commit(s.t.Context(), func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
			img := memimage.New(salt, s.page, s.data[0], s.now)
			img.Looks = s.opts.Look
			s.images++
			return img, nil
		}))
	}
	if r != nil {
		s.data, s.last = s.data[1:], &r.Snapshot
	}
	return r, err
}

// TestConfirmedRequests counts what a push asks of the store that continues a confirmed one.
func TestConfirmedRequests(t *testing.T) {
	st := storetest.Fault(storetest.OpenDir(t, t.TempDir()))
	s := newSeries(t, st)
	for range 10 {
		s.push()
	}
	st.Plan() // counts from here on
	r := s.push()
	var ops []string
	for _, c := range st.Calls() {
		ops = append(ops, c.Op)
	}
	if len(r.Index.Chain) != 10 || len(ops) != 4 {
		t.Errorf("a push upon %d others made the calls %q, want four: the clock, which costs no request, the object, announcements, the newest", len(r.Index.Chain), ops)
	}
	s.data = append(versions(20)[10:11], s.data...)
	if r := s.push(); r.Index != nil {
		t.Error("a snapshot of the same was stored")
	}
}

func announceDeletion(t *testing.T, st store.Store, n format.Name) {
	t.Helper()
	own := format.Name{Time: n.Time, ID: format.NewID(format.NewLineage())}
	if err := catalog.Announce(t.Context(), st, "app.db", own, []format.Name{n}); err != nil {
		t.Fatal(err)
	}
}

// TestLookAtOnce pushes upon eight others, to a store that does not say of one whether it is there before it is asked
// about all of them.
func TestLookAtOnce(t *testing.T) {
	const others = 8
	st := storetest.OpenDir(t, t.TempDir())
	s := newSeries(t, st)
	for range others {
		s.push()
	}
	s.now = s.now.Add(time.Millisecond)
	g := storetest.Gather(st, others, func(store.Object, int64, int64) bool { return true })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := upload.Begin(ctx, g, upload.Options{Database: "app.db", Source: here, Memory: s.m, Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	r, err := told(p.Commit(ctx, uploadtest.Take(s.page, s.data[0], s.now)))
	if err != nil || len(r.Index.Chain) != others || !g.Gathered() {
		t.Errorf("enough at once: %v, %+v, %v", g.Gathered(), r, err)
	}
}

// TestConfirmedLost takes away what a push continues, or what that rests on, between two pushes.
func TestConfirmedLost(t *testing.T) {
	announce := func(s *series, k format.Key) {
		announceDeletion(s.t, s.st, k.Name)
	}
	remove := func(s *series, k format.Key) {
		if err := s.st.Delete(s.t.Context(), k.String()); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		do    func(*series, format.Key)
		which int // of the path
		kind  format.Kind
	}{
		{"the newest is gone", remove, 3, format.Full},
		{"the newest is announced", announce, 3, format.Full},
		{"another is announced", announce, 1, format.Full},
		{"the full is announced", announce, 0, format.Full},
		// Nobody may do that, and an hourly look would see it.
		{"another is gone", remove, 1, format.Delta},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSeries(t, storetest.OpenDir(t, t.TempDir()))
			var all []catalog.Snapshot
			for range 4 {
				all = append(all, s.push().Snapshot)
			}
			c.do(s, all[c.which].Key)
			s.now = s.now.Add(time.Millisecond)
			r, err := s.tryPush()
			if err != nil && !(c.name == "the newest is gone" && errors.As(err, new(*upload.LostError))) {
				t.Fatal(err)
			}
			if r.Index.Kind() != c.kind {
				t.Fatalf("a %v (%s), want a %v", r.Index.Kind(), r.Why, c.kind)
			}
			if r := s.push(); r.Index.Kind() != format.Delta {
				t.Errorf("then a %v (%s), want a delta", r.Index.Kind(), r.Why)
			}
			s.last = nil // and now the store is asked for all
			if r := s.push(); c.kind == format.Delta && r.Index.Kind() != format.Full {
				t.Errorf("a look at the whole path let a %v pass", r.Index.Kind())
			}
		})
	}
}

// TestConfirmedNewestPruned deletes the newest snapshot, as retention may a leaf, when the next one builds on an
// older one, the first of its minute.
func TestConfirmedNewestPruned(t *testing.T) {
	for _, announced := range []bool{true, false} {
		s := newSeries(t, storetest.OpenDir(t, t.TempDir()))
		for range 3 {
			s.push()
		}
		if announced {
			announceDeletion(t, s.st, s.last.Name)
		} else if err := s.st.Delete(t.Context(), s.last.Key.String()); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(time.Minute)
		r, err := s.tryPush()
		if announced && err != nil || !announced && !errors.As(err, new(*upload.LostError)) {
			t.Errorf("the newest was announced to be deleted: %v, and the next push says: %v", announced, err)
		}
		if r.Index.Kind() != format.Delta || len(r.Index.Chain) != 1 {
			t.Errorf("a %v (%s) upon %d, want a delta upon the first of the minute before", r.Index.Kind(), r.Why, len(r.Index.Chain))
		}
	}
}

// TestConfirmedNewestLost has the newest snapshot vanish: that is told, unless it may have been deleted on purpose.
func TestConfirmedNewestLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		onDir func(t *testing.T, s *series)
		minute,
		lost bool
	}{
		{name: "lost", lost: true},
		{name: "lost, and the next one builds on an older one", minute: true, lost: true},
		{name: "pushed by somebody else and pruned", onDir: func(t *testing.T, s *series) {
			other := *s
			other.m, other.last = newMemory(t), nil
			other.push()
			s.now, s.data = other.now, other.data
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSeries(t, storetest.OpenDir(t, t.TempDir()))
			for range 3 {
				s.push()
			}
			if c.onDir != nil {
				c.onDir(t, s)
			}
			gone := s.last.Key
			if err := s.st.Delete(t.Context(), gone.String()); err != nil {
				t.Fatal(err)
			}
			if c.minute {
				s.now = s.now.Add(time.Minute)
			}
			s.now = s.now.Add(time.Millisecond)
			_, err := s.tryPush()
			lost, ok := errors.AsType[*upload.LostError](err)
			if ok != c.lost || ok && lost.Key != gone.Base() || !ok && err != nil {
				t.Errorf("the next push says: %v", err)
			}
			s.push()
		})
	}
}

func TestConfirm(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	s := newSeries(t, st)
	s.push()
	last := s.push().Snapshot
	for _, c := range []struct {
		do   func()
		want bool
	}{
		{func() {}, true},
		{func() { last.Object.Size++ }, false},
		{func() { s.st.Delete(t.Context(), last.Key.String()); last.Object.Size-- }, false},
	} {
		c.do()
		counting := storetest.Fault(st)
		ok, err := upload.Confirm(t.Context(), counting, last)
		if err != nil || ok != c.want || len(counting.Calls()) != 1 {
			t.Errorf("%v, %v by %d requests, want %v by one", ok, err, len(counting.Calls()), c.want)
		}
	}
}
