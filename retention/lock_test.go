package retention_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
)

// lockedDays makes a store with a full of each of so many days, and returns them.
func lockedDays(t *testing.T, days int) (store.Store, []catalog.Snapshot) {
	t.Helper()
	st, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
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

// eachKey asks for one key after the other.
func eachKey(ask func(key string) (time.Time, error)) retention.LockedUntil {
	return func(_ context.Context, keys []string) (until []time.Time, err error) {
		for _, key := range keys {
			u, err := ask(key)
			if err != nil {
				return nil, err
			}
			until = append(until, u)
		}
		return until, nil
	}
}

// TestPruneLocked prunes where some are locked: they stay, are not announced, and say until when.
func TestPruneLocked(t *testing.T) {
	st, all := lockedDays(t, 200)
	until := time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	asked := 0
	locked := eachKey(func(key string) (time.Time, error) {
		asked++
		if key == all[3].Object.Key || key >= all[100].Object.Key {
			return until, nil
		}
		return time.Time{}, nil
	})
	opts := retention.PruneOptions{LockedUntil: locked}
	for _, dry := range []bool{true, false} {
		opts.DryRun = dry
		asked = 0
		p, err := retention.Prune(t.Context(), st, "app.db", retention.Policy{Last: 1}, opts)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Gone) != 99 || asked > 170 {
			t.Errorf("dry %v: %d go, and %d were asked for", dry, len(p.Gone), asked)
		}
		if got := p.Plan[3].Reasons; len(got) != 1 || got[0] != "locked until 2027-01-02 00:00:00 UTC" {
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

func TestCheckLocks(t *testing.T) {
	_, all := lockedDays(t, 70)
	free := eachKey(func(string) (time.Time, error) { return time.Time{}, nil })
	if err := retention.CheckLocks(t.Context(), all, free); err != nil {
		t.Error(err)
	}
	if err := retention.CheckLocks(t.Context(), all, nil); err != nil {
		t.Error(err)
	}
	last := eachKey(func(key string) (time.Time, error) {
		if key == all[69].Object.Key {
			return time.Now().Add(time.Hour), nil
		}
		return time.Time{}, nil
	})
	var locked *retention.LockedError
	if err := retention.CheckLocks(t.Context(), all, last); !errors.As(err, &locked) || locked.Snapshot != all[69] {
		t.Errorf("got %v", err)
	}
	broken := errors.New("no answer")
	if err := retention.CheckLocks(t.Context(), all, eachKey(func(string) (time.Time, error) { return time.Time{}, broken })); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
