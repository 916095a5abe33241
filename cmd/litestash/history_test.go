package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
)

// A history is what happens to one name in a store: sqlite3 shells run random SQL on databases of a random
// schema, under a clock that jumps, and after each step a snapshot is pushed. SQLite's own backup says what
// each of them has to hold. Between that, states are lost and damaged, snapshots are deleted, pruned and held, and a second
// database, which began as a copy of the first, is pushed to the same name, at times in the middle of the
// first one's push.
type history struct {
	t     *testing.T
	rnd   *rand.Rand
	dir   string
	st    *midwayStore
	now   time.Time
	sites []*site
	turn  int  // whose
	forks bool // there will be a second
	dense bool // the clock goes on slowly, so that chains become long

	images   map[format.Name][]byte // what is listed has to hold
	sources  map[format.Name]*site
	replaced map[format.Name][]byte // what may be listed, and may have lost what it rests on
	held     map[format.Name]bool
	deleted  map[string]bool // the last parts of keys
	counts   map[string]int
}

// A site is a database, whoever writes to it, and what is remembered of it.
type site struct {
	*sqlWriter
	name  string
	state string
	watch *watched // nil if it is pushed by push
}

// A midwayStore calls midway, once, before it creates an object.
type midwayStore struct {
	store.Store
	midway func()
}

func (m *midwayStore) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	if do := m.midway; do != nil {
		m.midway = nil
		do()
	}
	return m.Store.Create(ctx, key, body, most)
}

func (m *midwayStore) String() string { return fmt.Sprint(m.Store) }

func newHistory(t *testing.T, rnd *rand.Rand, st store.Store) *history {
	h := &history{
		t: t, rnd: rnd, dir: storetest.FastDir(t), st: &midwayStore{Store: st},
		now:    time.Date(2026, 11, 22, 23, rnd.IntN(60), 0, 0, time.UTC),
		images: map[format.Name][]byte{}, sources: map[format.Name]*site{}, replaced: map[format.Name][]byte{},
		held:    map[format.Name]bool{},
		deleted: map[string]bool{}, counts: map[string]int{},
	}
	h.sites = []*site{h.newSite("first")}
	t.Cleanup(func() {
		for _, s := range h.sites {
			h.stopWatch(s)
		}
	})
	return h
}

func (h *history) newSite(name string) *site {
	dir := filepath.Join(h.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	return &site{sqlWriter: newSQLWriter(h.t, h.rnd, filepath.Join(dir, "app.db")), name: name, state: filepath.Join(dir, "state")}
}

// run takes a number of steps, and restores all that is there then.
func (h *history) run(steps int) {
	for range steps {
		s := h.sites[h.turn%len(h.sites)]
		if h.rnd.IntN(15) == 0 {
			h.turn++ // the other's turn, if there is one
		}
		s.change()
		h.tick()
		h.disturb(s)
		h.push(s)
		if h.rnd.IntN(4) == 0 && len(h.images) > 0 {
			h.restore(h.pick())
		}
	}
	h.check()
}

// tick lets time pass, sometimes much, and sometimes backwards.
func (h *history) tick() {
	below := func(n int, unit time.Duration) time.Duration {
		return time.Duration(h.rnd.Int64N(int64(n) * int64(unit)))
	}
	n := h.rnd.IntN(80)
	if h.dense && n >= 10 && n < 78 {
		n = h.rnd.IntN(60)
	}
	switch {
	case n < 20 || h.dense && n < 45:
		h.now = h.now.Add(below(5, time.Second))
	case n < 50:
		h.now = h.now.Add(below(100, time.Second))
	case n < 70:
		h.now = h.now.Add(below(20, time.Minute))
	case n < 74:
		h.now = h.now.Add(below(5, time.Hour))
	case n < 76:
		h.now = h.now.Add(below(50, time.Hour))
	default:
		h.now = h.now.Add(-below(1, time.Hour))
	}
}

// disturb does now and then what is not supposed to hurt.
func (h *history) disturb(s *site) {
	switch h.rnd.IntN(30) {
	case 0, 1:
		h.spoil(s)
	case 2, 3:
		h.delete()
	case 4, 5:
		h.startWatch(s)
	case 6, 7:
		h.stopWatch(s)
	case 8:
		if h.forks && len(h.sites) == 1 {
			h.fork(s)
		}
	case 9:
		if len(h.sites) == 2 {
			other := h.sites[0]
			if other == s {
				other = h.sites[1]
			}
			h.st.midway = func() { h.count("pushes in the middle of another"); h.pushOnce(other, true) }
		}
	case 10:
		h.st.midway = func() { h.count("deletions in the middle of a push"); h.delete() }
	case 11:
		h.prune()
	case 12:
		h.st.midway = func() { h.count("prunes in the middle of a push"); h.prune() }
	case 13:
		h.hold()
	case 14:
		h.unhold()
	}
}

// fork begins a second database as a copy of the first.
func (h *history) fork(s *site) {
	two := h.newSite("second")
	if err := os.WriteFile(two.path, s.backup(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	two.schema = s.schema.clone()
	h.sites = append(h.sites, two)
}

// spoil loses or damages a file of what is remembered.
func (h *history) spoil(s *site) {
	h.stopWatch(s)
	files, err := filepath.Glob(filepath.Join(s.state, "*"))
	if err != nil {
		h.t.Fatal(err)
	}
	if len(files) == 0 {
		return
	}
	h.count("damaged memories")
	name := files[h.rnd.IntN(len(files))]
	if h.rnd.IntN(3) == 0 {
		if err := os.Remove(name); err != nil {
			h.t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(name)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(b) > 0 && h.rnd.IntN(2) == 0 {
		b[h.rnd.IntN(len(b))] ^= 1 << h.rnd.IntN(8)
	} else {
		b = b[:h.rnd.IntN(len(b)+1)]
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// delete deletes some snapshots as delete does, on this host or on another one, which does not know what
// this one remembers.
func (h *history) delete() {
	all, err := catalog.List(h.t.Context(), h.st, "app.db")
	if errors.As(err, new(*catalog.NotFoundError)) {
		return
	}
	if err != nil {
		h.t.Fatal(err)
	}
	want := retention.Names{}
	for range 1 + h.rnd.IntN(8) {
		want[all[h.rnd.IntN(len(all))].Name] = true
	}
	if h.rnd.IntN(2) == 0 { // and all that rests on them
		ids := map[format.ID]bool{}
		for _, s := range all {
			if want[s.Name] || s.HasParent && ids[s.Parent] {
				ids[s.Name.ID], want[s.Name] = true, true
			}
		}
	}
	gone := map[string]bool{}
	if err := retention.Delete(h.t.Context(), h.st, "app.db", want, h.deletion(gone)); err != nil {
		h.t.Fatal(err)
	}
	h.forget(gone)
}

// deletion returns options that note in gone what is deleted.
func (h *history) deletion(gone map[string]bool) retention.Options {
	return retention.Options{Deleted: func(s catalog.Snapshot) {
		if h.held[s.Name] {
			h.t.Errorf("%v was held, and is deleted", s.Key)
		}
		gone[s.Base()], h.deleted[s.Base()] = true, true
		delete(h.images, s.Name)
		delete(h.replaced, s.Name)
		h.count("deleted snapshots")
	}}
}

// prune prunes by a random policy. What is kept, check will restore.
func (h *history) prune() {
	few := func() int { return max(0, h.rnd.IntN(8)-3) }
	policy := retention.Policy{Last: few(), Hourly: few(), Daily: few(), Weekly: few(), Within: time.Duration(few()) * time.Hour}
	gone := map[string]bool{}
	r, err := retention.Prune(h.t.Context(), h.st, "app.db", policy, retention.PruneOptions{
		Options: h.deletion(gone), Now: func() time.Time { return h.now },
	})
	if errors.Is(err, retention.ErrNoPolicy) || errors.As(err, new(*catalog.NotFoundError)) {
		return
	}
	if err != nil {
		h.t.Fatal(err)
	}
	for _, v := range r.Plan {
		if _, deleted := r.Gone[v.Snapshot.Name]; deleted && !v.Goes() {
			h.t.Errorf("%v is deleted, and the plan keeps it: %q", v.Snapshot.Key, v.Reasons)
		}
	}
	h.count("prunes")
	h.counts["pruned snapshots"] += len(gone)
	h.forget(gone)
}

// hold holds a snapshot, so that no deletion takes it.
func (h *history) hold() {
	if len(h.images) == 0 {
		return
	}
	n := h.pick()
	if err := retention.Hold(h.t.Context(), h.st, "app.db", n); err != nil {
		if !errors.As(err, new(*retention.GoingError)) {
			h.t.Fatal(err)
		}
		return // it is announced by a deletion that something keeps from its end
	}
	h.held[n] = true
	h.count("holds")
}

func (h *history) unhold() {
	for n := range h.held {
		if _, err := retention.Unhold(h.t.Context(), h.st, "app.db", n); err != nil {
			h.t.Fatal(err)
		}
		delete(h.held, n)
	}
}

// forget lets the hosts know what was deleted, or not.
func (h *history) forget(gone map[string]bool) {
	if h.rnd.IntN(2) > 0 {
		return
	}
	for _, s := range h.sites {
		if err := state.ForgetDeleted(s.state, h.st.String(), "app.db", gone); err != nil {
			h.t.Fatal(err)
		}
	}
}

// pusher returns what push makes of its flags.
func (h *history) pusher(s *site) pusher {
	p := &program{ui: ui.New(ui.Options{Out: io.Discard, Err: io.Discard, Quiet: true}), log: slog.New(slog.DiscardHandler), tempDir: h.dir, stateDir: s.state}
	now := func() time.Time { return h.now }
	return pusher{
		p: p, st: h.st, source: source{s.path, "app.db"},
		up: upload.Options{Source: format.Source{Host: s.name}, TempDir: h.dir, Now: now, FullEvery: 7 * 24 * time.Hour, Heartbeat: 24 * time.Hour},
		sn: snapshot.Options{TempDir: h.dir, Now: now},
	}
}

func (h *history) startWatch(s *site) {
	if s.watch == nil {
		s.watch = &watched{pusher: h.pusher(s), confirmEvery: time.Hour}
	}
}

func (h *history) stopWatch(s *site) {
	if s.watch != nil {
		s.watch.Close()
		s.watch = nil
	}
}

// push pushes a database, and takes the name over if it is another's.
func (h *history) push(s *site) {
	defer func() { h.st.midway = nil }() // nothing was created
	ours := h.owner() == nil || h.owner() == s
	if s.watch == nil || !ours && h.rnd.IntN(2) == 0 {
		h.stopWatch(s)
		h.pushOnce(s, false)
		return
	}
	truth := s.backup()
	_, err := s.watch.Push(h.t.Context())
	// A watch need not notice another source before it asks for all again, but may.
	if errors.As(err, new(*upload.SourceError)) && !ours {
		h.stopWatch(s)
		h.pushOnce(s, true)
		return
	}
	if err != nil {
		h.t.Fatalf("watch: %v", err)
	}
	h.count("pushes by watch")
	h.settle(s, *s.watch.up.Confirmed, truth)
}

// owner returns whose the newest snapshot is.
func (h *history) owner() *site {
	newest := format.Name{}
	for n := range h.sources {
		if h.listed(n) && n.Compare(newest) > 0 {
			newest = n
		}
	}
	return h.sources[newest]
}

func (h *history) listed(n format.Name) bool { return h.images[n] != nil || h.replaced[n] != nil }

// pushOnce is what push does. It has to refuse a name that is another's, and is told to adopt it then.
func (h *history) pushOnce(s *site, adopt bool) {
	u := h.pusher(s)
	u.up.Adopt = adopt
	u.up.Full, u.up.EvenUnchanged = h.rnd.IntN(100) == 0, h.rnd.IntN(50) == 0
	if h.rnd.IntN(8) == 0 {
		u.p.stateDir = "" // a container that keeps nothing
		h.count("stateless pushes")
	}
	refused := !adopt && h.owner() != nil && h.owner() != s
	truth := s.backup()
	if err := u.open(); err != nil {
		h.t.Fatal(err)
	}
	r, _, err := u.push(h.t.Context())
	u.Close()
	if refused {
		if !errors.As(err, new(*upload.SourceError)) || r != nil {
			h.t.Fatalf("the name is another's, and push says %v, %v", r, err)
		}
		h.count("refusals")
		h.pushOnce(s, true)
		return
	}
	if lost, ok := errors.AsType[*upload.LostError](err); ok && h.deleted[lost.Key] {
		h.count("losses noticed")
		err = nil
	}
	if errors.As(err, new(*upload.DecayError)) && len(h.replaced) > 0 {
		h.count("snapshots without a path noticed")
		err = nil
	}
	if r == nil || err != nil {
		h.t.Fatalf("push: %v, %v", r, err)
	}
	h.count("pushes")
	h.settle(s, r.Snapshot, truth)
}

// settle notes that a push claims snap to hold truth.
func (h *history) settle(s *site, snap catalog.Snapshot, truth []byte) {
	if is, known := h.images[snap.Name]; known {
		h.compare(fmt.Sprintf("%v of %s, which is said to hold %s unchanged,", snap.Name, h.sources[snap.Name].name, s.name), truth, is)
		h.count("unchanged")
		return
	}
	t, err := catalog.ReadTail(h.t.Context(), h.st, snap, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.images[snap.Name], h.sources[snap.Name] = truth, s
	h.count(snap.Kind.String() + "s")
	if n := t.Index.Replaces; !n.IsZero() {
		h.replaced[n], h.sources[n] = truth, s
		h.count("replacements")
	}
}

// restore restores one snapshot and compares it with what it has to hold, with an older or newer copy to take
// pages from or without.
func (h *history) restore(n format.Name) {
	snap, err := catalog.Get(h.t.Context(), h.st, "app.db", n)
	if err != nil {
		h.t.Fatal(err)
	}
	opts := restore.Options{TempDir: h.dir}
	if h.rnd.IntN(3) == 0 {
		opts.Reuse = filepath.Join(h.dir, "copy")
		if err := os.WriteFile(opts.Reuse, h.images[h.pick()], 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	var out bytes.Buffer
	r, err := restore.Stream(h.t.Context(), h.st, snap, &out, opts)
	if err != nil {
		h.t.Fatalf("restore %v: %v", snap.Key, err)
	}
	h.compare(snap.Key.String(), out.Bytes(), h.images[n])
	h.counts["longest chain"] = max(h.counts["longest chain"], r.Links)
}

// compare fails the test unless two images are the same but for where SQLite counts changes.
func (h *history) compare(what string, got, want []byte) {
	h.t.Helper()
	if got, want = uncounted(got), uncounted(want); bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	h.t.Fatalf("%s has %d bytes where SQLite's backup has %d, and differs from byte %d on", what, len(got), len(want), at)
}

// uncounted returns an image with zeros in the header fields of which the format makes nothing.
func uncounted(image []byte) []byte {
	image = bytes.Clone(image)
	for _, field := range [][2]int{{24, 28}, {40, 44}, {92, 100}} {
		if len(image) >= field[1] {
			clear(image[field[0]:field[1]])
		}
	}
	return image
}

// check restores all that is listed, in random order. A snapshot that was replaced by another at once may
// have lost what it rests on.
func (h *history) check() {
	all, err := catalog.List(h.t.Context(), h.st, "app.db")
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		h.t.Fatal(err)
	}
	h.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	there := 0
	for _, s := range all {
		if h.images[s.Name] != nil {
			there++
			h.restore(s.Name)
			continue
		}
		if h.replaced[s.Name] == nil {
			h.t.Errorf("%v is listed, and no push claimed it", s.Key)
		}
		var out bytes.Buffer
		if _, err := restore.Stream(h.t.Context(), h.st, s, &out, restore.Options{TempDir: h.dir}); err == nil {
			h.compare(s.Key.String(), out.Bytes(), h.replaced[s.Name])
		} else if !errors.As(err, new(*chain.HoleError)) {
			h.t.Error(err)
		}
	}
	if there != len(h.images) {
		h.t.Errorf("%d snapshots are listed of %d", there, len(h.images))
	}
}

func (h *history) count(what string) { h.counts[what]++ }

// pick returns one of the snapshots that there must be.
func (h *history) pick() format.Name {
	names := slices.SortedFunc(maps.Keys(h.images), format.Name.Compare)
	return names[h.rnd.IntN(len(names))]
}

// histories runs some, each on a fresh store, and expects that they met all there is to meet.
func histories(t *testing.T, open func(t *testing.T) store.Store, n, steps int) {
	seen := map[string]int{}
	rnd := newRand(t)
	for i := range n {
		h := newHistory(t, rnd, open(t))
		h.dense, h.forks = i%2 == 0, i%3 == 0
		h.run(steps)
		for what, n := range h.counts {
			if what == "longest chain" {
				seen[what] = max(seen[what], n)
				continue
			}
			seen[what] += n
		}
	}
	t.Logf("%d steps: %v", n*steps, seen)
	for _, what := range []string{
		"fulls", "deltas", "unchanged", "stateless pushes", "damaged memories", "pushes by watch", "deleted snapshots", "losses noticed",
		"refusals", "pushes in the middle of another", "deletions in the middle of a push", "replacements",
		"prunes", "pruned snapshots", "prunes in the middle of a push", "holds",
	} {
		if seen[what] == 0 && n*steps >= 1000 {
			t.Errorf("%s: none in %d steps", what, n*steps)
		}
	}
}

// TestHistory runs histories on directories.
func TestHistory(t *testing.T) {
	t.Parallel()
	n := 10
	if testing.Short() || race.Enabled {
		n = 3
	}
	histories(t, func(t *testing.T) store.Store {
		d, err := store.OpenDir(storetest.FastDir(t))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}, n, 150)
}

// TestHistoryOnS3 is the same on a server, over TLS.
func TestHistoryOnS3(t *testing.T) {
	n := 4
	if testing.Short() || race.Enabled {
		n = 1
	}
	s := newS3Server(t)
	histories(t, func(t *testing.T) store.Store {
		st, err := store.Open(t.Context(), freshPrefix(t, s.store()), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}, n, 100)
}
