package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	agelib "filippo.io/age"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// A history is what happens to one name in a store: sqlite3 shells run random SQL on databases of a random
// schema, under a clock that jumps, and after each step a snapshot is pushed. SQLite's own backup says what
// each of them has to hold. Between that, states are lost and damaged, snapshots are proved, deleted, pruned and held, and a second
// database, which began as a copy of the first, is pushed to the same name, at times in the middle of the
// first one's push. Calls of the store fail, and whatever made them is killed, and done again. From some step on snapshots may be
// encrypted.
type history struct {
	*chances
	t     *testing.T
	dir   string
	sound store.Store
	fault *storetest.Faulty // of sound
	st    *midwayStore      // of fault, with what happens in the middle
	now   time.Time
	sites []*site
	turn  int  // whose
	dense bool // the clock goes on slowly, so that chains become long
	forks int  // at which step there is a second one; none at a step that does not come
	seals int  // from which step on snapshots are encrypted

	key        *agelib.X25519Identity
	identities *seal.Identities // of the key
	full       bool             // the next push has to store a full
	recipients *seal.Recipients // nil while nothing is encrypted

	kept    map[format.Name]*keptSnapshot // what is listed
	held    map[format.Name]bool
	deleted map[string]bool // the last parts of keys
}

// A keptSnapshot is what a snapshot has to hold, and which site it is of.
type keptSnapshot struct {
	image []byte
	site  *site
	base  string // the last part of its key
	// sure is that a push has claimed it. Others are of pushes that failed or stored another snapshot instead at once,
	// and may have lost what they rest on.
	sure bool
}

// chances are what histories have in common: where what is random comes from, and how often what happened.
type chances struct {
	rnd          *rand.Rand
	steps        *deck[sqlStep]
	ticks        *deck[tick]
	disturbances *deck[disturbance]
	counts       map[string]int
}

func newChances(rnd *rand.Rand) *chances {
	c := &chances{
		rnd: rnd, steps: newSQLSteps(rnd), ticks: &deck[tick]{rnd: rnd}, disturbances: &deck[disturbance]{rnd: rnd},
		counts: map[string]int{},
	}
	for _, t := range ticks {
		c.ticks.add(t.times, t.tick)
	}
	for _, d := range disturbances {
		c.disturbances.add(d.times, d.do)
	}
	return c
}

func (c *chances) count(what string) { c.counts[what]++ }

// A site is a database, whoever writes to it, and what is remembered of it.
type site struct {
	*sqlWriter
	name  string
	state string
	watch *watched // nil if it is pushed by push
	last  []byte   // what it held at the last push
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

func (m *midwayStore) String() string { return "the store" }

func newHistory(t *testing.T, c *chances, st store.Store) *history {
	key, err := agelib.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	fault := storetest.Fault(st)
	h := &history{
		chances: c, t: t, dir: storetest.FastDir(t), sound: st, fault: fault, st: &midwayStore{Store: fault},
		now:   time.Date(2026, 11, 22, 23, c.rnd.IntN(60), 0, 0, time.UTC),
		forks: math.MaxInt, seals: math.MaxInt,
		key: key, identities: seal.NewIdentities(key),
		kept: map[format.Name]*keptSnapshot{}, held: map[format.Name]bool{}, deleted: map[string]bool{},
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
	w := newSQLWriter(h.t, h.rnd, h.steps, filepath.Join(dir, "app.db"))
	return &site{sqlWriter: w, name: name, state: filepath.Join(dir, "state")}
}

// run takes a number of steps, and restores all that is there then.
func (h *history) run(steps int) {
	for i := range steps {
		if i == h.forks {
			h.fork()
		}
		if i == h.seals {
			h.encrypt()
		}
		s := h.sites[h.turn%len(h.sites)]
		if h.rnd.IntN(15) == 0 {
			h.turn++ // the other's turn, if there is one
		}
		s.change()
		for _, kind := range s.ran {
			h.count(kind)
		}
		h.tick()
		if do := h.disturbances.deal(); do != nil {
			do(h, s)
		}
		h.push(s)
		if h.rnd.IntN(4) == 0 {
			if n, ok := h.pick(); ok {
				h.restore(n)
			}
		}
	}
	h.fault.Check(h.t)
	h.check()
}

// encrypt lets all pushes encrypt from now on.
func (h *history) encrypt() {
	for _, s := range h.sites {
		h.stopWatch(s)
	}
	var err error
	if h.recipients, err = seal.NewRecipients(h.key.Recipient()); err != nil {
		h.t.Fatal(err)
	}
}

// A tick lets up to a time pass.
type tick struct {
	most  time.Duration
	dense time.Duration // the same in a history that is dense
}

var ticks = []struct {
	times int
	tick
}{
	{10, tick{5 * time.Second, 5 * time.Second}},
	{15, tick{100 * time.Second, 20 * time.Second}},
	{10, tick{20 * time.Minute, 5 * time.Second}},
	{2, tick{5 * time.Hour, 20 * time.Minute}},
	{1, tick{50 * time.Hour, 50 * time.Hour}},
	{2, tick{-time.Hour, -time.Hour}},
}

// tick lets time pass, sometimes much, and sometimes backwards.
func (h *history) tick() {
	t, before := h.ticks.deal(), h.now
	most := t.most
	if h.dense {
		most = t.dense
	}
	h.now = h.now.Add(most / time.Duration(1<<20) * time.Duration(1+h.rnd.Int64N(1<<20)))
	if h.now.Before(before) {
		h.count("jumps back")
		return
	}
	for unit, what := range map[time.Duration]string{time.Minute: "a minute", time.Hour: "an hour", 24 * time.Hour: "a day"} {
		if !h.now.Truncate(unit).Equal(before.Truncate(unit)) {
			h.count("crossings into " + what)
		}
	}
}

// A disturbance is what is not supposed to hurt, before a site is pushed.
type disturbance = func(*history, *site)

var disturbances = []struct {
	times int
	do    disturbance
}{
	{32, nil},
	{3, (*history).spoil},
	{1, (*history).loseState},
	{4, (*history).startWatch},
	{3, (*history).stopWatch},
	{2, (*history).pushOtherMidway},
	{3, func(h *history, _ *site) { h.delete() }},
	{2, func(h *history, _ *site) { h.deleteNewest() }},
	{2, func(h *history, _ *site) { h.midway("deletions in the middle of a push", h.delete) }},
	{4, func(h *history, _ *site) { h.midway("deletions in the middle of a push", h.deleteNewest) }},
	{2, func(h *history, _ *site) { h.prune() }},
	{2, func(h *history, _ *site) { h.midway("prunes in the middle of a push", h.prune) }},
	{3, func(h *history, _ *site) { h.hold() }},
	{1, func(h *history, _ *site) { h.unhold() }},
	{3, func(h *history, _ *site) { h.prove() }},
	{4, func(h *history, s *site) { h.failPush(s, failed) }},
	{2, func(h *history, s *site) { h.failPush(s, killed) }},
	{2, func(h *history, _ *site) { h.fail("deletions", failed, h.someCall(20), nil, h.tryDelete) }},
	{2, func(h *history, _ *site) { h.fail("deletions", failed, aDeletion, nil, h.tryDelete) }},
	{2, func(h *history, _ *site) { h.fail("deletions", killed, h.someCall(20), nil, h.tryDelete) }},
	{2, func(h *history, _ *site) { h.fail("prunes", failed, h.someCall(20), nil, h.tryPrune) }},
	{2, func(h *history, _ *site) { h.fail("prunes", killed, h.someCall(20), nil, h.tryPrune) }},
	{2, func(h *history, _ *site) { h.fail("holds", failed, h.someCall(5), nil, h.tryHold) }},
	{2, func(h *history, _ *site) { h.fail("proofs", failed, h.someCall(4), nil, h.tryProve) }},
}

// fork begins a second database as a copy of the first.
func (h *history) fork() {
	h.count("forks")
	first, second := h.sites[0], h.newSite("second")
	if err := os.WriteFile(second.path, first.backup(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	second.schema = first.schema.clone()
	h.sites = append(h.sites, second)
}

// midway lets something happen in the middle of the next push.
func (h *history) midway(what string, do func()) {
	h.st.midway = func() { h.count(what); do() }
}

// pushOtherMidway lets the other site be pushed in the middle of the next push, which stores something.
func (h *history) pushOtherMidway(s *site) {
	for _, other := range h.sites {
		if other != s {
			h.stopWatch(s)
			h.full = true
			h.midway("pushes in the middle of another", func() { h.pushOnce(other, true) })
		}
	}
}

// loseState loses all that is remembered of a site, as with a new host.
func (h *history) loseState(s *site) {
	h.stopWatch(s)
	h.count("lost states")
	if err := os.RemoveAll(s.state); err != nil {
		h.t.Fatal(err)
	}
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

// restore restores one snapshot and compares it with what it has to hold, with an older or newer copy to take
// pages from or without.
func (h *history) restore(n format.Name) {
	snap, err := catalog.Get(h.t.Context(), h.sound, "app.db", n)
	if err != nil {
		h.t.Fatal(err)
	}
	opts := h.restoring()
	if h.rnd.IntN(3) == 0 {
		opts.Reuse = filepath.Join(h.dir, "copy")
		other, _ := h.pick()
		if err := os.WriteFile(opts.Reuse, h.kept[other].image, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	var out bytes.Buffer
	r, err := restore.Stream(h.t.Context(), h.sound, snap, &out, opts)
	if err != nil {
		h.t.Fatalf("restore %v: %v", snap.Key, err)
	}
	h.compare(snap.Key.String(), out.Bytes(), h.kept[n].image)
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

// check restores all that is listed, in random order. What no push has claimed may have lost what it rests on.
func (h *history) check() {
	all := h.list()
	h.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	there := 0
	for _, s := range all {
		k := h.kept[s.Name]
		switch {
		case k == nil:
			h.t.Errorf("%v is listed, and nobody has stored it", s.Key)
			continue
		case k.sure:
			there++
			h.restore(s.Name)
			h.count("snapshots restored in the end")
			continue
		}
		var out bytes.Buffer
		if _, err := restore.Stream(h.t.Context(), h.sound, s, &out, h.restoring()); err == nil {
			h.compare(s.Key.String(), out.Bytes(), k.image)
		} else if !errors.As(err, new(*chain.HoleError)) {
			h.t.Error(err)
		}
	}
	if sure := len(h.sure()); there != sure {
		h.t.Errorf("%d snapshots are listed of %d", there, sure)
	}
}

// list lists what there is.
func (h *history) list() []catalog.Snapshot {
	h.t.Helper()
	all, err := catalog.List(h.t.Context(), h.sound, "app.db")
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		h.t.Fatal(err)
	}
	return all
}

// restoring returns how snapshots are restored.
func (h *history) restoring() restore.Options {
	return restore.Options{TempDir: h.dir, Identities: h.identities}
}

// sure returns the names of what there must be, in their order.
func (h *history) sure() (names []format.Name) {
	for _, n := range slices.SortedFunc(maps.Keys(h.kept), format.Name.Compare) {
		if h.kept[n].sure {
			names = append(names, n)
		}
	}
	return names
}

// pick returns one of the snapshots that there must be, if there is any.
func (h *history) pick() (format.Name, bool) {
	names := h.sure()
	if len(names) == 0 {
		return format.Name{}, false
	}
	return names[h.rnd.IntN(len(names))], true
}

// met is what a run has to have met, and how often at least.
var met = map[string]int{
	"pages came": 10, "pages went": 5, "other page sizes": 1, "pages freed by incremental_vacuum": 2,
	"pushes in WAL mode": 20, "pushes beside an emptied journal": 2, "pushes beside a journal that stays": 2, "pushes without a journal": 20,
	"crossings into a minute": 50, "crossings into an hour": 10, "crossings into a day": 3, "jumps back": 5,

	"fulls": 10, "deltas": 50, "unchanged": 20, "deltas on an earlier one": 20, "encrypted snapshots": 20, "pushes that can only encrypt": 5,
	"stateless pushes": 10, "lost states": 2, "damaged memories": 4, "pushes by watch": 20,
	"forks": 2, "refusals": 1, "pushes in the middle of another": 1, "replacements": 1,

	"deleted snapshots": 20, "deletions in the middle of a push": 2, "prunes": 5, "pruned snapshots": 10,
	"prunes in the middle of a push": 2, "holds": 3, "proofs": 3, "proved snapshots that a prune spared": 1,

	"pushes that failed": 3, "pushes that were killed": 2, "deletions that failed": 2, "deletions that were killed": 2,
	"prunes that failed": 2, "prunes that were killed": 2, "holds that failed": 1, "proofs that failed": 1,
	"snapshots that nobody claimed": 2, "deletions without an answer": 1,

	"snapshots restored in the end": 20, "longest chain": 3,
}

// histories runs some, each on a fresh store, and expects that they met all there is to meet.
func histories(t *testing.T, open func(t *testing.T) store.Store, n, steps int) {
	c := newChances(seed.Rand(t))
	for i := range n {
		h := newHistory(t, c, open(t))
		h.dense = i%2 == 0
		if i%3 == 0 {
			h.forks = c.rnd.IntN(steps / 3)
		}
		if i%4 > 1 {
			h.seals = c.rnd.IntN(steps / 3)
		}
		h.run(steps)
	}
	t.Logf("%d steps: %v", n*steps, c.counts)
	if testing.Short() || race.Enabled {
		return // too few steps for all there is
	}
	for _, s := range sqlSteps {
		if c.counts[s.kind] == 0 {
			t.Errorf("%s: none in %d steps", s.kind, n*steps)
		}
	}
	if n*steps >= 1000 && c.counts["losses noticed"] == 0 { // in fewer there may be none
		t.Errorf("no loss was noticed in %d steps", n*steps)
	}
	for what, least := range met {
		if c.counts[what] < least {
			t.Errorf("%s: %d in %d steps, want %d", what, c.counts[what], n*steps, least)
		}
	}
}

// TestHistory runs histories on directories.
func TestHistory(t *testing.T) {
	t.Parallel()
	n := 14
	if testing.Short() || race.Enabled {
		n = 3
	}
	histories(t, func(t *testing.T) store.Store {
		d := storetest.OpenDir(t, storetest.FastDir(t))
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
