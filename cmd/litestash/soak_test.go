package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/litestash/litestash/internal/seed"
)

// soakTime returns for how long TestSoak writes and watches.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	long := os.Getenv("LITESTASH_SOAK")
	if long == "" {
		return 10 * time.Second
	}
	d, err := time.ParseDuration(long)
	if err != nil {
		t.Fatalf("LITESTASH_SOAK: %v", err)
	}
	return d
}

// TestSoak watches a database every second that a sqlite3 shell writes to as fast as it can, with checkpoints
// of all kinds, while both are ended, killed and started again. Every snapshot has to hold what was committed
// at one instant, not less than the one before, and the last one all.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := &soak{t: t, rnd: seed.Rand(t), watchRig: newWatchRig(t), did: map[string]int{}}
	sh(t, s.db, "PRAGMA journal_mode=WAL", bank)
	for end := time.Now().Add(soakTime(t)); time.Now().Before(end); {
		s.startBoth()
		// However far they come until something happens: that is the test.
		time.Sleep(time.Duration(500+s.rnd.IntN(3000)) * time.Millisecond)
		s.disturb()
	}
	s.startBoth()
	s.endWriter()
	s.endWatch()
	s.check()
}

type soak struct {
	*watchRig
	t         *testing.T
	rnd       *rand.Rand
	writer    *bankWriter // nil if it was ended
	watch     *watching   // nil if it was ended
	committed int64       // transactions that writers told of
	did       map[string]int
}

// startBoth starts what does not run. A watch is waited for, often until it has stored something.
func (s *soak) startBoth() {
	s.t.Helper()
	if s.writer == nil {
		rnd := rand.New(rand.NewPCG(s.rnd.Uint64(), 0)) // the writer is fed by a goroutine of its own
		s.writer = startBankWriterThat(s.t, func() string {
			if rnd.IntN(300) > 0 {
				return transferSQL
			}
			how := []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[rnd.IntN(4)]
			return ".once /dev/null\nPRAGMA wal_checkpoint(" + how + ");\n" + transferSQL
		}, "sqlite3", "-batch", "-cmd", ".timeout 30000", s.db)
	}
	if s.watch == nil {
		s.watch = s.start(s.t)
		if s.rnd.IntN(3) > 0 {
			s.watch.await(s.t, "snapshot stored")
		}
	}
}

// disturb ends one of the two, in one way or another.
func (s *soak) disturb() {
	s.t.Helper()
	switch s.rnd.IntN(4) {
	case 0:
		s.endWriter()
	case 1:
		s.writer.kill(s.t)
		s.committed += s.writer.count.Load()
		s.writer = nil
		s.did["writers killed"]++
	case 2:
		s.endWatch()
	case 3:
		s.watch.killAfter(s.t, 0)
		s.noteFailures()
		s.watch = nil
		s.did["watches killed"]++
	}
}

func (s *soak) endWriter() {
	s.t.Helper()
	s.writer.stop()
	if s.writer.said != "" {
		s.t.Errorf("the writer was hindered: %s", s.writer.said)
	}
	s.committed += s.writer.count.Load()
	s.writer = nil
	s.did["writers ended"]++
}

func (s *soak) endWatch() {
	s.t.Helper()
	s.watch.end(s.t, syscall.SIGTERM, 0)
	s.noteFailures()
	s.watch = nil
	s.did["watches ended"]++
}

// noteFailures reads what the watch that has ended logged.
func (s *soak) noteFailures() {
	s.t.Helper()
	s.watch.closeLog()
	for r := range s.watch.records {
		if level := r["level"]; level == "ERROR" || r["msg"] == "push failed" {
			s.t.Errorf("watch says: %v", r)
		}
	}
}

// check restores every snapshot that is listed.
func (s *soak) check() {
	s.t.Helper()
	out, last := filepath.Join(s.dir, "out.db"), 0
	names := snapshotsIn(s.t, s.store, "app.db")
	for _, name := range names {
		mustLite(s.t, append([]string{"restore", "app.db", "-o", out, "--at", name, "--replace", "--discard-old", "--check", "none"}, s.global()...)...)
		got := lines(sh(s.t, out, audit))
		if len(got) != 3 || got[0] != "ok" || got[1] != "10000000" {
			s.t.Fatalf("snapshot %s holds %q", name, got)
		}
		n, err := strconv.Atoi(got[2])
		if err != nil {
			s.t.Fatal(err)
		}
		if n < last {
			s.t.Errorf("snapshot %s holds %d transactions, and the one before it %d", name, n, last)
		}
		last = n
	}
	mustBeClean(s.t, s.dir)
	source := lines(sh(s.t, s.db, audit))
	if len(source) != 3 || source[0] != "ok" || source[2] != strconv.Itoa(last) || int64(last) < s.committed {
		s.t.Errorf("the source holds %q, writers told of %d transactions, and the last snapshot holds %d", source, s.committed, last)
	}
	s.t.Logf("%d transactions, %d snapshots, %v", last, len(names), s.did)
	if len(names) < 3 {
		s.t.Error("too little was stored to prove anything")
	}
}
