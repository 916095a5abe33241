package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// TestKillChain kills commands at random moments while snapshots rest on others. What is listed then has to be what
// was committed at some instant, what was claimed has to be so, and what was to be kept has to be there; then another
// push has to store what is there, and the next command has to end what the killed one began.
func TestKillChain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kill func(*chainKiller)
		n    int
		all  [][]string // in one of each a kill has to have found the command
	}{
		{"push", (*chainKiller).killPush, kills(), [][]string{{"before"}, {"stored", "ended"}}},
		{"watch", (*chainKiller).killWatch, kills(), [][]string{{"before"}, {"stored"}}},
		{"delete", (*chainKiller).killDelete, kills(), [][]string{{"before"}, {"announced", "deleted"}}},
		{"delete all", (*chainKiller).killDeleteAll, kills() / 4, [][]string{{"before"}, {"announced", "deleted"}}},
		{"prune", (*chainKiller).killPrune, kills(), [][]string{{"before"}, {"announced", "deleted"}}},
		{"copy", (*chainKiller).killCopy, kills() / 4, [][]string{{"before"}, {"copied"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newChainKiller(t)
			// More if one of the states, some of which pass quickly, was not found yet.
			for k.found.kills() < c.n || k.found.kills() < 10*c.n && !k.foundAll(c.all) {
				c.kill(k)
			}
			t.Logf("%s when it was killed: %v", c.name, k.found)
			if !k.foundAll(c.all) {
				t.Errorf("the kills did not find it in each of the states %v", c.all)
			}
		})
	}
}

// A chainKiller has a database that changes a little between two pushes.
type chainKiller struct {
	*watchRig
	t        *testing.T
	rnd      *rand.Rand
	usual    time.Duration  // that a command takes
	rest     time.Duration  // that it takes once it has begun to change something
	known    map[string]sum // what snapshots hold that were restored
	instants map[sum]bool   // what the database held whenever something was committed
	now      sum            // what it holds
	found    outcomes
	changes  int
}

// A sum is a hash of an image.
type sum = [sha256.Size]byte

func newChainKiller(t *testing.T) *chainKiller {
	t.Helper()
	k := &chainKiller{watchRig: newWatchRig(t), t: t, rnd: seed.Rand(t), known: map[string]sum{}, instants: map[sum]bool{}, found: outcomes{}}
	sh(t, k.db, "PRAGMA journal_mode=WAL", fill("old", 1500))
	k.change()
	k.push()
	k.rest = 5 * time.Millisecond
	k.usual = durationOf(t, func() {
		k.change()
		if code, _ := startLite(t, append([]string{"push", k.db}, k.global()...)...).wait(t, time.Minute); code != 0 {
			t.Fatal("push fails when nobody kills it")
		}
	})
	return k
}

// foundAll reports whether a kill has found a command in one of each of some states.
func (k *chainKiller) foundAll(all [][]string) bool {
	return !slices.ContainsFunc(all, func(states []string) bool {
		return !slices.ContainsFunc(states, func(state string) bool { return k.found[state] > 0 })
	})
}

// change changes a few pages. Then the file is all that there is: it does not rely on the shell to be the last that
// closes it, since a process that another test starts just then has for a moment whatever this one had open.
func (k *chainKiller) change() {
	k.t.Helper()
	k.changes++
	done := sh(k.t, k.db, fmt.Sprintf("BEGIN; UPDATE noise SET bytes = randomblob(100) WHERE id BETWEEN %d AND %[1]d + 40; UPDATE words SET word = %d; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)",
		k.rnd.IntN(1400), k.changes))
	if strings.TrimSpace(done) != "0|0|0" {
		k.t.Fatalf("the WAL cannot be emptied: %s", done)
	}
	image, err := os.ReadFile(k.db)
	if err != nil {
		k.t.Fatal(err)
	}
	k.now = sha256.Sum256(uncounted(image))
	k.instants[k.now] = true
}

// push pushes and returns the new snapshot.
func (k *chainKiller) push() string {
	k.t.Helper()
	return strings.TrimSpace(mustLite(k.t, append([]string{"push", "-q", "--even-unchanged", k.db}, k.global()...)...))
}

// killed starts a command and kills it at a random moment: of all or, less often, of those after something has begun,
// since what it does then takes the least of its time.
func (k *chainKiller) killed(begun func() bool, args ...string) (p *process, code int, killed bool) {
	k.t.Helper()
	within := &k.usual
	start := time.Now()
	p = startLite(k.t, append(args, k.global()...)...)
	if k.rnd.IntN(4) == 0 {
		for !begun() && len(p.ended) == 0 {
			time.Sleep(100 * time.Microsecond) // leaves the processor to the command
		}
		within, start = &k.rest, time.Now()
	}
	code, killed = p.killAfter(k.t, time.Duration(k.rnd.Int64N(int64(*within))))
	if !killed {
		*within = (3**within + time.Since(start)) / 4 // hosts are busy for a while, and commands differ
	}
	return p, code, killed
}

// more returns what reports whether a directory holds more snapshots than it did.
func (k *chainKiller) more(dir string) func() bool {
	count := func() int {
		all, err := filepath.Glob(filepath.Join(dir, "app.db", "*.zst"))
		if err != nil {
			k.t.Fatal(err)
		}
		return len(all)
	}
	n := count()
	return func() bool { return count() > n }
}

// verify restores what is listed, and returns it. What was restored is read again only if something may have been
// deleted that it rests on.
func (k *chainKiller) verify(again bool) []string {
	k.t.Helper()
	var names []string
	for _, s := range k.listed(k.store) {
		name := s.Name.String()
		names = append(names, name)
		was, known := k.known[name]
		if known && !again {
			continue
		}
		k.known[name] = k.sumOf(k.store, s)
		if is := k.known[name]; !k.instants[is] || known && is != was {
			k.t.Fatalf("%s holds what was not committed at its instant", name)
		}
	}
	return names
}

// listed returns the snapshots in a store, which there may not be yet.
func (k *chainKiller) listed(dir string) []catalog.Snapshot {
	k.t.Helper()
	st, err := store.OpenDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		k.t.Fatal(err)
	}
	all, err := catalog.List(k.t.Context(), st, "app.db")
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) && !errors.Is(err, store.ErrNoBucket) {
		k.t.Fatal(err)
	}
	return all
}

// names returns the names of the snapshots that are listed.
func (k *chainKiller) names(dir string) (names []string) {
	k.t.Helper()
	for _, s := range k.listed(dir) {
		names = append(names, s.Name.String())
	}
	return names
}

// sumOf restores a snapshot and returns a hash of what it holds.
func (k *chainKiller) sumOf(dir string, s catalog.Snapshot) sum {
	k.t.Helper()
	st := storetest.OpenDir(k.t, dir)
	var image bytes.Buffer
	if _, err := restore.Stream(k.t.Context(), st, s, &image, restore.Options{TempDir: k.dir, Concurrency: 1}); err != nil {
		k.t.Fatalf("%v is listed and cannot be restored: %v", s.Name, err)
	}
	return sha256.Sum256(uncounted(image.Bytes()))
}

// mustKeep fails the test if any of the snapshots before is missing after, but for those that are doomed.
func (k *chainKiller) mustKeep(before, after, doomed []string) {
	k.t.Helper()
	for _, name := range before {
		if !slices.Contains(after, name) && !slices.Contains(doomed, name) {
			k.t.Fatalf("%s was to be kept, and is not among %q", name, after)
		}
	}
}

// heal pushes and checks that the newest snapshot is what the database holds.
func (k *chainKiller) heal() {
	k.t.Helper()
	before := k.names(k.store)
	name := k.push()
	names := k.verify(false)
	if names[len(names)-1] != name || k.known[name] != k.now {
		k.t.Fatalf("push stored %s, and the newest of %q is another, or holds something else", name, names)
	}
	k.mustKeep(before, names, nil)
	mustBeClean(k.t, k.dir)
	if k.rnd.IntN(10) == 0 { // or it would become long
		k.deleteAll()
	}
}

// deleteAll deletes all but a full that is stored for that.
func (k *chainKiller) deleteAll() {
	k.t.Helper()
	old := k.names(k.store)
	mustLite(k.t, append([]string{"push", "--full", k.db}, k.global()...)...)
	mustLite(k.t, append(append([]string{"delete", "app.db"}, old...), k.global()...)...)
}

// expect notes in which state a kill found a command that claims to have stored some snapshots.
func (k *chainKiller) expect(before, claims []string, p *process, killed bool) {
	k.t.Helper()
	after := k.verify(false)
	k.mustKeep(before, after, nil)
	for _, name := range claims {
		if !slices.Contains(after, name) {
			k.t.Fatalf("%q claimed %s, and %q are listed", p.Args, name, after)
		}
	}
	switch {
	case !killed:
		k.found["ended"]++
	case len(after) > len(before):
		k.found["stored"]++
	default:
		k.found["before"]++
	}
}

func (k *chainKiller) killPush() {
	k.change()
	before := k.names(k.store)
	p, code, killed := k.killed(k.more(k.store), "push", "-q", k.db)
	claims := strings.Fields(p.out.String())
	if !killed && (code != 0 || len(claims) != 1) {
		k.t.Fatalf("push exits with %d and claims %q: %s", code, claims, p.errs.String())
	}
	k.expect(before, claims, p, killed)
	k.heal()
}

func (k *chainKiller) killWatch() {
	k.change()
	before := k.names(k.store)
	p, _, killed := k.killed(k.more(k.store), "watch", k.db, "--every", "1s", "--json")
	if !killed {
		k.t.Fatalf("watch ended by itself: %s", p.errs.String())
	}
	var claims []string
	for line := range bytes.Lines(p.errs.Bytes()) {
		var record struct{ Msg, Snapshot string }
		if json.Unmarshal(line, &record) == nil && record.Msg == "snapshot stored" {
			claims = append(claims, record.Snapshot)
		}
	}
	k.expect(before, claims, p, true)
	k.heal()
}

// announced reports whether a snapshot is announced to be deleted. There may be announcements of others, of
// which all is gone: the next deletion withdraws them.
func (k *chainKiller) announced(name string) bool {
	k.t.Helper()
	files, err := filepath.Glob(filepath.Join(k.store, ".litestash", "announced", "app.db", "*.json"))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be withdrawn
			k.t.Fatal(err)
		}
		if strings.Contains(string(text), name) {
			return true
		}
	}
	return false
}

func (k *chainKiller) announces(name string) func() bool {
	return func() bool { return k.announced(name) }
}

// expectGone verifies what is left of the snapshots before, and notes in which state a kill found the deletion
// of those that are doomed.
func (k *chainKiller) expectGone(before, doomed []string, killed bool) (left []string, announced bool) {
	k.t.Helper()
	left = k.verify(true)
	k.mustKeep(before, left, doomed)
	announced = k.announced(doomed[0])
	gone := len(before) - len(left)
	switch {
	case !killed && gone != len(doomed):
		k.t.Fatalf("the deletion ended, and %d of %d are gone", gone, len(doomed))
	case !killed:
		k.found["ended"]++
	case gone > 0:
		k.found["deleted"]++
	case announced:
		k.found["announced"]++
	default:
		k.found["before"]++
	}
	return left, announced
}

// killDelete kills a deletion of snapshots with all that rests on them.
func (k *chainKiller) killDelete() {
	k.t.Helper()
	for len(k.names(k.store)) < 3 {
		k.change()
		k.push()
	}
	before := k.verify(false)
	doomed := before[1+k.rnd.IntN(len(before)-1):]
	p, code, killed := k.killed(k.announces(doomed[0]), append([]string{"delete", "app.db"}, doomed...)...)
	if !killed && code != 0 {
		k.t.Fatalf("delete exits with %d: %s", code, p.errs.String())
	}
	left, announced := k.expectGone(before, doomed, killed)
	for line := range strings.Lines(p.out.String()) {
		name := strings.TrimSuffix(strings.Fields(line)[1], ",")
		if slices.Contains(left, name) {
			k.t.Fatalf("delete claimed %s, and it is there", name)
		}
	}

	// A push in between misses none, builds on none that is about to go, and lets what is left of them go.
	k.change()
	k.heal()
	if !announced {
		return
	}
	// What the push stored first, if another one replaces it, rests on what is to go.
	names := k.names(k.store)
	pushed := names[len(names)-1]
	again := slices.DeleteFunc(names, func(name string) bool {
		return name == pushed || slices.Contains(before, name) && !slices.Contains(doomed, name)
	})
	if len(again) > 0 {
		mustLite(k.t, append(append([]string{"delete", "app.db"}, again...), k.global()...)...)
	}
	left = k.verify(true)
	if !slices.Contains(left, pushed) || slices.ContainsFunc(doomed, func(name string) bool { return slices.Contains(left, name) }) {
		k.t.Fatalf("%q were deleted, and %s pushed, and there are %q", doomed, pushed, left)
	}
}

// killPrune kills a prune, and lets another one end it after a push.
func (k *chainKiller) killPrune() {
	k.t.Helper()
	doomed := k.names(k.store)
	mustLite(k.t, append([]string{"push", "--full", k.db}, k.global()...)...)
	k.change()
	newest := k.push()
	before := k.verify(false)
	prune := append([]string{"prune", "app.db", "--keep-last", "1"}, k.global()...)
	p, code, killed := k.killed(k.announces(doomed[0]), prune[:4]...)
	if !killed && code != 0 {
		k.t.Fatalf("prune exits with %d: %s", code, p.errs.String())
	}
	if left, _ := k.expectGone(before, doomed, killed); !slices.Contains(left, newest) {
		k.t.Fatalf("%s was the newest, and %q are left", newest, left)
	}
	k.change()
	k.heal()
	mustLite(k.t, prune...)
	if left := k.verify(true); slices.ContainsFunc(doomed, func(name string) bool { return slices.Contains(left, name) }) {
		k.t.Fatalf("%q were to be pruned, and there are %q", doomed, left)
	}
}

// killDeleteAll kills a deletion of all that there is. A push in between misses none, and another deletion ends it.
func (k *chainKiller) killDeleteAll() {
	k.t.Helper()
	for len(k.names(k.store)) < 2 {
		k.change()
		k.push()
	}
	all := []string{"delete", "app.db", "--all-snapshots", "--confirm", "app.db"}
	before := k.verify(false)
	p, code, killed := k.killed(k.announces(before[0]), all...)
	if !killed && code != 0 {
		k.t.Fatalf("delete exits with %d: %s", code, p.errs.String())
	}
	k.expectGone(before, before, killed)
	if k.rnd.IntN(2) == 0 {
		k.change()
		k.heal()
	}
	// There may be nothing left to delete.
	if code, _, errs := lite(k.t, append(all, k.global()...)...); code != 0 && code != exitNotFound {
		k.t.Fatalf("delete after a kill exits with %d: %s", code, errs)
	}
	var left []string
	err := filepath.WalkDir(k.store, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(path, "app.db") {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		k.t.Fatalf("all was deleted, and there are %q, %v", left, err)
	}
}

// killCopy kills a copy to an empty store, and lets another one end it.
func (k *chainKiller) killCopy() {
	k.t.Helper()
	k.change()
	k.heal()
	to := filepath.Join(k.dir, "copy")
	copying := []string{"copy", "app.db", "--to", to}
	names := k.verify(false)
	p, code, killed := k.killed(k.more(to), copying...)
	if !killed && code != 0 {
		k.t.Fatalf("copy exits with %d: %s", code, p.errs.String())
	}
	copies := k.listed(to)
	for _, s := range copies {
		if is, known := k.known[s.Name.String()]; !known || k.sumOf(to, s) != is {
			k.t.Fatalf("the copy of %v is none", s.Name)
		}
	}
	switch {
	case !killed && len(copies) < len(names):
		k.t.Fatalf("the copy ended, and %d are there of %q", len(copies), names)
	case !killed:
		k.found["ended"]++
	case len(copies) > 0:
		k.found["copied"]++
	default:
		k.found["before"]++
	}
	mustLite(k.t, append(copying, k.global()...)...)
	k.mustKeep(names, k.names(to), nil)
	for _, s := range k.listed(to) {
		if k.sumOf(to, s) != k.known[s.Name.String()] {
			k.t.Fatalf("the copy of %v is none", s.Name)
		}
	}
	// What a kill leaves there goes when something is next stored, which may be nothing.
	if err := os.RemoveAll(to); err != nil {
		k.t.Fatal(err)
	}
	mustBeClean(k.t, k.dir)
}
