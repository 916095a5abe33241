package store

import (
	"net/http"
	"testing"
	"time"
)

// TestReading sets this host's clock after a server has told its own.
func TestReading(t *testing.T) {
	w := &wire{}
	if _, ok := w.skew(); ok {
		t.Error("a clock is known that nobody told")
	}
	start := time.Now()
	w.setClock(http.Header{"Date": {start.Add(time.Hour).UTC().Format(http.TimeFormat)}}, start)
	skew, ok := w.skew()
	if !ok || (skew-time.Hour).Abs() > 2*time.Second {
		t.Errorf("skew %v, %v", skew, ok)
	}
	for _, set := range []time.Duration{-time.Hour, -2 * time.Second, 2 * time.Second, time.Hour} {
		r := *w.clock.Load()
		r.wall = r.wall.Add(-set)
		if r.holds(time.Now()) {
			t.Errorf("what the server told holds though this host's clock was set by %v since", set)
		}
		if later := time.Now().Add(48 * time.Hour); !w.clock.Load().holds(later) {
			t.Error("what the server told two days ago does not hold")
		}
	}
}
