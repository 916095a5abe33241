package main

import (
	"bytes"
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
)

// TestKillChain kills push, watch, delete and prune at random moments while snapshots rest on others. What is listed
// then has to verify, and what was claimed has to be so; then another push has to store what is there, and a
// deletion has to end what another one began.
func TestKillChain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kill func(*chainKiller)
		all  [][]string // in one of each a kill has to have found the command
	}{
		{"push", (*chainKiller).killPush, [][]string{{"before"}, {"stored", "ended"}}},
		{"watch", (*chainKiller).killWatch, [][]string{{"before"}, {"stored"}}},
		{"delete", (*chainKiller).killDelete, [][]string{{"before"}, {"announced", "deleted"}}},
		{"prune", (*chainKiller).killPrune, [][]string{{"before"}, {"announced", "deleted"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newChainKiller(t)
			n := kills() * 7 / 20 // of 280 for all of them
			// More if one of the states, some of which pass quickly, was not found yet.
			for i := 0; i < n || i < 5*n && !k.foundAll(c.all); i++ {
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
	t       *testing.T
	rnd     *rand.Rand
	usual   time.Duration   // that a command takes
	rest    time.Duration   // that a deletion takes after its announcement
	known   map[string]bool // snapshots that verified and may still
	found   outcomes
	changes int
}

func newChainKiller(t *testing.T) *chainKiller {
	t.Helper()
	k := &chainKiller{watchRig: newWatchRig(t), t: t, rnd: newRand(t), known: map[string]bool{}, found: outcomes{}}
	sh(t, k.db, "PRAGMA journal_mode=WAL", fill("old", 5000))
	k.push()
	k.rest = 20 * time.Millisecond
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

// change changes a few pages.
func (k *chainKiller) change() {
	k.t.Helper()
	k.changes++
	sh(k.t, k.db, fmt.Sprintf("UPDATE noise SET bytes = randomblob(100) WHERE id BETWEEN %d AND %[1]d + 200; UPDATE words SET word = %d", k.rnd.IntN(4800), k.changes))
}

// push pushes and returns the new snapshot.
func (k *chainKiller) push() string {
	k.t.Helper()
	return strings.TrimSpace(mustLite(k.t, append([]string{"push", "-q", "--even-unchanged", k.db}, k.global()...)...))
}

// killed starts a command and kills it at a random moment.
func (k *chainKiller) killed(args ...string) (p *process, code int, killed bool) {
	k.t.Helper()
	start := time.Now()
	p = startLite(k.t, append(args, k.global()...)...)
	code, killed = p.killAfter(k.t, time.Duration(k.rnd.Int64N(int64(k.usual)*13/10)))
	if !killed {
		k.usual = (3*k.usual + time.Since(start)) / 4 // hosts are busy for a while, and commands differ
	}
	return p, code, killed
}

// killedLater starts a deletion and kills it at a random moment after it has announced that a snapshot is to go:
// what it does then takes it the least of its time.
func (k *chainKiller) killedLater(announced string, args ...string) (p *process, code int, killed bool) {
	k.t.Helper()
	p = startLite(k.t, append(args, k.global()...)...)
	for !k.announced(announced) && len(p.ended) == 0 {
		time.Sleep(100 * time.Microsecond)
	}
	start := time.Now()
	code, killed = p.killAfter(k.t, time.Duration(k.rnd.Int64N(int64(k.rest)*13/10)))
	if !killed {
		k.rest = (3*k.rest + time.Since(start)) / 4
	}
	return p, code, killed
}

// verify verifies what is listed and returns it. What was verified is not read again, unless something may have
// been deleted that it rests on.
func (k *chainKiller) verify(again bool) []string {
	k.t.Helper()
	names := snapshotsIn(k.t, k.store, "app.db")
	for _, name := range names {
		if again || !k.known[name] {
			mustLite(k.t, append([]string{"verify", "app.db", "--at", name, "--check", "none"}, k.global()...)...)
			k.known[name] = true
		}
	}
	return names
}

// heal pushes and checks that the newest snapshot is what the database holds.
func (k *chainKiller) heal() {
	k.t.Helper()
	name := k.push()
	if names := k.verify(false); names[len(names)-1] != name {
		k.t.Fatalf("push stored %s, and the newest of %q is another", name, names)
	}
	if got, want := k.restored(k.t, "SELECT word FROM words"), fmt.Sprint(k.changes); got != want {
		k.t.Fatalf("%s holds %q, want %s", name, got, want)
	}
	left, err := leftovers(k.dir)
	if err != nil {
		k.t.Fatal(err)
	}
	if len(left) > 0 {
		k.t.Fatalf("left behind: %q", left)
	}
	if k.rnd.IntN(10) == 0 { // or it would become long
		k.deleteAll()
	}
}

// deleteAll deletes all but a full that is stored for that.
func (k *chainKiller) deleteAll() {
	k.t.Helper()
	old := snapshotsIn(k.t, k.store, "app.db")
	mustLite(k.t, append([]string{"push", "--full", k.db}, k.global()...)...)
	mustLite(k.t, append(append([]string{"delete", "app.db"}, old...), k.global()...)...)
}

// expect notes in which state a kill found a command that claims to have stored some snapshots.
func (k *chainKiller) expect(before, claims []string, p *process, killed bool) {
	k.t.Helper()
	after := k.verify(false)
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
	before := snapshotsIn(k.t, k.store, "app.db")
	p, code, killed := k.killed("push", "-q", k.db)
	claims := strings.Fields(p.out.String())
	if !killed && (code != 0 || len(claims) != 1) {
		k.t.Fatalf("push exits with %d and claims %q: %s", code, claims, p.errs.String())
	}
	k.expect(before, claims, p, killed)
	k.heal()
}

func (k *chainKiller) killWatch() {
	k.change()
	before := snapshotsIn(k.t, k.store, "app.db")
	p, _, killed := k.killed("watch", k.db, "--every", "1s", "--json")
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

// killedDeletion kills a deletion at a random moment, of all or, as often, of those after its announcement.
func (k *chainKiller) killedDeletion(announced string, args ...string) (p *process, code int, killed bool) {
	k.t.Helper()
	if k.rnd.IntN(2) == 0 {
		return k.killed(args...)
	}
	return k.killedLater(announced, args...)
}

// expectGone verifies what is left of the snapshots before, and notes in which state a kill found the deletion
// of those that are doomed.
func (k *chainKiller) expectGone(before, doomed []string, killed bool) (left []string, announced bool) {
	k.t.Helper()
	left = k.verify(true)
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
	for range 2 {
		k.change()
		k.push()
	}
	before := k.verify(false)
	doomed := before[1+k.rnd.IntN(len(before)-1):]
	p, code, killed := k.killedDeletion(doomed[0], append([]string{"delete", "app.db"}, doomed...)...)
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
	pushed := k.push()
	if announced {
		// What the push stored first, if another one replaces it, rests on what is to go.
		again := slices.DeleteFunc(snapshotsIn(k.t, k.store, "app.db"), func(name string) bool {
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
	k.heal()
}

// prunable returns the snapshots that a prune to the newest one would delete.
func (k *chainKiller) prunable() (doomed []string) {
	k.t.Helper()
	var plan pruned
	out := mustLite(k.t, append([]string{"prune", "app.db", "--keep-last", "1", "--dry-run", "--json"}, k.global()...)...)
	if err := json.Unmarshal([]byte(out), &plan); err != nil {
		k.t.Fatalf("prune prints %q: %v", out, err)
	}
	for _, s := range plan.Snapshots {
		if s.Gone {
			doomed = append(doomed, s.Snapshot)
		}
	}
	return doomed
}

// killPrune kills a prune, and lets another one end it after a push.
func (k *chainKiller) killPrune() {
	k.t.Helper()
	mustLite(k.t, append([]string{"push", "--full", k.db}, k.global()...)...)
	k.change()
	newest := k.push()
	before, doomed := k.verify(false), k.prunable()
	p, code, killed := k.killedDeletion(doomed[0], "prune", "app.db", "--keep-last", "1")
	if !killed && code != 0 {
		k.t.Fatalf("prune exits with %d: %s", code, p.errs.String())
	}
	if left, _ := k.expectGone(before, doomed, killed); !slices.Contains(left, newest) {
		k.t.Fatalf("%s was the newest, and %q are left", newest, left)
	}
	k.change()
	pushed := k.push()
	mustLite(k.t, append([]string{"prune", "app.db", "--keep-last", "1"}, k.global()...)...)
	left := k.verify(true)
	if !slices.Contains(left, pushed) || slices.ContainsFunc(doomed, func(name string) bool { return slices.Contains(left, name) }) {
		k.t.Fatalf("%q were to be pruned, and %s pushed, and there are %q", doomed, pushed, left)
	}
	k.heal()
}
