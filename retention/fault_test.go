package retention_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// A history is a store with snapshots of three days, some of them held, proved or announced, which
// tests copy.
type history struct {
	dir    string
	images map[format.Name][]byte
	names  []format.Name // oldest first
}

func newHistory(t *testing.T) *history {
	t.Helper()
	h := &history{dir: storetest.FastDir(t), images: map[format.Name][]byte{}}
	st := storetest.OpenDir(t, h.dir)
	m, err := state.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	data := memimage.Text(1, 512, 60)
	day := time.Date(2026, 11, 18, 0, 0, 0, 0, time.UTC)
	for i, at := range []time.Duration{
		7 * time.Hour, 7*time.Hour + time.Second, 9 * time.Hour, 10 * time.Hour, 11 * time.Hour, 11*time.Hour + time.Second,
		32 * time.Hour, 32*time.Hour + 5*time.Minute, 32*time.Hour + 5*time.Minute + time.Second, 32*time.Hour + 5*time.Minute + 2*time.Second, 47 * time.Hour,
		50 * time.Hour, 50*time.Hour + time.Minute, 50*time.Hour + time.Minute + time.Second,
	} {
		data = bytes.Clone(data)
		copy(data[i*512:], memimage.Text(uint64(100+i), 512, 2))
		r := pushAt(t, st, m, data, day.Add(at))
		h.images[r.Snapshot.Name], h.names = data, append(h.names, r.Snapshot.Name)
	}
	ctx := t.Context()
	for _, i := range []int{1, 10} {
		if err := retention.Hold(ctx, st, "app.db", h.names[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, o := range map[int]catalog.Outcome{0: catalog.Sound, 2: catalog.Sound, 5: catalog.Damaged, 8: catalog.Damaged} {
		if err := catalog.RecordProof(ctx, st, &catalog.Proof{Database: "app.db", Snapshot: h.names[i], Level: catalog.LevelFull, Outcome: o}, catalog.ProofDetail{}); err != nil {
			t.Fatal(err)
		}
	}
	// Somebody has begun to delete one.
	n := format.Name{Time: format.TimeOf(day), ID: 1}
	if err := catalog.Announce(ctx, st, "app.db", n, h.names[8:9]); err != nil {
		t.Fatal(err)
	}
	return h
}

// dailyTwo keeps the first of each of two days, and of the history above also the newest, the newest
// proved, what is held, and all that these rest on.
var dailyTwo = retention.Policy{Daily: 2}

func (h *history) kept() []format.Name {
	var kept []format.Name
	for _, i := range []int{0, 1, 2, 6, 10, 11, 12, 13} {
		kept = append(kept, h.names[i])
	}
	return kept
}

func pushAt(t testing.TB, st store.Store, m *state.Memory, data []byte, at time.Time) *upload.Result {
	t.Helper()
	r, err := push(t.Context(), st, upload.Options{Memory: m, TempDir: t.TempDir()}, data, at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// push pushes data, said to be taken at a time. Damage of another snapshot is an error, with the result.
func push(ctx context.Context, st store.Store, opts upload.Options, data []byte, at time.Time) (*upload.Result, error) {
	opts.Database, opts.Source, opts.Now = "app.db", format.Source{Host: "here", Path: "/app.db"}, func() time.Time { return at }
	r, err := uploadtest.Push(ctx, st, opts, 512, data, at)
	if err == nil {
		err = r.Damage
	}
	return r, err
}

// copyTo makes a store that holds the history.
func (h *history) copyTo(t testing.TB) *store.Dir {
	t.Helper()
	dir := storetest.FastDir(t)
	if err := os.CopyFS(dir, os.DirFS(h.dir)); err != nil {
		t.Fatal(err)
	}
	return storetest.OpenDir(t, dir)
}

// check restores what must be there, and whatever else is listed and not announced.
func (h *history) check(t *testing.T, st store.Store, must []format.Name) {
	t.Helper()
	all, err := catalog.List(t.Context(), st, "app.db")
	if err != nil {
		t.Fatal(err)
	}
	announced, err := catalog.Announced(t.Context(), st, "app.db")
	if err != nil {
		t.Fatal(err)
	}
	found := map[format.Name]bool{}
	for _, s := range all {
		found[s.Name] = true
		if announced[s.Name] && !slices.Contains(must, s.Name) {
			continue
		}
		var out bytes.Buffer
		if _, err := restore.Stream(t.Context(), st, s, &out, restore.Options{TempDir: os.TempDir()}); err != nil {
			t.Errorf("%v: %v", s.Name, err)
		} else if !bytes.Equal(out.Bytes(), h.images[s.Name]) {
			t.Errorf("%v is not what was pushed", s.Name)
		}
	}
	for _, n := range must {
		if !found[n] {
			t.Errorf("%v is gone", n)
		}
	}
}

// checkPruned checks that a prune has come to its end.
func (h *history) checkPruned(t *testing.T, st store.Store) {
	t.Helper()
	s, err := retention.Look(t.Context(), st, "app.db")
	if err != nil {
		t.Fatal(err)
	}
	var left []format.Name
	for _, snap := range s.Snapshots {
		left = append(left, snap.Name)
	}
	if !slices.Equal(left, h.kept()) {
		t.Errorf("left are %v, want %v", left, h.kept())
	}
	announced, err := catalog.Announcements(t.Context(), st, "app.db")
	if err != nil || len(announced) > 0 {
		t.Errorf("announced are still %v, %v", announced, err)
	}
	if !s.Held(h.names[1]) || !s.Held(h.names[10]) {
		t.Error("a hold is gone")
	}
	if got := slices.Collect(maps.Keys(s.Standing)); len(got) != 2 {
		t.Errorf("there are proofs of %v", got)
	}
}

// TestPruneFaults lets every call of the store go wrong in every way during a prune, and prunes again.
func TestPruneFaults(t *testing.T) {
	h := newHistory(t)
	for _, how := range storetest.Hows {
		t.Run(how.String(), func(t *testing.T) {
			for n := 1; ; n++ {
				hit := false
				st, now := h.copyTo(t), time.Now()
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(time.Until(now)) // here it is the year 2000, and the proofs would be of a time to come
					hit = h.pruneWith(t, st, fmt.Sprint("call ", n), storetest.Step{Call: n, How: how})
				})
				if !hit {
					if n < 20 {
						t.Errorf("a prune makes only %d calls", n-1)
					}
					return
				}
			}
		})
	}
}

// TestPruneStops stops a prune at every call of the store, before and after it took effect, as if
// the process were killed, and prunes again.
func TestPruneStops(t *testing.T) {
	h := newHistory(t)
	for _, how := range []storetest.How{storetest.Before, storetest.After} {
		for n := 1; ; n++ {
			plan := []storetest.Step{{Call: n, How: how}}
			for i := range 100 {
				plan = append(plan, storetest.Step{Call: n + 1 + i, How: storetest.Before})
			}
			if !h.pruneWith(t, h.copyTo(t), fmt.Sprintf("call %d, %v", n, how), plan...) {
				break
			}
		}
	}
}

// pruneWith prunes while the plan lets calls go wrong, and then once more. It reports whether there were
// such calls.
func (h *history) pruneWith(t *testing.T, st store.Store, what string, plan ...storetest.Step) bool {
	s := storetest.Fault(st, plan...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opts := retention.PruneOptions{Options: retention.Options{Concurrency: 1}}
	_, err := retention.Prune(ctx, s, "app.db", dailyTwo, opts)
	hit := s.Hit() > 0
	if hit == (err == nil) {
		t.Errorf("%s: a fault: %v, the prune: %v", what, hit, err)
	}
	s.Plan()
	h.check(t, s, h.kept())
	if _, err := retention.Prune(t.Context(), s, "app.db", dailyTwo, opts); err != nil {
		t.Errorf("%s: the next prune: %v", what, err)
	}
	h.checkPruned(t, s)
	s.Check(t)
	if t.Failed() {
		t.Fatalf("%s: see above", what)
	}
	return hit
}

// TestHoldFaults lets every call of the store go wrong while a snapshot is held. If success is claimed it
// is held, and else it is not, unless the store is as broken as it was.
func TestHoldFaults(t *testing.T) {
	h := newHistory(t)
	for _, how := range []storetest.How{storetest.Before, storetest.After, storetest.Cut} {
		for n := 1; ; n++ {
			s := storetest.Fault(h.copyTo(t), storetest.Step{Call: n, How: how})
			err := retention.Hold(t.Context(), s, "app.db", h.names[4])
			hit := s.Hit() > 0
			s.Plan()
			survey, lerr := retention.Look(t.Context(), s, "app.db")
			if lerr != nil {
				t.Fatal(lerr)
			}
			if held := survey.Held(h.names[4]); held != (err == nil) || !hit && !held {
				t.Errorf("call %d, %v: held: %v, %v", n, how, held, err)
			}
			if !hit {
				break
			}
		}
	}
}

// TestHold holds what is there, what is about to go, what rests on that, and what is gone.
func TestHold(t *testing.T) {
	h := newHistory(t)
	ctx, st := t.Context(), h.copyTo(t)
	if err := retention.Hold(ctx, st, "app.db", h.names[3]); err != nil {
		t.Fatal(err)
	}
	going, ok := errors.AsType[*retention.GoingError](retention.Hold(ctx, st, "app.db", h.names[8]))
	if !ok || going.Gone || going.Going != h.names[8] {
		t.Errorf("an announced one: %+v", going)
	}
	n := format.Name{Time: 1, ID: 1}
	if err := catalog.Announce(ctx, st, "app.db", n, h.names[:1]); err != nil {
		t.Fatal(err)
	}
	going, ok = errors.AsType[*retention.GoingError](retention.Hold(ctx, st, "app.db", h.names[13]))
	if !ok || going.Gone || going.Going != h.names[0] || going.Snapshot != h.names[13] {
		t.Errorf("one that rests on an announced one: %+v", going)
	}
	if err := st.Delete(ctx, format.FullKey("app.db", h.names[0]).String()); err != nil {
		t.Fatal(err)
	}
	going, ok = errors.AsType[*retention.GoingError](retention.Hold(ctx, st, "app.db", h.names[13]))
	if !ok || !going.Gone || going.Going.ID != h.names[0].ID {
		t.Errorf("one that rests on nothing: %+v", going)
	}
	if err := retention.Hold(ctx, st, "app.db", h.names[0]); !errors.As(err, new(*catalog.NotFoundError)) {
		t.Errorf("one that is gone: %v", err)
	}
	s, err := retention.Look(ctx, st, "app.db")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range h.names {
		if got, want := s.Held(name), i == 1 || i == 3 || i == 10; got != want {
			t.Errorf("%d is held: %v", i, got)
		}
	}
	if n, err := retention.Unhold(ctx, st, "app.db", h.names[3]); n != 1 || err != nil {
		t.Errorf("%d holds removed, %v", n, err)
	}
}

// A denier lets nothing be deleted.
type denier struct{ store.Store }

func (denier) Delete(_ context.Context, key string) error {
	return fmt.Errorf("delete %s: %w", key, store.ErrDenied)
}

// TestAnnounceOnce prunes again and again with keys that may create and not delete: every push reads what is announced.
func TestAnnounceOnce(t *testing.T) {
	st := newHistory(t).copyTo(t)
	pruned := func() []catalog.Announcement {
		t.Helper()
		if _, err := retention.Prune(t.Context(), denier{st}, "app.db", retention.Policy{Last: 1}, retention.PruneOptions{}); !errors.Is(err, store.ErrDenied) {
			t.Fatal(err)
		}
		all, err := catalog.Announcements(t.Context(), st, "app.db")
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	once := pruned()
	for range 3 {
		if again := pruned(); len(again) != len(once) {
			t.Errorf("%d announcements, and after another prune %d", len(once), len(again))
		}
	}
	if _, err := retention.Prune(t.Context(), st, "app.db", retention.Policy{Last: 1}, retention.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if all, err := catalog.Announcements(t.Context(), st, "app.db"); err != nil || len(all) > 0 {
		t.Errorf("in the end %d are announced, %v", len(all), err)
	}
}
