package upload

import (
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
)

// spans are what the calendar is made of, with their lengths.
var spans = [state.Spans]time.Duration{state.Minute: time.Minute, state.Hour: time.Hour, state.Day: 24 * time.Hour}

// chooseParent returns which snapshot of a path one taken at t builds on: an index into times,
// which are those of the newest snapshot's path, oldest first, itself included; and since when
// pages must not have changed to be left out.
//
// The calendar decides, so that what retention drops is never built on: in UTC, the first snapshot
// of a minute builds on the latest first of a minute in its hour, the first of an hour on the
// latest first of an hour in its day, the first of a day on the latest first of a day, and every
// other on the one before it. The newest snapshot's own path has been chosen in this way, so it
// holds all of these firsts: each is the earliest of its minute, hour or day in it.
func chooseParent(times []format.Time, t format.Time) (parent int, since state.Span) {
	newest := len(times) - 1
	for s := state.Day; s >= state.Minute; s-- {
		if periodOf(times[newest], s) != periodOf(t, s) {
			return first(times, s), s
		}
	}
	return newest, state.Newest
}

// first returns the index of the first snapshot of the newest one's span.
func first(times []format.Time, s state.Span) int {
	i := len(times) - 1
	for i > 0 && periodOf(times[i-1], s) == periodOf(times[len(times)-1], s) {
		i--
	}
	return i
}

// begins returns the spans that a snapshot taken at t is the first of, after one taken at newest.
func begins(newest, t format.Time) (b [state.Spans]bool) {
	for s := range b {
		b[s] = periodOf(newest, state.Span(s)) != periodOf(t, state.Span(s))
	}
	return b
}

// periodOf returns the number of the minute, hour or day that t falls in, counted in UTC from
// the epoch.
func periodOf(t format.Time, s state.Span) int64 { return int64(t) / spans[s].Milliseconds() }
