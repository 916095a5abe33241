package main

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A moment is what --at asks for: the newest snapshot at or before a time, or one by its name.
type moment struct {
	time   time.Time
	name   format.Name // zero unless one is named
	latest bool
}

const atUsage = "newest snapshot at or before `TIME`: RFC 3339, \"2026-11-22 07:30\" (local unless a zone is given), a snapshot's name, an age such as 90m or 2d, or latest"

// atLayouts are the forms of a time; those without a zone are local.
var atLayouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999 Z07:00",
	"2006-01-02 15:04:05.999999999 -0700",
	"2006-01-02 15:04Z07:00",
	"2006-01-02T15:04Z07:00",
	"2006-01-02 15:04 Z07:00",
	"2006-01-02 15:04 -0700",
	"2006-01-02 15:04:05.999999999 UTC",
	"2006-01-02 15:04 UTC",
}

var localLayouts = []string{
	"2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04",
	"2006-01-02T15:04",
}

// parseAt reads what --at says, at the time now.
func parseAt(s string, now time.Time) (moment, error) { return parseMoment("--at", s, now) }

// parseMoment reads what says which moment is meant, at the time now.
func parseMoment(what, s string, now time.Time) (moment, error) {
	if s == "latest" {
		return moment{time: now, latest: true}, nil
	}
	if n, err := format.ParseName(s); err == nil {
		return moment{time: n.Time.UTC(), name: n}, nil
	}
	if t, err := format.ParseTime(s); err == nil {
		return moment{time: t.UTC()}, nil
	}
	if age, ok := parseAge(s); ok {
		return moment{time: now.Add(-age)}, nil
	}
	for _, l := range atLayouts {
		if t, err := time.Parse(l, s); err == nil {
			return moment{time: t}, nil
		}
	}
	for _, l := range localLayouts {
		if t, err := time.ParseInLocation(l, s, time.Local); err == nil {
			return moment{time: t}, nil
		}
	}
	return moment{}, usagef("%s %q: want a time such as 2026-11-22T07:30:00Z or \"2026-11-22 07:30\", a snapshot's name, an age such as 90m or 2d, or latest", what, s)
}

var (
	agePart = regexp.MustCompile(`(\d+)([smhdw])`)
	age     = regexp.MustCompile(`^(\d+[smhdw])+$`)
)

// parseAge reads an age such as 90m, 2d or 1d12h.
func parseAge(s string) (time.Duration, bool) {
	if !age.MatchString(s) {
		return 0, false
	}
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	var total time.Duration
	for _, m := range agePart.FindAllStringSubmatch(s, -1) {
		n, err := strconv.ParseInt(m[1], 10, 32)
		if err != nil {
			return 0, false
		}
		unit := units[m[2]]
		if time.Duration(n) > (math.MaxInt64-total)/unit {
			return 0, false
		}
		total += time.Duration(n) * unit
	}
	return total, true
}

// find returns the snapshot that m asks for, and newer-first what else was seen on the way.
func (m moment) find(ctx context.Context, st store.Store, database string) (catalog.Snapshot, []catalog.Snapshot, error) {
	if !m.name.IsZero() {
		s, err := catalog.Get(ctx, st, database, m.name)
		return s, nil, err
	}
	at := format.TimeOf(m.time)
	if m.latest {
		at = catalog.Latest
	}
	found, err := catalog.Find(ctx, st, database, at)
	if err != nil {
		return catalog.Snapshot{}, nil, err
	}
	return found[0], found[1:], nil
}

// gap returns how much earlier than asked for the snapshot is; a named one has none.
func (m moment) gap(s catalog.Snapshot) time.Duration {
	if !m.name.IsZero() {
		return 0
	}
	return max(0, m.time.Sub(s.Name.Time.UTC()))
}

// otherHistory returns the newest of seen that belongs to another history than s.
func otherHistory(s catalog.Snapshot, seen []catalog.Snapshot) (catalog.Snapshot, bool) {
	for _, o := range seen {
		if o.Name.ID.Lineage() != s.Name.ID.Lineage() {
			return o, true
		}
	}
	return catalog.Snapshot{}, false
}

// A gapError says that the snapshot found is older than --max-gap allows.
type gapError struct {
	snapshot catalog.Snapshot
	gap, max time.Duration
}

func (e *gapError) Error() string {
	return fmt.Sprintf("the newest snapshot is %v, %s before the time asked for, and --max-gap allows %s",
		e.snapshot.Name, exactly(e.gap), exactly(e.max))
}

// exactly writes a duration to the millisecond: a gap may be larger than allowed by no more.
func exactly(d time.Duration) string {
	s := d.Truncate(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
