package retention_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
)

// A lockable is a store of which some keys are locked.
type lockable struct {
	*versions
	cannot error // whether it can lock
	locks  map[string]time.Time
	skew   time.Duration
	broken error // of whoever asks for a lock
	asked  int   // for how many
}

var _ store.VersionLocker = (*lockable)(nil)

func (s *lockable) CanLock(context.Context) error { return s.cannot }

func (s *lockable) CreateLocked(ctx context.Context, key string, body io.Reader, most int64, lock store.Lock) (store.Object, error) {
	return store.Object{}, errors.ErrUnsupported
}

func (s *lockable) ExtendLock(context.Context, string, store.Lock) error {
	return errors.ErrUnsupported
}

func (s *lockable) LockOf(_ context.Context, key, id string) (store.Lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if oldest := s.keys[key][len(s.keys[key])-1]; id != oldest.ID {
		return store.Lock{}, fmt.Errorf("the version %s of %s was asked for, and %s was created", id, key, oldest.ID)
	}
	return store.Lock{Mode: store.Governance, Until: s.locks[key]}, s.broken
}

func (s *lockable) Skew(context.Context) (time.Duration, error) { return s.skew, nil }

// lockedDays makes a store with a full of each of so many days, and returns them.
func lockedDays(t *testing.T, days int) (*lockable, []catalog.Snapshot) {
	t.Helper()
	st := &lockable{versions: newVersions(), locks: map[string]time.Time{}}
	l := format.NewLineage()
	for i := range days {
		k := format.FullKey("app.db", format.Name{Time: format.Time(i+1) * 86_400_000, ID: format.NewID(l)})
		if _, err := st.Create(t.Context(), k.String(), strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	all, err := catalog.List(t.Context(), st, "app.db")
	if err != nil {
		t.Fatal(err)
	}
	return st, all
}

// TestPruneLocked prunes where some are locked: they stay, are not announced, and say until when.
func TestPruneLocked(t *testing.T) {
	st, all := lockedDays(t, 200)
	until := time.Now().Add(time.Hour)
	for i, s := range all {
		if i == 3 || i >= 100 {
			st.locks[s.Object.Key] = until
		}
	}
	for _, dry := range []bool{true, false} {
		st.asked = 0
		p, err := retention.Prune(t.Context(), st, "app.db", retention.Policy{Last: 1}, retention.PruneOptions{DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Gone) != 99 || st.asked > 170 || p.LocksUnknown != nil {
			t.Errorf("dry %v: %d go, and %d were asked for, %v", dry, len(p.Gone), st.asked, p.LocksUnknown)
		}
		if got := p.Plan[3].Reasons; len(got) != 1 || got[0] != "locked until "+until.UTC().Format(time.DateTime)+" UTC" {
			t.Errorf("kept by %q", got)
		}
	}
	if left, err := catalog.List(t.Context(), st, "app.db"); err != nil || len(left) != 101 {
		t.Errorf("left are %d, %v", len(left), err)
	}
	if a, err := catalog.Announcements(t.Context(), st, "app.db"); err != nil || len(a) != 0 {
		t.Errorf("announced are %v, %v", a, err)
	}
}

// TestDeleteLocked deletes where the last of many is locked, whatever has been put on top of it, and where that is not to be
// learned. Nothing is announced then.
func TestDeleteLocked(t *testing.T) {
	st, all := lockedDays(t, 70)
	last := all[69]
	st.put(last.Object.Key, []byte("forged"), false)
	st.locks[last.Object.Key] = time.Now().Add(time.Hour)
	want := retention.Names{}
	for _, s := range all {
		want[s.Name] = true
	}
	plans := map[string]func() (unknown, err error){
		"of some": func() (unknown, err error) {
			d, err := retention.PlanDelete(t.Context(), st, "app.db", want)
			if err == nil {
				unknown = d.LocksUnknown
			}
			return unknown, err
		},
		"of all": func() (unknown, err error) {
			d, err := retention.PlanDeleteAll(t.Context(), st, "app.db", false)
			if err == nil {
				unknown = d.LocksUnknown
			}
			return unknown, err
		},
		"of a policy": func() (unknown, err error) {
			p, err := retention.Prune(t.Context(), st, "app.db", retention.Policy{Last: 1}, retention.PruneOptions{DryRun: true})
			if err == nil {
				unknown = p.LocksUnknown
			}
			return unknown, err
		},
	}
	broken := errors.New("no answer")
	for what, plan := range plans {
		st.cannot, st.broken = nil, nil
		_, err := plan()
		locked, ok := errors.AsType[*retention.LockedError](err)
		if what != "of a policy" && (!ok || locked.Snapshot.Name != last.Name) {
			t.Errorf("a deletion %s: %v", what, err)
		}
		st.broken = broken
		if _, err := plan(); !errors.Is(err, broken) {
			t.Errorf("a deletion %s where nobody answers: %v", what, err)
		}
		st.cannot = broken
		if _, err := plan(); !errors.Is(err, broken) {
			t.Errorf("a deletion %s where nobody knows whether there are locks: %v", what, err)
		}
		st.cannot = store.ErrCannotLock
		if unknown, err := plan(); unknown != nil || err != nil {
			t.Errorf("a deletion %s without locks: %v, %v", what, unknown, err)
		}
		st.cannot = store.ErrDenied
		if unknown, err := plan(); !errors.Is(unknown, store.ErrDenied) || err != nil {
			t.Errorf("a deletion %s by who may not ask: %v, %v", what, unknown, err)
		}
	}
	if a, err := catalog.Announcements(t.Context(), st, "app.db"); err != nil || len(a) != 0 {
		t.Errorf("announced are %v, %v", a, err)
	}
}

// TestLockOver deletes what was locked, as soon as the store's clock says that it is over and not this host's.
func TestLockOver(t *testing.T) {
	for _, c := range []struct {
		end, skew time.Duration // of the lock from now on, and of the store's clock
		locked    bool
	}{
		{time.Minute, 0, true},
		{-time.Minute, 0, false},
		{time.Minute, 2 * time.Minute, false},
		{-time.Minute, -2 * time.Minute, true},
	} {
		st, all := lockedDays(t, 2)
		st.skew = c.skew
		st.locks[all[0].Object.Key] = time.Now().Add(c.end)
		err := deleteNamed(t.Context(), st, retention.Names{all[0].Name: true}, retention.Options{})
		if locked := errors.As(err, new(*retention.LockedError)); locked != c.locked || !locked && err != nil {
			t.Errorf("a lock that ends in %v where the store's clock is %v ahead: %v", c.end, c.skew, err)
		}
	}
}
