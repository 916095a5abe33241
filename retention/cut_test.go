package retention_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
)

// A cutStore refuses one deletion. Others that are under way then are done, and report whether they were cut off.
type cutStore struct {
	store.Store
	refused string
	begun   chan struct{} // gets one for each other that has begun
	failed  chan struct{}
}

var errRefused = errors.New("refused")

// moment is for how long something is waited for that must not come.
const moment = 20 * time.Millisecond

func (s *cutStore) Delete(ctx context.Context, key string) error {
	if key == s.refused {
		select {
		case <-s.begun:
		case <-time.After(moment): // it is alone in its round
		}
		close(s.failed)
		return errRefused
	}
	s.begun <- struct{}{}
	select {
	case <-s.failed:
	case <-time.After(2 * moment): // of another round
	}
	if err := s.Store.Delete(context.WithoutCancel(ctx), key); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(moment):
		return nil
	}
}

// TestDeleteCut refuses one of several deletions. It is told right what has gone all the same.
func TestDeleteCut(t *testing.T) {
	h := newHistory(t)
	dry, err := retention.Prune(t.Context(), h.copyTo(t), "app.db", dailyTwo, retention.PruneOptions{DryRun: true})
	if err != nil || len(dry.Gone) < 3 {
		t.Fatalf("%d go, %v", len(dry.Gone), err)
	}
	others := 0
	for _, s := range dry.Gone {
		real := h.copyTo(t)
		st := &cutStore{Store: real, refused: s.Object.Key, begun: make(chan struct{}, len(dry.Gone)), failed: make(chan struct{})}
		got, err := retention.Prune(t.Context(), st, "app.db", dailyTwo, retention.PruneOptions{})
		if !errors.Is(err, errRefused) {
			t.Fatalf("%s: %v", s.Object.Key, err)
		}
		left, err := catalog.List(t.Context(), real, "app.db")
		if err != nil {
			t.Fatal(err)
		}
		there := map[format.Name]bool{}
		for _, s := range left {
			there[s.Name] = true
		}
		for n := range dry.Gone {
			if _, told := got.Gone[n]; told == there[n] {
				t.Errorf("refused %v: that %v is gone is told: %v, and it is there: %v", s.Name, n, told, there[n])
			} else if told {
				others++
			}
		}
	}
	if others == 0 {
		t.Error("nothing else was ever deleted")
	}
}
