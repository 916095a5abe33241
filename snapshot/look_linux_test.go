package snapshot

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"golang.org/x/sys/unix"

	"github.com/litestash/litestash/internal/race"
)

// testWindow stands for [racyWindow] in tests: still more than the granularity of the times of the
// file systems that tests run on.
const testWindow = 25 * time.Millisecond

// settledLook looks until there is something to be seen.
func settledLook(t testing.TB, path string, window time.Duration) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(window / 10) {
		l, err := look(path, window)
		if err != nil {
			t.Fatal(err)
		}
		if l != "" {
			return l
		}
	}
	t.Fatalf("what %s looks like cannot be told", path)
	return ""
}

// wantDoubt expects that what the database looks like cannot be told.
func wantDoubt(t *testing.T, what, path string) {
	t.Helper()
	if l, err := look(path, testWindow); l != "" || err != nil {
		t.Errorf("%s: looks like %q, %v", what, l, err)
	}
}

// newDB makes a database of one row in the given mode, which no process has open.
func newDB(t testing.TB, mode string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA journal_mode="+mode+"; CREATE TABLE count(n); INSERT INTO count VALUES(0)")
	return path
}

// TestLook looks at a database that is used in ordinary ways.
func TestLook(t *testing.T) {
	for _, mode := range []string{"wal", "delete", "truncate", "memory", "off"} {
		t.Run(mode, func(t *testing.T) {
			path := newDB(t, mode)
			seen := []string{settledLook(t, path, testWindow)}
			want := func(what string, changed bool) {
				t.Helper()
				l := settledLook(t, path, testWindow)
				if changed == slices.Contains(seen, l) {
					t.Errorf("%s: it looks like %s\nafter %q", what, l, seen)
				}
				seen = append(seen, l)
			}
			want("nothing was done", false)
			run(t, path, "SELECT * FROM count; PRAGMA integrity_check")
			want("it was read", false)
			s := startShell(t, path, 0)
			s.do(t, "PRAGMA journal_mode="+mode+"; UPDATE count SET n=1")
			want("there was a commit", true)
			s.do(t, "SELECT * FROM count; BEGIN IMMEDIATE")
			want("it was read and locked", false)
			s.do(t, "ROLLBACK; UPDATE count SET n=2")
			want("there was another commit", true)
			if mode == "wal" {
				s.do(t, "PRAGMA wal_checkpoint(RESTART); UPDATE count SET n=3")
				want("there was one in the WAL's next round", true)
				s.do(t, "PRAGMA wal_checkpoint(TRUNCATE)")
				want("the WAL was emptied", true)
				s.do(t, "UPDATE count SET n=4; PRAGMA wal_checkpoint(TRUNCATE)")
				want("there was one before the WAL was emptied again", true)
			}
			run(t, path, "SELECT * FROM count")
			want("another process has read it", false)
			s.End()
			want("it was closed", mode == "wal") // which writes the WAL back
			run(t, path, "UPDATE count SET n=5")
			want("there was one in between", true)
		})
	}
}

// TestLookDoubt sees to it that nothing is said where nothing is sure.
func TestLookDoubt(t *testing.T) {
	if l, err := Look(filepath.Join(t.TempDir(), "none.db")); l != "" || err == nil {
		t.Errorf("of no database: %q, %v", l, err)
	}
	empty := filepath.Join(t.TempDir(), "empty.db")
	for _, content := range []string{"", magic, string(make([]byte, 4096))} {
		if err := os.WriteFile(empty, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(empty, time.Time{}, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		wantDoubt(t, fmt.Sprintf("a file of %d bytes", len(content)), empty)
	}
	for _, mode := range []string{"delete", "wal"} {
		path := newDB(t, mode)
		settledLook(t, path, testWindow)
		if l, err := look(path, time.Hour); l != "" || err != nil {
			t.Errorf("%s: changed within the window it looks like %q, %v", mode, l, err)
		}
		for suffix, content := range map[string]string{"-journal": "\x00", "-wal": "", "-shm": ""} {
			if err := os.WriteFile(path+suffix, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			wantDoubt(t, mode+" with a "+suffix, path)
			if err := os.Remove(path + suffix); err != nil {
				t.Fatal(err)
			}
		}
		for _, off := range []int64{offWriteVersion, offReadVersion} {
			patch(t, path, off, 3)
			if l, err := look(path, -time.Hour); l != "" || err != nil {
				t.Errorf("%s: with another version at %d it looks like %q, %v", mode, off, l, err)
			}
			patch(t, path, off, map[string]byte{"delete": 1, "wal": 2}[mode])
		}
		settledLook(t, path, testWindow)
		// Somebody set its time back, which its ctime tells; or the clock was.
		if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if l, err := look(path, time.Minute); l != "" || err != nil {
			t.Errorf("%s: with an old time it looks like %q, %v", mode, l, err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		settled := time.Now().Add(30 * time.Minute)
		if l, err := glance(path, settled); l != "" || err != nil {
			t.Errorf("%s: with a time in the future it looks like %q, %v", mode, l, err)
		}
	}
}

// patch changes a byte of a file.
func patch(t testing.TB, path string, off int64, b byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{b}, off); err != nil {
		t.Fatal(err)
	}
}

// TestLookCrashed looks at what a process leaves that was killed.
func TestLookCrashed(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		path := newDB(t, mode)
		s := startShell(t, path, 0)
		s.do(t, "PRAGMA cache_size=1; UPDATE count SET n=1")
		settledLook(t, path, testWindow)
		if mode == "delete" {
			// More than the cache holds, so that the journal is needed.
			s.do(t, "BEGIN; CREATE TABLE big AS SELECT randomblob(10000) FROM generate_series(1, 100)")
			wantDoubt(t, "within a transaction", path)
		}
		s.Kill()
		wantDoubt(t, mode+": crashed", path)
		if mode == "wal" {
			// The image makes an index of what is left, whoever looked before.
			if m := take(t, path, Options{racyWindow: testWindow}); m.Look() != "" {
				t.Errorf("the image of what is left looks like %q", m.Look())
			}
		}
		run(t, path, "SELECT * FROM count")
		settledLook(t, path, testWindow)
	}
}

// TestLookIndex damages each byte of the index header, as a write under way would.
func TestLookIndex(t *testing.T) {
	from := newDB(t, "wal")
	s := startShell(t, from, 0)
	s.do(t, "UPDATE count SET n=1")
	path := filepath.Join(t.TempDir(), "copy.db")
	var index []byte
	for _, suffix := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(from + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
		index = b
	}
	wantDoubt(t, "used by nobody", path)
	shm, err := os.OpenFile(path+"-shm", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shm.Close()
	if ok, err := setLock(shm, unix.F_RDLCK, 128, 1); err != nil || !ok {
		t.Fatal(ok, err)
	}
	// with looks at the copy with another header.
	with := func(header []byte) string {
		t.Helper()
		if _, err := shm.WriteAt(header, 0); err != nil {
			t.Fatal(err)
		}
		l, err := look(path, testWindow)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	sound := with(index[:96])
	if sound == "" {
		t.Fatal("a sound index says nothing")
	}
	for i := range 96 {
		b := bytes.Clone(index[:96])
		b[i] ^= 4
		if l := with(b); l != "" {
			t.Errorf("with byte %d of one copy flipped it looks like %s", i, l)
		}
		b[(i+48)%96] ^= 4
		if l := with(b); l != "" {
			t.Errorf("with byte %d of both copies flipped it looks like %s", i%48, l)
		}
	}
	// edit returns an index with a header that was changed and has the right checksum.
	edit := func(change func(x []byte)) []byte {
		x := bytes.Clone(index[:48])
		change(x)
		var a, b uint32
		for i := 0; i < 40; i += 8 {
			a += binary.NativeEndian.Uint32(x[i:]) + b
			b += binary.NativeEndian.Uint32(x[i+4:]) + a
		}
		binary.NativeEndian.PutUint32(x[40:], a)
		binary.NativeEndian.PutUint32(x[44:], b)
		return append(x, x...)
	}
	if l := with(edit(func([]byte) {})); l != sound {
		t.Errorf("with the same header it looks like %q, not %q", l, sound)
	}
	if l := with(edit(func(x []byte) { x[16]++ })); l == "" || l == sound {
		t.Errorf("with another frame it looks like %q", l)
	}
	if l := with(edit(func(x []byte) { x[12] = 0 })); l != "" {
		t.Errorf("not initialised it looks like %q", l)
	}
	if l := with(edit(func(x []byte) { x[0]++ })); l != "" {
		t.Errorf("in another version it looks like %q", l)
	}
	bare := edit(func(x []byte) { clear(x[16:20]) })
	if with(bare); settledLook(t, path, testWindow) == "" {
		t.Error("without frames it does not look like anything")
	}
	if l, err := look(path, time.Hour); l != "" || err != nil {
		t.Errorf("without frames, after a change within the window, it looks like %q, %v", l, err)
	}
	if err := os.Truncate(path+"-shm", 90); err != nil {
		t.Fatal(err)
	}
	wantDoubt(t, "with half an index", path)
}

// TestImageLook compares what an image remembers with what its source looks like.
func TestImageLook(t *testing.T) {
	for _, c := range []struct {
		mode string
		open bool
	}{{"wal", true}, {"wal", false}, {"delete", true}, {"delete", false}} {
		t.Run(fmt.Sprint(c.mode, c.open), func(t *testing.T) {
			path := newDB(t, c.mode)
			if c.open {
				startShell(t, path, 0).do(t, "UPDATE count SET n=1")
			}
			want := settledLook(t, path, testWindow)
			for _, restarts := range []int{-1, 3} { // pinned and not
				m := take(t, path, Options{racyWindow: testWindow, MaxRestarts: restarts})
				if m.Look() != want {
					t.Errorf("the image looks like %q, the source like %q", m.Look(), want)
				}
			}
			if m := take(t, path, Options{racyWindow: time.Hour}); (m.Look() != "") != (c.mode == "wal" && c.open) {
				t.Errorf("soon after a commit it looks like %q", m.Look())
			}
		})
	}
}

// TestImageLookBesideCommit commits while an image is taken, which is of the instant before.
func TestImageLookBesideCommit(t *testing.T) {
	path := newDB(t, "wal")
	s := startShell(t, path, 0)
	s.do(t, "UPDATE count SET n=1")
	before := settledLook(t, path, testWindow)
	c := &committer{commit: func() { s.do(t, "UPDATE count SET n=2") }}
	m, err := Take(t.Context(), path, Options{TempDir: t.TempDir(), Base: c})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Look() != before {
		t.Errorf("the image looks like %q, want %q", m.Look(), before)
	}
	if now := settledLook(t, path, testWindow); now == before {
		t.Error("the commit does not show")
	}
	if got := run(t, write(t, m), "SELECT n FROM count"); got != "1" {
		t.Errorf("the image holds commit %s", got)
	}
}

// counter is a program that counts its commits in bursts and rests between them. In the way
// "reopen" it then checkpoints, restarts or closes the database, as may be.
const counter = `
import random, sqlite3, sys, time
path, mode, commits, reopen = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "reopen"
def connect():
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    db.execute("PRAGMA journal_mode=" + mode).fetchall()
    db.execute("PRAGMA synchronous=OFF")
    return db
db, n = connect(), 0
while n < commits:
    for _ in range(min(commits - n, random.choice((1, 1, 2, 3, 50, 100, 200)))):
        n += 1
        db.execute("UPDATE count SET n=?", (n,))
        if reopen and random.random() < .03:
            what = random.randrange(4)
            if what < 3:
                db.execute("PRAGMA wal_checkpoint(" + ("PASSIVE", "RESTART", "TRUNCATE")[what] + ")").fetchall()
            else:
                db.close()
                if random.random() < .1: time.sleep(random.random() * .1)
                db = connect()
    time.sleep(random.random() * random.choice((.001, .01, .08)))
print(n)
`

// TestLookRace commits beside somebody who looks: what looks the same has to hold the same commit,
// in the database and in its images.
func TestLookRace(t *testing.T) {
	for _, c := range []struct {
		name, mode, way string
		commits         int
	}{
		{"wal", "wal", "stay", 40_000},
		{"wal reopened", "wal", "reopen", 15_000},
		{"delete", "delete", "stay", 15_000},
		{"truncate", "truncate", "stay", 10_000},
		{"memory", "memory", "reopen", 10_000},
		{"off", "off", "stay", 10_000},
	} {
		if testing.Short() || race.Enabled { // who commits is another process
			c.commits /= 5
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			raceLooks(t, c.mode, c.way, c.commits)
		})
	}
}

func raceLooks(t *testing.T, mode, way string, commits int) {
	path := newDB(t, mode)
	cmd := exec.Command("python3", "-c", counter, path, mode, strconv.Itoa(commits), way)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	ended := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ended <- line
	}()

	r := &lookRace{t: t, path: path, seen: map[string]int64{}, stay: way == "stay"}
	defer r.close()
	for running := true; running; r.rounds++ {
		select {
		case line := <-ended:
			if line != fmt.Sprintln(commits) {
				t.Fatalf("the writer says %q", line)
			}
			running = false
		default:
		}
		r.round()
		if rand.IntN(50) == 0 {
			r.takeImage()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commits; %d looks, of which %d told something and %d were confirmed; %d states; %d of %d images with a look",
		commits, 2*r.rounds, r.told, r.confirmed, len(r.seen), r.imagesTold, r.images)
	if states := int64(len(r.seen)); states < 5 || r.confirmed < 2*states || r.imagesTold == 0 {
		t.Error("too little was seen to prove anything")
	}
}

// A lookRace looks at a database and remembers which commit it saw with each look.
type lookRace struct {
	t    *testing.T
	path string
	stay bool // keep the database open
	conn *sqlite3.Conn
	seen map[string]int64

	rounds, told, confirmed, images, imagesTold int64
}

// round looks, reads the counter and looks again.
func (r *lookRace) round() {
	before := r.look()
	n := r.count(r.path)
	after := r.look()
	if before != "" && before == after {
		r.confirmed++
		r.compare(before, n)
	}
}

func (r *lookRace) look() string {
	l, err := look(r.path, testWindow)
	if err != nil {
		r.t.Fatal(err)
	}
	if l != "" {
		r.told++
	}
	return l
}

// compare fails if n commits look as another number of them did.
func (r *lookRace) compare(look string, n int64) {
	if was, ok := r.seen[look]; ok && was != n {
		r.t.Fatalf("commits %d and %d both look like %s", was, n, look)
	}
	r.seen[look] = n
}

// count reads the counter of the database at path.
func (r *lookRace) count(path string) int64 {
	conn := r.conn
	if conn == nil {
		var err error
		if conn, err = sqlite3.Open("file:" + path); err != nil {
			r.t.Fatal(err)
		}
		if err := conn.BusyTimeout(time.Minute); err != nil {
			r.t.Fatal(err)
		}
		if r.stay && path == r.path {
			r.conn = conn
		} else {
			defer conn.Close()
		}
	}
	stmt, _, err := conn.Prepare("SELECT n FROM count")
	if err != nil {
		r.t.Fatal(err)
	}
	defer stmt.Close()
	if !stmt.Step() {
		r.t.Fatal(stmt.Err())
	}
	return stmt.ColumnInt64(0)
}

// takeImage takes an image and looks at the counter in it.
func (r *lookRace) takeImage() {
	m, err := Take(r.t.Context(), r.path, Options{TempDir: r.t.TempDir(), BusyTimeout: time.Minute, racyWindow: testWindow})
	if err != nil {
		r.t.Fatal(err)
	}
	defer m.Close()
	r.images++
	if m.Look() == "" {
		return
	}
	r.imagesTold++
	r.compare(m.Look(), r.countIn(m))
}

func (r *lookRace) countIn(m *Image) int64 {
	open := r.conn
	r.conn = nil
	defer func() { r.conn = open }()
	return r.count(write(r.t, m))
}

func (r *lookRace) close() {
	if r.conn != nil {
		r.conn.Close()
	}
}

// TestImageLookNotKnown commits each time between the look and the transaction: what the source looked like at
// the instant of that cannot be told.
func TestImageLookNotKnown(t *testing.T) {
	path := newDB(t, "wal")
	w := startShell(t, path, 0)
	w.do(t, "UPDATE count SET n=1")
	tk := &taker{path: path, opts: Options{}.withDefaults()}
	tk.look = tk.lookAtSource()
	s, err := openSource(t.Context(), path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	begun := 0
	if err := s.conn.SetAuthorizer(func(action sqlite3.AuthorizerActionCode, name, _, _, _ string) sqlite3.AuthorizerReturnCode {
		if action == sqlite3.AUTH_TRANSACTION && name == "BEGIN" {
			begun++
			w.do(t, "UPDATE count SET n=n+1")
		}
		return sqlite3.AUTH_OK
	}); err != nil {
		t.Fatal(err)
	}
	if err := tk.beginKnown(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if begun < maxLooks || tk.look != "" {
		t.Errorf("after %d transactions it looked like %q", begun, tk.look)
	}
}
