package upload

import (
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
)

func TestChooseParent(t *testing.T) {
	at := func(s string) format.Time {
		p, err := time.Parse("2006-01-02 15:04:05", "2026-"+s)
		if err != nil {
			t.Fatal(err)
		}
		return format.TimeOf(p)
	}
	// A path as the rule makes it: the full, firsts of days, of hours, of minutes, and moments.
	path := []string{
		"11-20 10:35:20",                   // the full
		"11-21 00:00:01",                   // first of a day
		"11-22 00:00:05",                   // first of the day
		"11-22 06:00:00", "11-22 07:00:09", // firsts of hours
		"11-22 07:01:00", "11-22 07:05:02", // firsts of minutes
		"11-22 07:05:03", "11-22 07:05:04", // moments
	}
	var times []format.Time
	for _, p := range path {
		times = append(times, at(p))
	}
	for _, c := range []struct {
		t, parent string
		since     state.Span
	}{
		{"11-22 07:05:05", "11-22 07:05:04", state.Newest},
		{"11-22 07:06:00", "11-22 07:05:02", state.Minute},
		{"11-22 07:59:59", "11-22 07:05:02", state.Minute},
		{"11-22 08:00:00", "11-22 07:00:09", state.Hour},
		{"11-22 23:10:00", "11-22 07:00:09", state.Hour},
		{"11-23 00:00:00", "11-22 00:00:05", state.Day},
		{"12-24 07:05:05", "11-22 00:00:05", state.Day},
		{"11-22 07:05:03", "11-22 07:05:04", state.Newest}, // the clock went back
		{"11-22 06:59:00", "11-22 07:00:09", state.Hour},
	} {
		parent, since := chooseParent(times, at(c.t))
		if path[parent] != c.parent || since != c.since {
			t.Errorf("%s builds on %s, since %v; want %s, %v", c.t, path[parent], since, c.parent, c.since)
		}
	}
	if parent, since := chooseParent(times[:1], at("11-20 10:35:21")); parent != 0 || since != state.Newest {
		t.Errorf("on a full alone: %d, %v", parent, since)
	}
}
