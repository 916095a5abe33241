package survey_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/survey"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// hour is the time n hours after the beginning of these tests.
func hour(n float64) format.Time { return format.Time(1_700_000_000_000 + n*3_600_000) }

// snap returns a snapshot with the id n of so many bytes, taken at an hour; one with a parent is a delta.
func snap(database string, n int, at float64, size int64, parent int) catalog.Snapshot {
	k := format.FullKey(database, format.Name{Time: hour(at), ID: format.ID(n)})
	if parent > 0 {
		k.Kind, k.HasParent, k.Parent = format.Delta, true, format.ID(parent)
	}
	return catalog.Snapshot{Key: k, Object: store.Object{Key: k.String(), Size: size}}
}

// proof returns what a check of s found at an hour.
func proof(s catalog.Snapshot, at float64, level catalog.Level, outcome catalog.Outcome) catalog.Proof {
	return catalog.Proof{Database: s.Database, Snapshot: s.Name, Check: format.Name{Time: hour(at), ID: 1}, Level: level, Outcome: outcome}
}

func problems(s survey.Status) string {
	var all []string
	for _, p := range s.Problems {
		all = append(all, string(p.Kind)+": "+p.Text)
	}
	return strings.Join(all, "; ")
}

// TestStatus judges a database with three snapshots, of which each rests on the one before it.
func TestStatus(t *testing.T) {
	const pages, quick, full = catalog.LevelPages, catalog.LevelQuick, catalog.LevelFull
	a, b, c := snap("app.db", 1, 0, 1000, 0), snap("app.db", 2, 100, 100, 1), snap("app.db", 3, 200, 10, 2)
	all := []catalog.Snapshot{a, b, c}
	limits := survey.Limits{MaxAge: 25 * time.Hour, MaxUnverified: 48 * time.Hour}
	for _, x := range []struct {
		name      string
		snapshots []catalog.Snapshot
		proofs    []catalog.Proof
		at        float64
		pushed    catalog.Snapshot
		proved    float64 // -1 is never
		want      string
	}{
		{"proved", all, []catalog.Proof{proof(c, 201, quick, catalog.Sound)}, 220, c, 201, ""},
		{"as far as can be told", all, []catalog.Proof{proof(c, 201, quick, catalog.Unchecked)}, 220, catalog.Snapshot{}, 201, ""},
		{"too old", all, []catalog.Proof{proof(c, 225, quick, catalog.Sound)}, 225.5, c, 225, "too old: the newest snapshot is 25h30m old, and 25h is allowed"},
		{"never proved", all, nil, 220, c, -1, "unproved: no snapshot has been proved"},
		{"proved too long ago", []catalog.Snapshot{a, b}, []catalog.Proof{proof(b, 70, quick, catalog.Sound)}, 124, b, 100, ""},
		{"an old one proved now", all, []catalog.Proof{proof(a, 219, quick, catalog.Sound)}, 220, c, 100, "unproved: the database was last proved to restore as it was 120h ago, and 48h is allowed"},
		{"one that is gone proved now", []catalog.Snapshot{b, c}, []catalog.Proof{proof(a, 219, quick, catalog.Sound)}, 220, c, -1, "missing: 2 of 2 snapshots, the last of them " + c.Name.String() + ", rest on one that is gone; unproved: "},
		{"a hole", []catalog.Snapshot{a, c}, []catalog.Proof{proof(a, 219, quick, catalog.Sound)}, 220, c, 200, "missing: 1 of 2 snapshots, the last of them " + c.Name.String()},
		{"damaged in the store", all, []catalog.Proof{proof(b, 199, quick, catalog.Sound), proof(c, 201, pages, catalog.Damaged)}, 220, c, 199, "damaged: the newest snapshot was found damaged in the store at 2023-11-23 07:13:20 UTC"},
		{"damaged when pushed", all, []catalog.Proof{proof(b, 199, quick, catalog.Sound), proof(c, 200, full, catalog.Damaged), proof(c, 201, quick, catalog.Sound)}, 220, c, 199, "damaged: SQLite found the newest snapshot damaged"},
		{"damaged and then not", all, []catalog.Proof{proof(c, 200, quick, catalog.Damaged), proof(c, 201, full, catalog.Sound)}, 220, c, 201, ""},
		{"unmet", all, []catalog.Proof{proof(b, 199, quick, catalog.Sound), proof(c, 201, quick, catalog.Unmet)}, 220, c, 199, "unmet: the newest snapshot did not hold"},
		{"an older one was damaged when pushed", all, []catalog.Proof{proof(b, 100, full, catalog.Damaged), proof(c, 201, quick, catalog.Sound)}, 220, c, 201, ""},
		{"what it rests on is damaged", all, []catalog.Proof{proof(a, 202, pages, catalog.Damaged), proof(c, 201, quick, catalog.Sound)}, 220, c, 201, "damaged: " + a.Name.String() + ", which the newest snapshot rests on, was found damaged"},
		{"but the newest restored since", all, []catalog.Proof{proof(a, 202, pages, catalog.Damaged), proof(c, 203, quick, catalog.Sound)}, 220, c, 203, ""},
		{"this host pushed a newer one", all[:2], []catalog.Proof{proof(b, 110, quick, catalog.Sound)}, 120, c, 110, "missing: this host pushed " + c.Name.String() + ", and the newest that is there is " + b.Name.String()},
		{"this host pushed an older one", all, []catalog.Proof{proof(c, 201, quick, catalog.Sound)}, 220, a, 201, ""},
		{"a clock was ahead", all, []catalog.Proof{proof(c, 8760, quick, catalog.Sound)}, 220, c, -1, "clock ahead: a check of " + c.Name.String() + " is said to be of 2024-11-13 22:13:20 UTC, which is to come: that something was good then is not believed; unproved: "},
		{"a clock was ahead, and it was damaged since", all, []catalog.Proof{proof(c, 210, pages, catalog.Damaged), proof(c, 8760, quick, catalog.Sound)}, 220, c, -1, "damaged: the newest snapshot was found damaged in the store at 2023-11-23 16:13:20 UTC; clock ahead: "},
		{"it was damaged by a clock that was ahead", all, []catalog.Proof{proof(c, 210, quick, catalog.Sound), proof(c, 8760, pages, catalog.Damaged)}, 220, c, -1, "damaged: the newest snapshot was found damaged in the store at 2024-11-13 22:13:20 UTC; clock ahead: "},
		{"a clock was a little ahead", all, []catalog.Proof{proof(c, 220.05, quick, catalog.Sound)}, 220, c, 220, ""},
		{"the newest is to come", all, []catalog.Proof{proof(c, 150, quick, catalog.Sound)}, 150, c, 150, "clock ahead: the newest snapshot is said to be of 2023-11-23 06:13:20 UTC, which is to come: how old it is cannot be told"},
		{"nothing is left but what this host knows", nil, nil, 220, c, -1, "missing: none of its snapshots is there, and this host pushed " + c.Name.String()},
		{"nothing is left but a proof", nil, []catalog.Proof{proof(c, 201, quick, catalog.Sound)}, 220, catalog.Snapshot{}, -1, "missing: there are proofs"},
	} {
		d := survey.Database{Name: "app.db", Snapshots: x.snapshots, Proofs: x.proofs}
		s := d.Status(hour(x.at).UTC(), limits, x.pushed.Name)
		if got := problems(s); (got == "") != (x.want == "") || !strings.HasPrefix(got, x.want) {
			t.Errorf("%s: got %q, want %q", x.name, got, x.want)
		}
		switch {
		case x.proved < 0 && !s.Proved.IsZero(), x.proved >= 0 && !s.Proved.Equal(hour(x.proved).UTC()):
			t.Errorf("%s: proved up to %v, want hour %v", x.name, s.Proved, x.proved)
		}
	}
	d := survey.Database{Name: "app.db", Snapshots: all, Proofs: []catalog.Proof{proof(b, 100, full, catalog.Damaged)}}
	s := d.Status(hour(220).UTC(), survey.Limits{}, format.Name{})
	if s.Stored != 1110 || s.Growth != 110 || s.Chain != 3 || s.Snapshots != 3 || s.Damaged != 1 || len(s.Problems) > 0 || s.Size != -1 {
		t.Errorf("got %+v", s)
	}
}

// TestSample samples a few databases.
func TestSample(t *testing.T) {
	a1, a2 := snap("a", 1, 0, 100, 0), snap("a", 2, 10, 10, 1)
	b1, b2 := snap("b", 1, 0, 50, 0), snap("b", 2, 10, 50, 0)
	c := snap("c", 1, 0, 1000, 0)
	later := c
	later.Kind = format.Unknown
	for _, x := range []struct {
		name   string
		proofs []catalog.Proof // of a and b
		budget int64
		want   string

		tooLarge int
	}{
		{"nothing was checked", nil, 1_000_000, "a2 b2 c1 a1 b1", 0},
		{"a little", nil, 120, "a2", 1},
		{"what fits beside it", nil, 160, "a2 b2", 1},
		{"a was checked", []catalog.Proof{proof(a2, 11, 0, catalog.Sound)}, 160, "b2 a2", 1},
		{"b was checked longer ago", []catalog.Proof{proof(a2, 12, 0, catalog.Damaged), proof(b2, 11, 0, catalog.Sound)}, 160, "b2 a2", 1},
		{"only an old one of a was checked", []catalog.Proof{proof(a1, 100, 0, catalog.Sound), proof(b2, 11, 0, catalog.Sound)}, 160, "a2 b2", 1},
		{"all were checked", []catalog.Proof{proof(a1, 15, 0, catalog.Sound), proof(a2, 14, 0, catalog.Sound), proof(b1, 12, 0, catalog.Sound), proof(b2, 13, 0, catalog.Sound)}, 220, "b2 a2 b1", 1},
		{"of one that is gone", []catalog.Proof{proof(snap("a", 9, 5, 1, 0), 100, 0, catalog.Sound), proof(b2, 11, 0, catalog.Sound)}, 110, "a2", 1},
		{"nothing fits", nil, 49, "", 3},
	} {
		databases := []survey.Database{
			{Name: "a", Snapshots: []catalog.Snapshot{a1, a2}}, {Name: "b", Snapshots: []catalog.Snapshot{b1, b2}}, {Name: "c", Snapshots: []catalog.Snapshot{c, later}}, {Name: "d"},
		}
		for _, p := range x.proofs {
			i := slices.IndexFunc(databases, func(d survey.Database) bool { return d.Name == p.Database })
			databases[i].Proofs = append(databases[i].Proofs, p)
		}
		chosen, tooLarge := survey.Sample(databases, x.budget, hour(1000).UTC(), nil)
		var got []string
		for _, s := range chosen {
			got = append(got, fmt.Sprintf("%s%d", s.Database, s.Name.ID))
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%s: got %q, want %q", x.name, got, x.want)
		}
		if tooLarge != x.tooLarge {
			t.Errorf("%s: %d are too large, want %d", x.name, tooLarge, x.tooLarge)
		}
	}
}

// TestSampleRotates takes samples night after night while databases go on. Each stays within the budget,
// every newest snapshot is proved within the nights that this takes, and every snapshot once there is budget left.
func TestSampleRotates(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const databases = 40
	all := make([]survey.Database, databases)
	for i := range all {
		all[i].Name = fmt.Sprintf("db%02d", i)
	}
	push := func(d *survey.Database, at float64) {
		parent := 0
		if n := len(d.Snapshots); n > 0 {
			parent = int(d.Snapshots[n-1].Name.ID)
		}
		size := int64(100)
		if parent%5 == 0 {
			parent, size = 0, 300
		}
		d.Snapshots = append(d.Snapshots, snap(d.Name, len(d.Snapshots)+1, at, size, parent))
	}
	for night := 0; night < 60; night++ {
		at, budget := float64(24*night), int64(4000)
		if night >= 30 {
			budget = 40_000 // more than all the newest need
		}
		for i := range all {
			if night < 20 && (night == 0 || rng.IntN(3) == 0) {
				push(&all[i], at)
			}
		}
		chosen, tooLarge := survey.Sample(all, budget, hour(at).UTC(), nil)
		if tooLarge > 0 {
			t.Fatalf("night %d: %d are too large", night, tooLarge)
		}
		var sum int64
		for _, s := range chosen {
			i := slices.IndexFunc(all, func(d survey.Database) bool { return d.Name == s.Database })
			for id := s.Name.ID; id > 0; {
				link := all[i].Snapshots[id-1]
				sum += link.Object.Size
				id = link.Parent
			}
			all[i].Proofs = append(all[i].Proofs, proof(s, at+1, catalog.LevelQuick, catalog.Sound))
			slices.SortFunc(all[i].Proofs, func(a, b catalog.Proof) int {
				if c := a.Snapshot.Compare(b.Snapshot); c != 0 {
					return c
				}
				return a.Check.Compare(b.Check)
			})
		}
		if sum > budget {
			t.Fatalf("night %d: the sample needs %d bytes", night, sum)
		}
		if night == 0 {
			continue
		}
		for _, d := range all {
			// At most 700 bytes a database, so at least five a night: after eight it was everybody's turn.
			s := d.Status(hour(at+2).UTC(), survey.Limits{MaxUnverified: 10 * 24 * time.Hour}, format.Name{})
			if night > 10 && len(s.Problems) > 0 {
				t.Fatalf("night %d: %s: %s", night, d.Name, problems(s))
			}
		}
	}
	for _, d := range all {
		if standing := catalog.Standing(d.Proofs); len(standing) != len(d.Snapshots) {
			t.Errorf("%s: %d of %d snapshots were proved", d.Name, len(standing), len(d.Snapshots))
		}
	}
}

// TestSampleOfWhatFails samples beside what a drill fails at without recording anything: it must not take the budget from
// the others night after night.
func TestSampleOfWhatFails(t *testing.T) {
	holed, locked, sound := survey.Database{Name: "holed"}, survey.Database{Name: "locked"}, survey.Database{Name: "sound"}
	for i := range 50 {
		holed.Snapshots = append(holed.Snapshots, snap("holed", 100+i, 1000+float64(i), 100, 9999))
		locked.Snapshots = append(locked.Snapshots, snap("locked", 100+i, 1000+float64(i), 100, 0))
	}
	for i := range 20 {
		sound.Snapshots = append(sound.Snapshots, snap("sound", 1+i, float64(i), 100, 0))
	}
	opens := func(s catalog.Snapshot) bool { return s.Database != "locked" }
	checked, failed := map[format.Name]bool{}, 0
	for night := range 4 {
		at := 2000 + 24*float64(night)
		chosen, _ := survey.Sample([]survey.Database{holed, locked, sound}, 1000, hour(at).UTC(), opens)
		for _, s := range chosen {
			if s.Database != "sound" {
				failed++
				continue
			}
			checked[s.Name] = true
			sound.Proofs = append(sound.Proofs, proof(s, at, catalog.LevelQuick, catalog.Sound))
		}
	}
	if len(checked) != 20 {
		t.Errorf("in four nights %d of 20 snapshots that could be restored were checked", len(checked))
	}
	chosen, _ := survey.Sample([]survey.Database{holed, locked, sound}, 3000, hour(3000).UTC(), opens)
	if len(chosen) != 30 || chosen[0].Database != "sound" || chosen[20].Database == "sound" || failed > 0 {
		t.Errorf("%d are chosen, the first of %s and the 21st of %s, and %d failed before", len(chosen), chosen[0].Database, chosen[20].Database, failed)
	}
}

// TestStoreOfMany lists a store with many databases: one listing of all, one of the proofs, one read each.
func TestStoreOfMany(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	const databases = 50
	for i := range databases {
		name := fmt.Sprintf("tenants/%d/app.db", i)
		for range 2 {
			opts := upload.Options{Database: name, Full: true, EvenUnchanged: true, Source: format.Source{Host: "h", Path: name}}
			r, err := uploadtest.Push(t.Context(), st, opts, 512, memimage.Text(1, 512, i+1), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := catalog.RecordProof(t.Context(), st, &catalog.Proof{Database: name, Snapshot: r.Snapshot.Name, Outcome: catalog.Sound}, catalog.ProofDetail{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := catalog.RecordProof(t.Context(), st, &catalog.Proof{Database: "gone.db", Snapshot: format.Name{Time: 1, ID: 1}, Outcome: catalog.Sound}, catalog.ProofDetail{}); err != nil {
		t.Fatal(err)
	}
	counted := storetest.Fault(st)
	all, err := survey.List(t.Context(), counted)
	if err != nil || len(all) != databases+1 {
		t.Fatalf("%d databases, %v", len(all), err)
	}
	if calls := counted.Calls(); len(calls) != 3 {
		t.Errorf("listing takes %v", calls)
	}
	var status []survey.Status
	for i := range all {
		status = append(status, all[i].Status(time.Now(), survey.Limits{MaxAge: time.Hour, MaxUnverified: time.Hour}, format.Name{}))
	}
	if err := survey.Measure(t.Context(), counted, nil, status); err != nil {
		t.Fatal(err)
	}
	if calls := counted.Calls(); len(calls) != 3+databases {
		t.Errorf("all takes %d calls", len(calls))
	}
	for _, s := range status {
		var n int
		if s.Database == "gone.db" {
			if problems(s) != "missing: there are proofs of its snapshots, and none of them is there" {
				t.Errorf("gone.db: %s", problems(s))
			}
			continue
		}
		if _, err := fmt.Sscanf(s.Database, "tenants/%d/app.db", &n); err != nil || s.Size != int64(512*(n+1)) || len(s.Problems) > 0 || s.Snapshots != 2 {
			t.Errorf("%+v", s)
		}
	}
	one, err := survey.Look(t.Context(), st, "tenants/7/app.db")
	if err != nil || len(one.Snapshots) != 2 || len(one.Proofs) != 2 {
		t.Errorf("one: %+v, %v", one, err)
	}
	if gone, err := survey.Look(t.Context(), st, "gone.db"); err != nil || len(gone.Proofs) != 1 {
		t.Errorf("gone: %+v, %v", gone, err)
	}
	if _, err := survey.Look(t.Context(), st, "never.db"); !errors.As(err, new(*catalog.NotFoundError)) {
		t.Errorf("never: %v", err)
	}
}

// TestHeldAndGone tells of what is held and not there.
func TestHeldAndGone(t *testing.T) {
	a, b := snap("app.db", 1, 0, 1000, 0), snap("app.db", 2, 1, 1000, 0)
	held := func(all ...catalog.Snapshot) []catalog.Hold {
		var holds []catalog.Hold
		for _, s := range all {
			holds = append(holds, catalog.Hold{Database: "app.db", Snapshot: s.Name}, catalog.Hold{Database: "app.db", Snapshot: s.Name})
		}
		return holds
	}
	for _, c := range []struct {
		there []catalog.Snapshot
		held  []catalog.Hold
		want  string
	}{
		{[]catalog.Snapshot{a, b}, held(a), ""},
		{[]catalog.Snapshot{b}, held(a, b), "missing: the snapshot " + a.Name.String() + " is held, and gone"},
		{nil, held(a, b), "missing: 2 snapshots that are held, the last of them " + b.Name.String() + ", are gone"},
	} {
		d := survey.Database{Name: "app.db", Snapshots: c.there, Holds: c.held}
		if got := problems(d.Status(hour(2).UTC(), survey.Limits{}, format.Name{})); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestFaults lets each call fail: nothing less than all may be taken for all.
func TestFaults(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	opts := upload.Options{Database: "app.db", Source: format.Source{Host: "h", Path: "p"}}
	r, err := uploadtest.Push(t.Context(), st, opts, 512, memimage.Text(1, 512, 9), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for what, do := range map[string]func(store.Store) error{
		"list": func(st store.Store) error { _, err := survey.List(t.Context(), st); return err },
		"look": func(st store.Store) error { _, err := survey.Look(t.Context(), st, "app.db"); return err },
		"measure": func(st store.Store) error {
			return survey.Measure(t.Context(), st, nil, []survey.Status{{Newest: &r.Snapshot}})
		},
	} {
		storetest.FailEach(t, st, what, do)
	}
}
