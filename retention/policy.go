package retention

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
)

// A Policy says which snapshots are worth keeping: those that any of its rules keeps. The zero Policy has
// no rule.
//
// A rule about a period, such as Daily, counts only periods that a snapshot was taken in, the latest
// first, so that a database which is not pushed for a while loses nothing meanwhile. A period is in UTC
// and is represented by the first of its snapshots: on that the later ones rest, and not it on them, so what
// goes is what nothing rests on. Where several histories stand under one name each has its first one in a
// period, but they are counted together, so that one which nobody continues ages out.
type Policy struct {
	Last    int // the newest snapshots
	Hourly  int // the first of each hour
	Daily   int
	Weekly  int // a week begins on Monday, as in ISO 8601
	Monthly int
	Yearly  int
	// Within keeps everything that is at most so much older than the newest snapshot, or than now if
	// the newest is, by its name, still to come. 0 is no rule.
	Within time.Duration
}

// IsZero reports whether the policy has no rule.
func (p Policy) IsZero() bool { return p == Policy{} }

// A period is a rule's share of the calendar. name returns the same for two times in the same one.
type period struct {
	rule string
	name func(time.Time) string
}

var (
	hourly  = period{"hourly", layout("2006-01-02 15:00")}
	daily   = period{"daily", layout("2006-01-02")}
	weekly  = period{"weekly", isoWeek}
	monthly = period{"monthly", layout("2006-01")}
	yearly  = period{"yearly", layout("2006")}
)

func layout(l string) func(time.Time) string {
	return func(t time.Time) string { return t.Format(l) }
}

func isoWeek(t time.Time) string {
	year, week := t.ISOWeek()
	return fmt.Sprintf("%04d-W%02d", year, week)
}

// A Verdict says of a snapshot what keeps it, in words such as "daily 2026-11-20". Without Reasons it
// goes.
type Verdict struct {
	Snapshot catalog.Snapshot
	Reasons  []string
}

// Goes reports whether nothing keeps the snapshot.
func (v Verdict) Goes() bool { return len(v.Reasons) == 0 }

// Plan decides about every snapshot of a survey at the time now.
//
// Whatever the policy, these stay: the newest; the newest that can be restored as far as is known; the newest
// that was proved; what is held; what a later version wrote in a form that this one does not know; and
// all that one of those which stay rests on. What is announced to be deleted goes, and represents nothing,
// unless one that stays rests on it or it is held. What is known to be damaged, or rests on one that is
// missing, represents nothing either, so that a good one takes its place. What rests on a snapshot that is
// about to be deleted, or damaged and was not proved since that was found, and so may be good or not, is
// kept where it would represent others, and does not count.
func (p Policy) Plan(s *Survey, now time.Time) []Verdict {
	plan := make([]Verdict, len(s.Snapshots))
	for i, snap := range s.Snapshots {
		plan[i].Snapshot = snap
	}
	c := s.candidates()
	s.keepAlways(plan, c)
	keepLast(plan, c, p.Last)
	for _, rule := range []struct {
		count int
		period
	}{{p.Hourly, hourly}, {p.Daily, daily}, {p.Weekly, weekly}, {p.Monthly, monthly}, {p.Yearly, yearly}} {
		keepPeriods(plan, c, rule.count, rule.period)
	}
	s.keepWithin(plan, p.Within, now)
	s.keepBases(plan)
	return plan
}

func (v *Verdict) keep(why string) { v.Reasons = append(v.Reasons, why) }

// A candidate is a snapshot that may represent others.
type candidate struct {
	index int
	sure  bool // it is good as far as is known
}

// candidates returns those that may represent others, oldest first.
func (s *Survey) candidates() []candidate {
	var c []candidate
	for i, g := range s.grades() {
		if g != useless && !s.announced[s.Snapshots[i].Name] {
			c = append(c, candidate{i, g == sure})
		}
	}
	return c
}

// keepAlways keeps what no policy lets go.
func (s *Survey) keepAlways(plan []Verdict, candidates []candidate) {
	for i := range slices.Backward(plan) {
		if !s.announced[plan[i].Snapshot.Name] {
			plan[i].keep("the newest")
			break
		}
	}
	for _, c := range slices.Backward(candidates) {
		if c.sure {
			if plan[c.index].Goes() {
				plan[c.index].keep("the newest good one")
			}
			break
		}
		plan[c.index].keep("maybe the newest good one")
	}
	for _, c := range slices.Backward(candidates) {
		if !s.Standing[plan[c.index].Snapshot.Name].Outcome.Good() {
			continue
		}
		if c.sure {
			plan[c.index].keep("the newest proved")
			break
		}
		plan[c.index].keep("maybe the newest proved")
	}
	for i := range plan {
		snap := plan[i].Snapshot
		if s.held[snap.Name] {
			plan[i].keep("held")
		}
		if snap.Kind == format.Unknown && !s.announced[snap.Name] {
			plan[i].keep("of a later version")
		}
	}
}

// keepLast keeps the newest candidates, of which count are sure.
func keepLast(plan []Verdict, candidates []candidate, count int) {
	for _, c := range slices.Backward(candidates) {
		if count == 0 {
			return
		}
		plan[c.index].keep("last")
		if c.sure {
			count--
		}
	}
}

// keepPeriods keeps, in each of the latest periods that there are, the first one of each history: up to
// the first that is sure. Periods without one that is sure do not count.
func keepPeriods(plan []Verdict, candidates []candidate, count int, of period) {
	for n := len(candidates); n > 0 && count > 0; {
		name := of.name(plan[candidates[n-1].index].time())
		first := n - 1
		for first > 0 && of.name(plan[candidates[first-1].index].time()) == name {
			first--
		}
		done := map[format.Lineage]bool{}
		for _, c := range candidates[first:n] {
			l := plan[c.index].Snapshot.Name.ID.Lineage()
			if !done[l] {
				plan[c.index].keep(of.rule + " " + name)
				done[l] = c.sure
			}
		}
		for _, sure := range done {
			if sure {
				count--
				break
			}
		}
		n = first
	}
}

func (v *Verdict) time() time.Time { return v.Snapshot.Name.Time.UTC() }

// keepWithin keeps what is at most d older than the newest, or than now if that is earlier: the clock of
// neither host alone can make everything old.
func (s *Survey) keepWithin(plan []Verdict, d time.Duration, now time.Time) {
	if d == 0 || len(plan) == 0 {
		return
	}
	since := min(plan[len(plan)-1].Snapshot.Name.Time, format.TimeOf(now)) - format.Time(d.Milliseconds())
	for i := range plan {
		if n := plan[i].Snapshot.Name; n.Time >= since && !s.announced[n] {
			plan[i].keep("within " + spell(d))
		}
	}
}

// spell writes a duration as it is given to a command: "30d", "1d12h".
func spell(d time.Duration) string {
	var b strings.Builder
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
		}
		d %= u.unit
	}
	if b.Len() == 0 {
		return d.String()
	}
	return b.String()
}

// keepBases keeps what those that are kept rest on, and what has the name of one of them: whoever deletes goes by names.
func (s *Survey) keepBases(plan []Verdict) {
	kept := make(Names, len(plan))
	for _, v := range plan {
		kept[v.Snapshot.Name] = kept[v.Snapshot.Name] || !v.Goes()
	}
	need := needed(s.Snapshots, func(snap catalog.Snapshot) bool { return kept[snap.Name] })
	for i := range plan {
		on, ok := need[plan[i].Snapshot.Name]
		switch {
		case !ok || !plan[i].Goes():
		case on.Name == plan[i].Snapshot.Name:
			plan[i].keep("of the same name as one that is kept")
		default:
			plan[i].keep(fmt.Sprintf("base of %v", on.Name))
		}
	}
}
