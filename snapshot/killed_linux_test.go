package snapshot

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
)

// A crowd is processes that write to a database, some of which are killed now and then, and one that always has it open.
type crowd struct {
	t       *testing.T
	r       *rand.Rand
	path    string
	settled string // what each of them begins with
	writers [3]*shell
	commits int
	again   string // a commit that may be tried again
	log     []string
	killed  int
}

func (c *crowd) start(i int) {
	c.writers[i] = startShell(c.t, c.path, 0)
	c.writers[i].do(c.t, c.settled)
}

// rows names some rows.
func (c *crowd) rows(n int) string {
	var rows []string
	for range n {
		rows = append(rows, fmt.Sprint(1+c.r.IntN(3000)))
	}
	return strings.Join(rows, ",")
}

// next returns what to do next: mostly small commits.
func (c *crowd) next() string {
	update := func(rows string) string { return "UPDATE t SET b=hex(randomblob(50)) WHERE a IN (" + rows + "); " }
	c.commits++
	switch n, some := c.r.IntN(20), c.rows(12); {
	case n < 10:
		c.again = fmt.Sprintf("UPDATE t SET b='%0100d' WHERE a IN (%s)", c.commits, c.rows(1+c.r.IntN(3)))
		return c.again
	case n < 12:
		return c.again
	case n == 12:
		return "INSERT INTO t(b) VALUES(zeroblob(3000))"
	case n == 13:
		return "DELETE FROM t WHERE a IN (" + c.rows(3) + "); PRAGMA incremental_vacuum(3)"
	case n < 16: // in the WAL, and written twice there, before it is given up
		return "BEGIN; " + update(some) + update(some) + update(c.rows(1+c.r.IntN(40))) + "ROLLBACK"
	case n < 18:
		return "BEGIN; " + update(some) + update(some) + "SAVEPOINT s; " + update(c.rows(9)) + update(some) + "ROLLBACK TO s; " + update(c.rows(4)) + "COMMIT"
	default:
		return "PRAGMA wal_checkpoint(" + []string{"PASSIVE", "FULL", "RESTART"}[c.r.IntN(3)] + ")"
	}
}

// act lets one of them do something, and maybe kills it meanwhile.
func (c *crowd) act() {
	i, sql := c.r.IntN(len(c.writers)), c.next()
	c.log = append(c.log, sql)
	s := c.writers[i]
	if c.r.IntN(6) > 0 {
		s.do(c.t, sql)
		return
	}
	if err := s.Send(sql + ";"); err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(time.Duration(c.r.IntN(2000)) * time.Microsecond) // at any moment of what it does
	s.Kill()
	c.killed++
	c.log = append(c.log, "killed")
	c.start(i)
}

// TestFollowKilled follows the WAL of several processes that begin it anew often, over a long one, and compares each
// snapshot with one for which the whole database was read.
func TestFollowKilled(t *testing.T) {
	steps := 75
	if testing.Short() || race.Enabled {
		steps = 25
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	followed, anew, killed := 0, 0, 0
	for steps > 0 {
		path := filepath.Join(t.TempDir(), "app.db")
		run(t, path, fmt.Sprintf("PRAGMA page_size=%d; PRAGMA auto_vacuum=2; PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT hex(randomblob(50)) FROM generate_series(1, 3000)", 512<<r.IntN(4)))
		startShell(t, path, 0).do(t, "SELECT count(*) FROM t")
		c := &crowd{t: t, r: r, path: path, settled: fmt.Sprintf("PRAGMA cache_size=3; PRAGMA wal_autocheckpoint=%d; PRAGMA synchronous=%d", 20+r.IntN(41), 2*r.IntN(2)), again: "SELECT 1"}
		// Cut off first, so that its salts count from 1, and long then.
		startShell(t, path, 0).do(t, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA wal_autocheckpoint=0; UPDATE t SET b=hex(randomblob(50)); PRAGMA wal_checkpoint(RESTART)")
		for i := range c.writers {
			c.start(i)
		}
		f := &follows{path: path, opts: Options{TempDir: t.TempDir(), Salt: format.NewSalt()}}
		f.begin(t)
		for range min(steps, 25) {
			steps--
			c.log = nil
			for range 1 + r.IntN(4) {
				c.act()
			}
			was := f.newest
			if f.next(t).Stats().Followed {
				followed++
				if begunAnew(was, f.newest) {
					anew++
				}
			}
			f.compare(t, fmt.Sprintf("seed %d: %s", seed, strings.Join(c.log, "\n")))
			if r.IntN(3) == 0 {
				f.parent, f.old = f.newest, f.content
			}
		}
		killed += c.killed
		for _, s := range c.writers {
			s.End()
		}
	}
	t.Logf("%d followed, %d of them though the WAL was begun anew; %d were killed", followed, anew, killed)
	if followed == 0 || killed == 0 {
		t.Errorf("%d followed, %d killed", followed, killed)
	}
}
