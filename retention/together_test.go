package retention_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
)

// TestTogether runs two prunes with different policies beside each other, and beside pushes, a watch, a restore and
// a hold. They call the store one at a time, and chance decides who is next, and who is killed at which call.
//
// After every call each snapshot that nobody has announced, that a push has claimed or that is held has all that it
// rests on; and some whole one is as new as what was there and was claimed. In the end the next prune finishes, and all
// that is listed can be restored.
func TestTogether(t *testing.T) {
	n := 100
	if race.Enabled || testing.Short() {
		n = 20
	}
	h := newHistory(t)
	base := newVersions()
	dir := h.copyTo(t)
	for o, err := range dir.List(t.Context(), store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(dir.String() + "/" + o.Key)
		if err != nil {
			t.Fatal(err)
		}
		base.put(o.Key, text, false)
	}
	temp := storetest.FastDir(t)
	met := map[string]int{}
	missing := func() bool {
		return slices.ContainsFunc([]string{"kills", "deleted", "pushed", "watched", "replaced", "restored", "restored anew", "held", "held too late"},
			func(what string) bool { return met[what] == 0 })
	}
	first, seeds := seed.New(t), uint64(0)
	// More if something that has to be met, some of which is rare, was not met yet.
	for ; seeds < uint64(n) || seeds < uint64(20*n) && missing(); seeds++ {
		synctest.Test(t, func(t *testing.T) {
			newStage(t, h, base, temp, first+seeds, met).run()
			if t.Failed() {
				t.Logf("the seed is %d", first+seeds)
			}
		})
	}
	t.Logf("%d seeds: %v", seeds, met)
	if missing() {
		t.Error("not all that there is to meet was met")
	}
}

// policies are those of which each two prunes have two.
var policies = []retention.Policy{{Last: 1}, {Last: 4}, {Hourly: 2}, {Daily: 1}, dailyTwo, {Last: 2, Daily: 3}}

// A stage is a store and those who call it.
type stage struct {
	t    *testing.T
	h    *history
	st   *versions
	temp string
	rnd  *rand.Rand
	met  map[string]int

	mu      sync.Mutex
	waiting []*call
	playing int // actors that have not ended
	coming  []func(*actor) error

	images    map[format.Name][]byte // of what was there and was claimed
	broken    retention.Names        // may be: it was replaced
	announced retention.Names        // ever
	held      retention.Names
	newest    format.Name
}

// A call is one that an actor is about to make.
type call struct {
	actor *actor
	what  string
	turn  chan bool // gets whether it is to be made
}

// An actor calls the store when it is its turn.
type actor struct {
	*stage
	n    int
	left int // calls until it is killed; negative is never
	luck int // what it does otherwise than others

	speed int
}

var errKilled = errors.New("killed")

func newStage(t *testing.T, h *history, base *versions, temp string, seed uint64, met map[string]int) *stage {
	s := &stage{
		t: t, h: h, st: newVersions(), temp: temp, rnd: rand.New(rand.NewPCG(seed, 0)), met: met,
		images: maps.Clone(h.images), broken: retention.Names{}, announced: retention.Names{}, held: retention.Names{},
		newest: h.names[len(h.names)-1],
	}
	s.st.keys = maps.Clone(base.keys)
	for _, i := range []int{1, 10} {
		s.held[h.names[i]] = true
	}
	s.noteAnnounced()
	return s
}

// run lets actors play, ends what they left, and looks at what there is.
func (s *stage) run() {
	two := s.rnd.Perm(len(policies))[:2]
	if !slices.Contains(two, 0) && s.rnd.IntN(2) == 0 {
		two[1] = 0 // what keeps the least meets the others the most
	}
	for _, i := range two {
		s.coming = append(s.coming, func(a *actor) error { return a.prune(policies[i]) })
	}
	for _, act := range []func(*actor) error{(*actor).push, (*actor).push, (*actor).watch, (*actor).restore, (*actor).hold} {
		if s.rnd.IntN(3) > 0 {
			s.coming = append(s.coming, act)
		}
	}
	s.rnd.Shuffle(len(s.coming), func(i, j int) { s.coming[i], s.coming[j] = s.coming[j], s.coming[i] })
	s.direct()
	if s.t.Failed() {
		return
	}
	last, err := retention.Prune(s.t.Context(), s.st, "app.db", policies[two[0]], retention.PruneOptions{})
	if err != nil {
		s.t.Fatalf("the next prune: %v", err)
	}
	for n := range last.Gone {
		s.announced[n] = true
	}
	s.check("the next prune")
	if left, err := catalog.Announcements(s.t.Context(), s.st, "app.db"); err != nil {
		s.t.Error(err)
	} else if len(left) > 0 {
		s.checkLeft(left)
	}
	s.restoreAll()
}

// play starts an actor, which may be killed.
func (s *stage) play(act func(*actor) error) {
	a := &actor{stage: s, n: len(s.coming), left: -1, luck: s.rnd.Int(), speed: s.speed()}
	if s.rnd.IntN(3) == 0 {
		a.left = s.rnd.IntN(25)
	}
	s.playing++
	go func() {
		err := act(a)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.playing--
		if err != nil && !errors.Is(err, errKilled) {
			s.t.Error(err)
		}
	}()
}

// direct gives one call after the other its turn until all have ended.
func (s *stage) direct() {
	for {
		if len(s.coming) > 0 && (s.playing == 0 || s.rnd.IntN(8) == 0) {
			s.play(s.coming[0])
			s.coming = s.coming[1:]
		}
		synctest.Wait()
		s.mu.Lock()
		if s.playing == 0 {
			s.mu.Unlock()
			if len(s.coming) > 0 {
				continue
			}
			return
		}
		slices.SortStableFunc(s.waiting, func(a, b *call) int { return cmp.Or(a.actor.n-b.actor.n, strings.Compare(a.what, b.what)) })
		i := s.choose()
		c := s.waiting[i]
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.mu.Unlock()
		if c.actor.left == 0 {
			s.met["kills"]++
			c.actor.left--
			s.kill(c)
			continue
		}
		c.actor.left--
		s.met["calls"]++
		c.turn <- true
		synctest.Wait()
		if strings.HasPrefix(c.what, "create") {
			s.noteAnnounced()
		}
		if !strings.HasPrefix(c.what, "open") && !strings.HasPrefix(c.what, "list") {
			s.check(c.what)
		}
	}
}

// choose chooses one of those that wait. Some actors are much faster than others, for a while.
func (s *stage) choose() int {
	if s.rnd.IntN(6) == 0 {
		s.waiting[s.rnd.IntN(len(s.waiting))].actor.speed = s.speed()
	}
	sum := 0
	for _, c := range s.waiting {
		sum += c.actor.speed
	}
	sum = s.rnd.IntN(sum)
	return slices.IndexFunc(s.waiting, func(c *call) bool {
		sum -= c.actor.speed
		return sum < 0
	})
}

func (s *stage) speed() int { return 1 + 99*s.rnd.IntN(2) }

// kill lets an actor make no call any more.
func (s *stage) kill(c *call) {
	dead := c.actor
	for c != nil {
		c.turn <- false
		synctest.Wait()
		s.mu.Lock()
		c = nil
		for i, next := range s.waiting {
			if next.actor == dead {
				c, s.waiting = next, slices.Delete(s.waiting, i, i+1)
				break
			}
		}
		s.mu.Unlock()
	}
}

func (s *stage) noteAnnounced() {
	announced, err := catalog.Announced(s.t.Context(), s.st, "app.db")
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.announced, announced)
}

// check checks what has to be so after every call.
func (s *stage) check(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, newest := s.whole()
	for n := range s.images {
		if !whole[n] && (!s.announced[n] || s.held[n]) {
			s.t.Errorf("after %s: %v is lost, or something that it rests on", what, n)
		}
	}
	if newest.Compare(s.newest) < 0 {
		s.t.Errorf("after %s: the newest whole one is %v, and there was %v", what, newest, s.newest)
	}
}

// whole returns the snapshots that are there with all that they rest on, and the newest of them.
func (s *stage) whole() (whole retention.Names, newest format.Name) {
	all, err := catalog.List(s.t.Context(), s.st, "app.db")
	if err != nil {
		s.t.Error(err)
	}
	whole = retention.Names{}
	ids := map[format.ID]bool{}
	for _, snap := range all {
		if snap.HasParent && !ids[snap.Parent] {
			continue
		}
		ids[snap.Name.ID], whole[snap.Name] = true, true
		newest = snap.Name
	}
	return whole, newest
}

// checkLeft checks that the announcements that are left are of what cannot go.
func (s *stage) checkLeft(left []catalog.Announcement) {
	survey, err := retention.Look(s.t.Context(), s.st, "app.db")
	if err != nil {
		s.t.Error(err)
		return
	}
	if rounds := survey.Deletable(nil); len(rounds) > 0 {
		s.t.Errorf("the next prune left %v, of announced %v", rounds, left)
	}
}

// restoreAll restores what is listed. What no push claimed, or what was replaced, may rest on what is gone.
func (s *stage) restoreAll() {
	all, err := catalog.List(s.t.Context(), s.st, "app.db")
	if err != nil {
		s.t.Error(err)
	}
	for _, snap := range all {
		var out bytes.Buffer
		_, err := restore.Stream(s.t.Context(), s.st, snap, &out, restore.Options{TempDir: s.temp, Concurrency: 1})
		image, claimed := s.images[snap.Name]
		switch {
		case errors.As(err, new(*chain.HoleError)) && (!claimed || s.broken[snap.Name]):
		case err != nil:
			s.t.Errorf("%v: %v", snap.Key, err)
		case claimed && !bytes.Equal(out.Bytes(), image):
			s.t.Errorf("%v is not what was pushed", snap.Key)
		}
	}
}

// count counts what was met.
func (a *actor) count(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.met[what]++
}

func (a *actor) prune(policy retention.Policy) error {
	now := a.h.names[len(a.h.names)-1].Time.UTC().Add(time.Hour)
	_, err := retention.Prune(a.t.Context(), a, "app.db", policy, retention.PruneOptions{
		Options: retention.Options{Deleted: func(catalog.Snapshot) { a.count("deleted") }}, Now: func() time.Time { return now },
	})
	return err
}

// next returns what an actor pushes, and when: others do so in the same minutes.
func (a *actor) next(i int) ([]byte, time.Time) {
	last := a.h.names[len(a.h.names)-1]
	data := bytes.Clone(a.h.images[last])
	copy(data[(20+4*a.n+i)*512:], memimage.Text(uint64(1000*a.n+i), 512, 1))
	return data, last.Time.UTC().Add(time.Duration(a.n)*time.Second + time.Duration(i)*time.Minute)
}

// claim notes what a push claims.
func (a *actor) claim(r *upload.Result, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := r.Snapshot.Name
	a.images[n] = data
	if n.Compare(a.newest) > 0 {
		a.newest = n
	}
	if old := r.Index.Replaces; !old.IsZero() {
		a.broken[old] = true
		a.met["replaced"]++
	}
}

func (a *actor) push() error {
	data, at := a.next(0)
	r, err := push(a.t.Context(), a, upload.Options{TempDir: a.temp, Full: a.luck%2 == 0}, data, at)
	if err != nil {
		return err
	}
	a.claim(r, data)
	a.count("pushed")
	return nil
}

// watch pushes three times, as watch does: it relies on what it has confirmed.
func (a *actor) watch() error {
	m, err := state.New(a.temp)
	if err != nil {
		return err
	}
	defer m.Close()
	opts := upload.Options{TempDir: a.temp, Memory: m}
	for i := range 3 {
		data, at := a.next(i)
		r, err := push(a.t.Context(), a, opts, data, at)
		// A prune may have come to its end between the creation of this one and the look, and have deleted the one before.
		if lost, ok := errors.AsType[*upload.LostError](err); ok && r != nil && a.pruned(lost.Key) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		a.claim(r, data)
		a.count("watched")
		opts.Confirmed = &r.Snapshot
	}
	return nil
}

// pruned reports whether the snapshot with a key was announced to be deleted.
func (a *actor) pruned(base string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := format.ParseKey("app.db/" + base)
	return ok && a.announced[k.Name]
}

// restore restores what was the newest at some time. It may be deleted meanwhile: then the one before is.
func (a *actor) restore() error {
	tries, at := 0, a.h.names[a.luck%len(a.h.names)].Time
	find := func() (catalog.Snapshot, error) {
		tries++
		found, err := catalog.Find(a.t.Context(), a, "app.db", at)
		if err != nil {
			return catalog.Snapshot{}, err
		}
		return found[0], nil
	}
	do := func(snap catalog.Snapshot) error {
		var out bytes.Buffer
		_, err := restore.Stream(a.t.Context(), a, snap, &out, restore.Options{TempDir: a.temp, Concurrency: 1})
		a.mu.Lock()
		defer a.mu.Unlock()
		if image, known := a.images[snap.Name]; err == nil && known && !bytes.Equal(out.Bytes(), image) {
			return fmt.Errorf("%v was restored as something else", snap.Name)
		}
		return err
	}
	err := restore.Anew(find, do, nil)
	if errors.As(err, new(*catalog.NotFoundError)) {
		return nil // all that were as old are deleted
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	a.count("restored")
	if tries > 1 {
		a.count("restored anew")
	}
	return nil
}

// hold holds one of the snapshots that were there.
func (a *actor) hold() error {
	n := a.h.names[a.luck%len(a.h.names)]
	err := retention.Hold(a.t.Context(), a, "app.db", n)
	if errors.As(err, new(*retention.GoingError)) || errors.As(err, new(*catalog.NotFoundError)) {
		a.count("held too late")
		return nil
	}
	if err != nil {
		return err
	}
	a.count("held")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stage.held[n] = true
	return nil
}

// turn waits until a call is to be made.
func (a *actor) turn(op, key string) error {
	c := &call{a, op + " " + key, make(chan bool)}
	a.mu.Lock()
	a.waiting = append(a.waiting, c)
	a.mu.Unlock()
	if !<-c.turn {
		return errKilled
	}
	return nil
}

func (a *actor) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	text, err := io.ReadAll(body)
	if err == nil {
		err = a.turn("create", key)
	}
	if err != nil {
		return store.Object{}, err
	}
	return a.st.Create(ctx, key, bytes.NewReader(text), most)
}

func (a *actor) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	if err := a.turn("open", o.Key); err != nil {
		return nil, err
	}
	return a.st.Open(ctx, o, off, n)
}

func (a *actor) List(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		if err := a.turn("list", q.Prefix); err != nil {
			yield(store.Object{}, err)
			return
		}
		a.st.List(ctx, q)(yield)
	}
}

func (a *actor) Delete(ctx context.Context, key string) error {
	if err := a.turn("delete", key); err != nil {
		return err
	}
	return a.st.Delete(ctx, key)
}

func (a *actor) Skew(ctx context.Context) (time.Duration, error) { return 0, ctx.Err() }
