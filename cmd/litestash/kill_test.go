package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/store/storetest"
)

// kills is how often a command is killed.
func kills() int {
	if testing.Short() || race.Enabled {
		return 20 // a process that is killed tells nothing of races
	}
	return 200
}

// outcomes counts in which state a kill found a command.
type outcomes map[string]int

// kills returns how many met a command that had not ended.
func (o outcomes) kills() int {
	n := 0
	for state, times := range o {
		if state != "ended" {
			n += times
		}
	}
	return n
}

func (o outcomes) String() string {
	var all []string
	for _, state := range slices.Sorted(maps.Keys(o)) {
		all = append(all, fmt.Sprintf("%s %d", state, o[state]))
	}
	return strings.Join(all, ", ")
}

// expect fails the test if a state was not found often enough: the kills missed it then.
func (o outcomes) expect(t *testing.T, least int, states ...string) {
	t.Helper()
	sum := 0
	for _, state := range states {
		sum += o[state]
	}
	if sum < least {
		t.Errorf("%d of the kills found the command at %s, want at least %d", sum, strings.Join(states, " or "), least)
	}
}

// TestKillPush kills push at random moments. Whatever is listed then has to verify, and the next
// push has to succeed and to tidy up.
func TestKillPush(t *testing.T) {
	t.Parallel()
	dir, rng := storetest.FastDir(t), seed.Rand(t)
	sources := filepath.Join(dir, "sources")
	if err := os.Mkdir(sources, 0o777); err != nil {
		t.Fatal(err)
	}
	dbs := []string{
		crashed(t, sources, "wal.db", "PRAGMA journal_mode=WAL; "+fill("old", 5000),
			"PRAGMA wal_autocheckpoint=0; INSERT INTO noise SELECT id+5000, bytes FROM noise"),
		filepath.Join(sources, "delete.db"),
	}
	sh(t, dbs[1], fill("old", 10000))
	before := sumsOf(t, sources)

	k := &pushKiller{
		store: filepath.Join(dir, "store"), temp: filepath.Join(dir, "temp"), state: filepath.Join(dir, "state"),
		known: map[string]bool{}, found: outcomes{},
	}
	if err := os.Mkdir(k.temp, 0o777); err != nil {
		t.Fatal(err)
	}
	k.usual = durationOf(t, func() {
		if code, _ := startLite(t, k.push(dbs[0], "--full")...).wait(t, time.Minute); code != 0 {
			t.Fatal("push fails when nobody kills it")
		}
	})
	t.Logf("push takes %v", k.usual)
	k.verifyNew(t, filepath.Base(dbs[0]))
	for i := 0; k.found.kills() < kills(); i++ {
		k.kill(t, rng, dbs[i%len(dbs)])
	}
	t.Logf("push when it was killed: %v", k.found)
	k.found.expect(t, kills()/10, "written", "committed")
	k.found.expect(t, kills()/50, "written")
	k.found.expect(t, kills()/50, "committed", "ended")
	if after := sumsOf(t, sources); !maps.Equal(before, after) {
		t.Errorf("the sources were changed: %x became %x", before, after)
	}
}

// sumsOf returns a hash of each file below dir.
func sumsOf(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	sums := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		// What is in a -shm is no data: readers note there that they read.
		if err != nil || e.IsDir() || strings.HasSuffix(path, "-shm") {
			return err
		}
		b, err := os.ReadFile(path)
		sums[path] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

type pushKiller struct {
	store, temp, state string
	usual              time.Duration
	known              map[string]bool // snapshots that verified
	found              outcomes
}

// push returns the command that stores db, wholly or what has changed.
func (k *pushKiller) push(db, how string) []string {
	return []string{"push", "-q", db, how, "--store", k.store, "--temp-dir", k.temp, "--state-dir", k.state, "--host", "rig"}
}

// kill kills one push and looks at what it left.
func (k *pushKiller) kill(t *testing.T, rng *rand.Rand, db string) {
	t.Helper()
	how := "--full"
	if rng.IntN(4) == 0 {
		how = "--even-unchanged"
	}
	start, p := time.Now(), startLite(t, k.push(db, how)...)
	code, killed := p.killAfter(t, time.Duration(rng.Int64N(int64(k.usual)*11/10)))
	if !killed && how == "--full" {
		k.usual = (3*k.usual + time.Since(start)) / 4 // hosts are busy for a while
	}
	if !killed && code != 0 {
		t.Fatalf("push exits with %d: %s", code, p.errs.String())
	}
	left, err := leftovers(k.store)
	if err != nil {
		t.Fatal(err)
	}
	fresh := k.verifyNew(t, filepath.Base(db))
	switch {
	case len(fresh) > 1:
		t.Fatalf("one push made %q", fresh)
	case !killed && (len(fresh) != 1 || strings.TrimSpace(p.out.String()) != fresh[0]):
		t.Fatalf("push says that it made %q, and listed is %q", p.out.String(), fresh)
	case killed && p.out.Len() > 0 && len(fresh) != 1:
		t.Fatalf("push claimed %q, and listed is %q", p.out.String(), fresh)
	case !killed:
		k.found["ended"]++
	case len(fresh) == 1:
		k.found["committed"]++
	case len(left) > 0:
		k.found["written"]++
	default:
		k.found["not begun"]++
	}

	mustLite(t, k.push(db, "--full")...)
	if made := k.verifyNew(t, filepath.Base(db)); len(made) != 1 {
		t.Fatalf("the push after a kill made %q", made)
	}
	mustBeClean(t, k.store, k.temp, k.state)
	// The last one rests on none of the others, and this host remembers that it must be there.
	names := snapshotsIn(t, k.store, filepath.Base(db))
	if old := names[:len(names)-1]; len(old) > 0 {
		mustLite(t, append([]string{"delete", filepath.Base(db), "--store", k.store}, old...)...)
	}
}

// verifyNew returns the snapshots that were not listed before. Each has to verify.
func (k *pushKiller) verifyNew(t *testing.T, database string) (fresh []string) {
	t.Helper()
	for _, name := range snapshotsIn(t, k.store, database) {
		if k.known[name] {
			continue
		}
		mustLite(t, "verify", database, "--at", name, "--store", k.store, "--temp-dir", k.temp)
		k.known[name] = true
		fresh = append(fresh, name)
	}
	return fresh
}

// TestKillRestore kills restore --replace at random moments, beside databases that another crash
// left in need of recovery. Then the sqlite3 shell has to find wholly the old one or wholly the new
// one, and the next restore has to succeed and to tidy up.
func TestKillRestore(t *testing.T) {
	t.Parallel()
	dir, rng := storetest.FastDir(t), seed.Rand(t)
	k := newRestoreKiller(t, dir)
	t.Logf("restore takes %v", k.usual)
	for i := 0; k.found.kills() < kills(); i++ {
		k.kill(t, rng, k.olds[i%len(k.olds)], i)
	}
	t.Logf("restore when it was killed: %v", k.found)
	k.found.expect(t, kills()/10, "fetching", "held", "kept", "replaced")
	k.found.expect(t, kills()/50, "fetching")
	k.found.expect(t, kills()/50, "held", "kept")
	k.found.expect(t, kills()/50, "replaced", "ended")
}

type restoreKiller struct {
	store, temp, dir string
	usual            time.Duration
	olds             []string // directories, each with a database app.db in need of recovery
	oldSum, newSum   string
	found            outcomes
}

func newRestoreKiller(t *testing.T, dir string) *restoreKiller {
	t.Helper()
	k := &restoreKiller{
		store: filepath.Join(dir, "store"), temp: filepath.Join(dir, "temp"), dir: filepath.Join(dir, "target"),
		olds:  []string{filepath.Join(dir, "wal"), filepath.Join(dir, "journal")},
		found: outcomes{},
	}
	for _, d := range append(k.olds, k.temp) {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(dir, "app.db")
	sh(t, source, fill("new", 6000))
	mustLite(t, "push", source, "--store", k.store)

	// The old contents are the same in both: in one half of them is in the -wal alone, and in the
	// other the file holds a part of a transaction that the journal takes back.
	half := filepath.Join(dir, "half.db")
	sh(t, half, fill("old", 2000))
	whole := "INSERT INTO noise SELECT id+2000, bytes FROM noise"
	sh(t, half, ".backup "+filepath.Join(k.olds[0], "app.db"), ".backup "+filepath.Join(k.olds[1], "app.db"))
	wal := crashed(t, k.olds[0], "app.db", "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0; "+whole)
	journal := crashed(t, k.olds[1], "app.db", whole, "PRAGMA cache_size=5; BEGIN; DELETE FROM words; UPDATE noise SET bytes = randomblob(100)")
	for _, side := range []string{wal + "-wal", journal + "-journal"} {
		if info, err := os.Stat(side); err != nil || info.Size() < 10000 {
			t.Fatalf("%s should hold pages: %v", side, err)
		}
	}
	for _, old := range k.olds {
		copyFiles(t, old, k.dir)
		sum := k.sum(t, filepath.Join(k.dir, "app.db"))
		if k.oldSum != "" && sum != k.oldSum {
			t.Fatal("the two old databases do not hold the same")
		}
		k.oldSum = sum
	}
	k.newSum = k.sum(t, source)
	if k.oldSum == k.newSum {
		t.Fatal("old and new are the same")
	}
	k.usual = durationOf(t, func() {
		copyFiles(t, k.olds[0], k.dir)
		if code, _ := startLite(t, k.restore()...).wait(t, time.Minute); code != 0 {
			t.Fatal("restore fails when nobody kills it")
		}
	})
	return k
}

func (k *restoreKiller) restore(more ...string) []string {
	return append([]string{"restore", "app.db", "-o", filepath.Join(k.dir, "app.db"), "--replace",
		"--store", k.store, "--temp-dir", k.temp}, more...)
}

// sum returns a hash of what the sqlite3 shell finds in a sound database.
func (k *restoreKiller) sum(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err) // the shell would make it
	}
	sum, sound := strings.CutPrefix(sh(t, path, "PRAGMA integrity_check", ".sha3sum"), "ok\n")
	if !sound {
		t.Fatalf("%s is damaged: %s", path, sum)
	}
	return sum
}

// kill kills one restore and looks at what it left.
func (k *restoreKiller) kill(t *testing.T, rng *rand.Rand, old string, i int) {
	t.Helper()
	copyFiles(t, old, k.dir)
	var more []string
	if i/2%4 == 3 {
		more = append(more, "--discard-old")
	}
	start, p := time.Now(), startLite(t, k.restore(more...)...)
	var code int
	var killed bool
	if i%4 < 2 {
		code, killed = p.killAfter(t, time.Duration(rng.Int64N(int64(k.usual)*11/10)))
	} else {
		// The last steps are the shortest: half of the kills wait for the first of them.
		k.awaitHold(p)
		code, killed = p.killAfter(t, time.Duration(rng.Int64N(int64(k.usual/8))))
	}
	if !killed {
		k.usual = (3*k.usual + time.Since(start)) / 4 // hosts are busy for a while
	}
	if !killed && code != 0 {
		t.Fatalf("restore exits with %d: %s", code, p.errs.String())
	}
	state := k.state(t)
	target := filepath.Join(k.dir, "app.db")
	switch sum := k.sum(t, target); {
	case sum == k.newSum && killed:
		k.found["replaced"]++
	case sum == k.newSum:
		k.found["ended"]++
	case sum != k.oldSum:
		t.Fatalf("kill %d: the target is neither the old nor the new database", i)
	case !killed:
		t.Fatalf("kill %d: restore claimed success, and the target is the old database", i)
	default:
		k.found[state]++
	}
	k.checkKept(t, k.oldSum)

	mustLite(t, k.restore("--discard-old")...)
	if k.sum(t, target) != k.newSum {
		t.Fatalf("the restore after kill %d did not restore", i)
	}
	mustBeClean(t, k.dir, k.temp)
}

// awaitHold returns when restore has begun to change something at the target, or has ended.
func (k *restoreKiller) awaitHold(p *process) {
	side := filepath.Join(k.dir, "app.db-wal")
	if _, err := os.Lstat(side); err != nil {
		side = filepath.Join(k.dir, "app.db-journal")
	}
	for len(p.ended) == 0 {
		if _, err := os.Lstat(side); err != nil {
			return
		}
		time.Sleep(100 * time.Microsecond) // leaves the processor to restore
	}
}

// state tells how far restore came, if the target is the old database.
func (k *restoreKiller) state(t *testing.T) string {
	t.Helper()
	state, sides := "not begun", 0
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.Contains(name, ".replaced-"):
			return "kept"
		case strings.Contains(name, ".restore-"):
			state = "fetching"
		case name == "app.db-wal" || name == "app.db-journal":
			sides++
		}
	}
	if sides == 0 {
		return "held"
	}
	return state
}

// checkKept makes sure that what is kept of replaced databases is whole.
func (k *restoreKiller) checkKept(t *testing.T, sums ...string) {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(k.dir, "app.db.replaced-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range kept {
		if strings.HasSuffix(path, "-wal") || strings.HasSuffix(path, "-shm") || strings.HasSuffix(path, "-journal") {
			t.Fatalf("%s is kept beside a database that was sound", path)
		}
		if !slices.Contains(sums, k.sum(t, path)) {
			t.Fatalf("%s is not the old database", path)
		}
	}
}
