package retention_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/retention"
)

// A scene is what a policy decides about.
type scene struct {
	all       []catalog.Snapshot
	announced map[format.Name]bool
	held      map[format.Name]bool
	outcomes  map[format.Name]catalog.Outcome
	checks    map[format.Name]format.Time // when that was found
	now       time.Time
}

func (s *scene) survey() *retention.Survey {
	var announcements []catalog.Announcement
	for n := range s.announced {
		announcements = append(announcements, catalog.Announcement{Names: []format.Name{n}})
	}
	var holds []catalog.Hold
	for n := range s.held {
		holds = append(holds, catalog.Hold{Snapshot: n})
	}
	var proofs []catalog.Proof
	for n, o := range s.outcomes {
		proofs = append(proofs, catalog.Proof{Snapshot: n, Check: format.Name{Time: s.checks[n]}, Level: catalog.LevelFull, Outcome: o})
	}
	return retention.NewSurvey("app.db", s.all, announcements, holds, proofs)
}

// randomScene returns snapshots of one to three histories, some of them without their bases, proved,
// damaged, held, announced or of an unknown kind.
func randomScene(rnd *rand.Rand) *scene {
	s := &scene{announced: map[format.Name]bool{}, held: map[format.Name]bool{}, outcomes: map[format.Name]catalog.Outcome{}, checks: map[format.Name]format.Time{}}
	at := time.Date(2024+rnd.IntN(3), 12, 20+rnd.IntN(12), rnd.IntN(24), 50, 0, 0, time.UTC)
	steps := []time.Duration{time.Second, time.Minute, 7 * time.Minute, time.Hour, 5 * time.Hour, 24 * time.Hour, 3 * 24 * time.Hour, 20 * 24 * time.Hour}
	pace := rnd.IntN(len(steps))
	spoilt := rnd.IntN(3) > 0
	lineages := []format.Lineage{1, 2, 3}[:1+rnd.IntN(3)]
	for i := range rnd.IntN(40) {
		at = at.Add(time.Millisecond + time.Duration(rnd.Int64N(int64(steps[pace]))))
		if rnd.IntN(6) == 0 {
			at = at.Add(time.Duration(rnd.Int64N(int64(steps[rnd.IntN(len(steps))]))))
		}
		l := lineages[rnd.IntN(len(lineages))]
		n := format.Name{Time: format.TimeOf(at), ID: format.ID(uint64(l)<<40 | uint64(i+1))}
		k := format.FullKey("app.db", n)
		if rnd.IntN(4) > 0 && len(s.all) > 0 {
			k.Kind, k.HasParent, k.Parent = format.Delta, true, s.all[rnd.IntN(len(s.all))].Name.ID
		}
		if spoilt && rnd.IntN(25) == 0 {
			if later, ok := format.ParseKey("app.db/" + n.String() + []string{".new.kind", ".on-" + format.ID(uint64(l)<<40|1).String() + ".new.kind"}[rnd.IntN(2)]); ok {
				k = later
			}
		}
		s.all = append(s.all, catalog.Snapshot{Key: k})
		if spoilt && rnd.IntN(6) == 0 {
			s.announced[n] = true
		}
		if rnd.IntN(15) == 0 {
			s.held[n] = true
		}
		if rnd.IntN(3) == 0 {
			o := []catalog.Outcome{catalog.Sound, catalog.Unchecked, catalog.Unmet, catalog.Damaged}[rnd.IntN(4)]
			if spoilt || o != catalog.Damaged {
				s.outcomes[n], s.checks[n] = o, format.Time(rnd.IntN(3))
			}
		}
	}
	if spoilt { // some are gone
		s.all = slices.DeleteFunc(s.all, func(catalog.Snapshot) bool { return rnd.IntN(15) == 0 })
	}
	s.now = at.Add(time.Duration(rnd.Int64N(int64(steps[pace]))) - steps[pace]/2)
	return s
}

func randomPolicy(rnd *rand.Rand) retention.Policy {
	var p retention.Policy
	for _, n := range []*int{&p.Last, &p.Hourly, &p.Daily, &p.Weekly, &p.Monthly, &p.Yearly} {
		if rnd.IntN(3) == 0 {
			*n = 1 + rnd.IntN(6)
		}
	}
	if rnd.IntN(3) == 0 {
		p.Within = time.Duration(1+rnd.IntN(100)) * time.Hour
	}
	return p
}

// A judge is the policy as its documentation has it, one snapshot at a time and without regard to cost.
type judge struct{ *scene }

func (j judge) parent(s catalog.Snapshot) (catalog.Snapshot, bool) {
	for _, o := range j.all {
		if s.HasParent && o.Name.ID == s.Parent && o.Name.Time < s.Name.Time {
			return o, true
		}
	}
	return catalog.Snapshot{}, false
}

// path returns what s rests on, and whether all of that is there. What an unknown kind rests on is unknown.
func (j judge) path(s catalog.Snapshot) (below []catalog.Snapshot, whole bool) {
	for {
		p, ok := j.parent(s)
		if !ok {
			return below, !s.HasParent || s.Kind == format.Unknown
		}
		below = append(below, p)
		s = p
	}
}

func (j judge) represents(s catalog.Snapshot) bool {
	_, whole := j.path(s)
	return whole && s.Kind != format.Unknown && !j.announced[s.Name] && j.outcomes[s.Name] != catalog.Damaged
}

// counts reports whether nothing speaks against s, which represents.
func (j judge) counts(s catalog.Snapshot) bool {
	below, _ := j.path(s)
	for _, p := range below {
		proved := j.outcomes[s.Name].Good() && j.checks[s.Name] > j.checks[p.Name]
		if j.announced[p.Name] || j.outcomes[p.Name] == catalog.Damaged && !proved {
			return false
		}
	}
	return true
}

// worthy reports whether a rule of the policy keeps s.
func (j judge) worthy(p retention.Policy, s catalog.Snapshot) bool {
	day := func(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }
	for _, rule := range []struct {
		count  int
		period func(t time.Time) any
	}{
		{p.Last, nil},
		{p.Hourly, func(t time.Time) any { return t.Truncate(time.Hour) }},
		{p.Daily, func(t time.Time) any { return day(t) }},
		{p.Weekly, func(t time.Time) any { return day(t).AddDate(0, 0, -(int(t.Weekday())+6)%7) }},
		{p.Monthly, func(t time.Time) any { return [2]int{t.Year(), int(t.Month())} }},
		{p.Yearly, func(t time.Time) any { return t.Year() }},
	} {
		of := func(o catalog.Snapshot) any {
			if rule.period == nil {
				return o.Name
			}
			return rule.period(o.Name.Time.UTC())
		}
		if rule.count == 0 || !j.represents(s) {
			continue
		}
		first, later := true, map[any]bool{}
		for _, o := range j.all {
			if !j.represents(o) || !j.counts(o) {
				continue
			}
			switch earlier := o.Name.Compare(s.Name) < 0; {
			case of(o) == of(s) && earlier && o.Name.ID.Lineage() == s.Name.ID.Lineage():
				first = false
			case of(o) != of(s) && !earlier:
				later[of(o)] = true
			}
		}
		if first && len(later) < rule.count {
			return true
		}
	}
	newest := j.all[len(j.all)-1].Name.Time.UTC()
	if newest.After(j.now) {
		newest = j.now.Truncate(time.Millisecond)
	}
	return p.Within > 0 && !j.announced[s.Name] && !s.Name.Time.UTC().Before(newest.Add(-p.Within))
}

// precious reports whether s stays whatever the policy.
func (j judge) precious(s catalog.Snapshot) bool {
	if j.held[s.Name] {
		return true
	}
	if j.announced[s.Name] {
		return false
	}
	newest, newestGood, newestProved := true, j.represents(s), j.represents(s) && j.outcomes[s.Name].Good()
	for _, o := range j.all {
		if o.Name.Compare(s.Name) <= 0 {
			continue
		}
		newest = newest && j.announced[o.Name]
		newestGood = newestGood && !(j.represents(o) && j.counts(o))
		newestProved = newestProved && !(j.represents(o) && j.counts(o) && j.outcomes[o.Name].Good())
	}
	return newest || newestGood || newestProved || s.Kind == format.Unknown
}

// kept returns what the policy keeps.
func (j judge) kept(p retention.Policy) map[format.Name]bool {
	kept := map[format.Name]bool{}
	for _, s := range j.all {
		if j.worthy(p, s) || j.precious(s) {
			kept[s.Name] = true
		}
	}
	for _, s := range slices.Backward(j.all) { // what is needed is earlier
		if !kept[s.Name] {
			continue
		}
		if o, ok := j.parent(s); ok {
			kept[o.Name] = true
		}
		if s.Kind == format.Unknown && !s.HasParent {
			for _, o := range j.all {
				if o.Name.Compare(s.Name) < 0 {
					kept[o.Name] = true
				}
			}
		}
	}
	return kept
}

// TestPolicy compares policies with what their documentation says, in random situations.
func TestPolicy(t *testing.T) {
	rounds := 2000
	if race.Enabled {
		rounds = 400
	}
	rnd := seed.Rand(t)
	reasons := map[string]int{}
	for round := range rounds {
		s, p := randomScene(rnd), randomPolicy(rnd)
		plan := p.Plan(s.survey(), s.now)
		want := map[format.Name]bool{}
		if len(s.all) > 0 {
			want = judge{s}.kept(p)
		}
		got := map[format.Name]bool{}
		for i, v := range plan {
			if v.Snapshot.Name != s.all[i].Name {
				t.Fatalf("round %d: verdict %d is about another", round, i)
			}
			if !v.Goes() {
				got[v.Snapshot.Name] = true
			}
			for _, r := range v.Reasons {
				rule, _, _ := strings.Cut(r, " 2") // without the period
				if strings.HasPrefix(rule, "within ") {
					rule = "within"
				}
				reasons[rule]++
			}
		}
		if len(plan) != len(s.all) || !maps.Equal(got, want) {
			t.Fatalf("round %d: %+v at %v:\n%s", round, p, s.now, s.describe(plan, want))
		}
	}
	t.Log(reasons)
	for _, r := range []string{"last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "base of", "held", "the newest", "the newest good one", "maybe the newest good one", "the newest proved", "maybe the newest proved", "of a later version"} {
		if reasons[r] < rounds/200 {
			t.Errorf("%q kept %d snapshots: the test shows nothing", r, reasons[r])
		}
	}
}

func (s *scene) describe(plan []retention.Verdict, want map[format.Name]bool) string {
	var b strings.Builder
	for _, v := range plan {
		n := v.Snapshot.Name
		fmt.Fprintf(&b, "%s announced %v held %v %s: %q, want it kept: %v\n", v.Snapshot.Base(), s.announced[n], s.held[n], s.outcomes[n], v.Reasons, want[n])
	}
	return b.String()
}

// TestProvedBeforeDamage prunes when the object that the newest snapshots rest on has been found damaged after these
// were proved: they may be lost, and the older ones, which are not, stay.
func TestProvedBeforeDamage(t *testing.T) {
	name := func(i int) format.Name { return format.Name{Time: format.Time(i), ID: format.ID(i)} }
	full := func(i int) catalog.Snapshot { return catalog.Snapshot{Key: format.FullKey("app.db", name(i))} }
	delta := func(i, on int) catalog.Snapshot {
		s := full(i)
		s.Kind, s.HasParent, s.Parent = format.Delta, true, name(on).ID
		return s
	}
	all := []catalog.Snapshot{full(1), delta(2, 1), full(3), delta(4, 3), delta(5, 4)}
	proof := func(of, at int, l catalog.Level, o catalog.Outcome) catalog.Proof {
		return catalog.Proof{Snapshot: name(of), Check: name(at), Level: l, Outcome: o}
	}
	before := []catalog.Proof{proof(2, 10, catalog.LevelQuick, catalog.Sound), proof(5, 11, catalog.LevelQuick, catalog.Sound)}
	damage := proof(3, 12, catalog.LevelPages, catalog.Damaged)
	for _, c := range []struct {
		what   string
		proofs []catalog.Proof
		goes   string
	}{
		{"nothing is damaged", before, "[1 2]"},
		{"damaged since", []catalog.Proof{before[0], damage, before[1]}, "[]"},
		{"proved once more", []catalog.Proof{before[0], damage, before[1], proof(5, 13, catalog.LevelQuick, catalog.Sound)}, "[1 2]"},
	} {
		var goes []int
		for _, v := range (retention.Policy{Last: 1}).Plan(retention.NewSurvey("app.db", all, nil, nil, c.proofs), time.Now()) {
			if v.Goes() {
				goes = append(goes, int(v.Snapshot.Name.Time))
			}
		}
		if fmt.Sprint(goes) != c.goes {
			t.Errorf("%s: %v would go, want %s", c.what, goes, c.goes)
		}
	}
}
