package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/internal/sqliteshell"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
)

// TestUnchangedRace pushes as often as it can beside a process that commits, rests and commits again. No push may take
// for unchanged what was committed before it began, be it that it looks at the files alone or compares pages.
func TestUnchangedRace(t *testing.T) {
	t.Parallel()
	all := []*unchangedRace{
		{mode: "WAL", commits: 40_000, rests: 60},
		{mode: "WAL", reopen: true, commits: 15_000, rests: 30},
		{mode: "DELETE", commits: 12_000, rests: 5},
		{mode: "TRUNCATE", commits: 10_000, rests: 5},
		{mode: "PERSIST", commits: 10_000, rests: 5, reads: true},
		{mode: "MEMORY", commits: 8_000, rests: 5},
		{mode: "OFF", commits: 8_000, rests: 5},
	}
	total := 0
	g, ctx := errgroup.WithContext(t.Context())
	rnd := seed.Rand(t)
	for _, r := range all {
		if testing.Short() || race.Enabled { // who commits is another process
			r.commits, r.rests = r.commits/10, max(1, r.rests/10)
		}
		r.start(t, rnd.Uint64())
		g.Go(func() error {
			if err := r.run(ctx); err != nil {
				return fmt.Errorf("%s, reopened %v: %w", r.mode, r.reopen, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		t.Logf("%s, reopened %v: %d commits; %d pushes stored something, %d compared pages and found no change, %d only looked",
			r.mode, r.reopen, r.committed, r.stored, r.compared.Load(), r.looked.Load())
		if r.stored < r.rests || r.decided() < int64(r.rests) {
			t.Errorf("%s, reopened %v: too little was decided to prove anything", r.mode, r.reopen)
		}
		total += r.committed
	}
	if least := 100_000; total < least && !testing.Short() && !race.Enabled {
		t.Errorf("only %d commits, want %d", total, least)
	}
}

// An unchangedRace is a race of pushes against the commits of a process, which count themselves.
type unchangedRace struct {
	mode    string
	reopen  bool // the process closes the database at times, and nobody else has it open
	commits int  // that are to be made
	rests   int  // in each of which a push decides by a look alone that nothing has changed
	reads   bool // it has to compare pages, since a journal that stays says nothing

	rnd    *rand.Rand
	path   string
	pusher *pusher
	reader *sqliteshell.Shell    // nil if nobody else is to have the database open
	holds  map[format.Name]int64 // which commit is in a snapshot

	committed, stored        int
	pushed, compared, looked atomic.Int64
	more                     chan struct{} // holds something after a push
}

// decided returns how many pushes have decided in the way that the mode allows.
func (r *unchangedRace) decided() int64 {
	if r.reads {
		return r.compared.Load()
	}
	return r.looked.Load()
}

// start makes a database and the pusher.
func (r *unchangedRace) start(t *testing.T, seed uint64) {
	t.Helper()
	dir := storetest.FastDir(t)
	r.more = make(chan struct{}, 1)
	r.rnd, r.holds = rand.New(rand.NewPCG(seed, 0)), map[format.Name]int64{}
	r.path = filepath.Join(dir, "app.db")
	sh(t, r.path, "PRAGMA journal_mode="+r.mode, "CREATE TABLE count (n); INSERT INTO count VALUES ('commit 00000000')")
	bucket := filepath.Join(dir, "store")
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	st := storetest.OpenDir(t, bucket)
	p := &program{ui: ui.New(ui.Options{Out: io.Discard, Err: io.Discard, Quiet: true}), log: slog.New(slog.DiscardHandler), tempDir: dir, stateDir: filepath.Join(dir, "state")}
	opts := pushOptions{
		up: upload.Options{Source: format.Source{Host: "here"}, TempDir: dir},
		sn: snapshot.Options{TempDir: dir, BusyTimeout: time.Minute, MaxRestarts: 3},
	}
	var err error
	if r.pusher, err = p.openPusher(opts, st, source{r.path, "app.db"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.pusher.Close)
	if !r.reopen {
		if r.reader, err = sqliteshell.Start(r.path, "PRAGMA busy_timeout=60000"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.reader.Kill() })
	}
}

// run pushes until all commits are made and one more push has seen the last one.
func (r *unchangedRace) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	rnd := rand.New(rand.NewPCG(r.rnd.Uint64(), 0))
	go func() { ended <- r.commit(ctx, rnd) }()
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = r.push(ctx)
			}
			cancel()
			return err
		default:
		}
		if err := r.push(ctx); err != nil {
			cancel()
			<-ended
			return err
		}
	}
}

// commit commits in bursts. After each it waits for some pushes, and at times until one has decided that nothing has changed;
// the next burst begins at a random moment of another.
func (r *unchangedRace) commit(ctx context.Context, rnd *rand.Rand) error {
	w, err := r.openWriter()
	if err != nil {
		return err
	}
	defer func() {
		if w != nil {
			w.Kill()
		}
	}()
	for n, rested := 0, 0; n < r.commits && ctx.Err() == nil; {
		burst := min(r.commits-n, []int{1, 1, 2, 3, 100, 200, 400}[rnd.IntN(7)])
		if err := w.Do(updates(n+1, burst)); err != nil {
			return err
		}
		n += burst
		if r.reopen {
			if w, err = r.stir(w, rnd); err != nil {
				return err
			}
		}
		decided, pushed := int64(0), r.pushed.Load()+rnd.Int64N(2)
		if n*r.rests/r.commits > rested {
			rested++
			decided = r.decided() + 1
		}
		for (r.pushed.Load() < pushed || r.decided() < decided) && ctx.Err() == nil {
			select {
			case <-r.more:
			case <-ctx.Done():
			}
		}
		time.Sleep(time.Duration(rnd.Int64N(int64(5 * time.Millisecond))))
	}
	return nil
}

func (r *unchangedRace) openWriter() (*sqliteshell.Shell, error) {
	return sqliteshell.Start(r.path, "PRAGMA busy_timeout=60000; PRAGMA synchronous=OFF; PRAGMA journal_mode="+r.mode)
}

// updates is SQL that makes n commits from the given one on.
func updates(from, n int) string {
	var sql strings.Builder
	for i := range n {
		fmt.Fprintf(&sql, "UPDATE count SET n = 'commit %08d';\n", from+i)
	}
	return sql.String()
}

// stir writes the WAL back or closes the database, or does nothing.
func (r *unchangedRace) stir(w *sqliteshell.Shell, rnd *rand.Rand) (*sqliteshell.Shell, error) {
	switch rnd.IntN(6) {
	case 0, 1:
		return w, w.Do("PRAGMA wal_checkpoint(" + []string{"PASSIVE", "RESTART", "TRUNCATE"}[rnd.IntN(3)] + ");")
	case 2:
		if err := w.End(); err != nil {
			return w, err
		}
		return r.openWriter()
	}
	return w, nil
}

// push pushes once. What it answers with must not be older than what was committed before.
func (r *unchangedRace) push(ctx context.Context) error {
	before, err := r.count()
	if err != nil {
		return err
	}
	if r.rnd.IntN(10) == 0 {
		r.pusher.up.Confirmed = nil // it asks the store for all
	}
	result, err := r.pusher.push(ctx)
	if err == nil {
		err = result.trouble
	}
	if err != nil {
		return err
	}
	after, err := r.count()
	if err != nil {
		return err
	}
	r.pusher.up.Confirmed, r.committed = &result.Snapshot, int(after)
	held, err := r.heldBy(ctx, result.Snapshot)
	if err != nil {
		return err
	}
	if held < before || held > after {
		return fmt.Errorf("a push after commit %d and before %d answers with one of commit %d; unchanged %v, after %v", before, after+1, held, result.Index == nil, result.stats.Elapsed)
	}
	switch {
	case result.Index != nil:
		r.stored++
	case result.stats != snapshot.Stats{}:
		r.compared.Add(1)
	default:
		r.looked.Add(1)
	}
	r.pushed.Add(1)
	select {
	case r.more <- struct{}{}:
	default:
	}
	return nil
}

// count asks another process for the last commit.
func (r *unchangedRace) count() (int64, error) {
	const ask = "SELECT n FROM count;"
	var answer string
	var err error
	if r.reader != nil {
		answer, err = r.reader.Ask(ask)
	} else {
		answer, err = sqliteshell.Run(r.path, "PRAGMA busy_timeout=60000", ask)
	}
	if err != nil {
		return 0, err
	}
	all := lines(answer)
	return commitIn([]byte(all[len(all)-1]))
}

var commitPattern = regexp.MustCompile(`commit ([0-9]{8})`)

// commitIn returns the number of the one commit in a text or an image.
func commitIn(b []byte) (int64, error) {
	all := commitPattern.FindAllSubmatch(b, -1)
	if len(all) != 1 {
		return 0, fmt.Errorf("there is not one commit, but %q", all)
	}
	return strconv.ParseInt(string(all[0][1]), 10, 64)
}

// heldBy restores a snapshot that was not seen before, and returns the commit in it.
func (r *unchangedRace) heldBy(ctx context.Context, s catalog.Snapshot) (int64, error) {
	if n, ok := r.holds[s.Name]; ok {
		return n, nil
	}
	var out bytes.Buffer
	if _, err := restore.Stream(ctx, r.pusher.st, s, &out, restore.Options{TempDir: r.pusher.p.tempDir}); err != nil {
		return 0, err
	}
	n, err := commitIn(out.Bytes())
	if err != nil {
		return 0, errors.Join(fmt.Errorf("in %v", s.Name), err)
	}
	r.holds[s.Name] = n
	return n, nil
}
