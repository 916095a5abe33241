package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestOwner takes, as root, the database of another user, who must be able to go on.
func TestOwner(t *testing.T) {
	needRoot(t)
	for _, mode := range []string{"wal", "delete", "persist"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(openDir(t, nobody), "app.db")
			s := startShell(t, path, nobody)
			s.do(t, "PRAGMA journal_mode="+mode+";"+fill)
			take(t, path, Options{}) // open
			s.do(t, "INSERT INTO t VALUES(1, 2)")
			s.End()
			take(t, path, Options{}) // closed
			s = startShell(t, path, nobody)
			s.do(t, "INSERT INTO t VALUES(3, 4)")
			s.Kill()
			take(t, path, Options{}) // crashed
			os.Remove(path + "-shm")
			take(t, path, Options{})
			s = startShell(t, path, nobody)
			if got := s.do(t, "INSERT INTO t VALUES(5, 6); SELECT count(*) FROM t"); got != "3003" {
				t.Errorf("afterwards its owner counts %s rows", got)
			}
			for _, name := range names(t, filepath.Dir(path)) {
				info, err := os.Stat(filepath.Join(filepath.Dir(path), name))
				if err != nil {
					t.Fatal(err)
				}
				if uid := info.Sys().(*syscall.Stat_t).Uid; uid != nobody {
					t.Errorf("%s belongs to %d", name, uid)
				}
			}
		})
	}
}

// mostResident returns the most memory in KiB that this program ever had resident. That of getrusage
// counts what its parent had, too: it outlives the call of execve.
func mostResident(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(status), "VmHWM:")
	if !ok {
		t.Fatalf("no VmHWM in %s", status)
	}
	return strings.Fields(after)[0]
}

// TestChild is not a test, and does nothing when run as one: it takes a snapshot in a process
// that other tests start as other users or in other surroundings, and writes its image into the
// standard output.
func TestChild(t *testing.T) {
	path := os.Getenv("LITESTASH_TEST_TAKE")
	if path == "" {
		return
	}
	m, err := Take(t.Context(), path, Options{TempDir: os.Getenv("LITESTASH_TEST_TEMP")})
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		for _, e := range []error{syscall.ENOSPC, fs.ErrPermission, ErrBusy, ErrNetworkFS} {
			if errors.Is(err, e) {
				fmt.Fprintln(os.Stderr, "kind:", e)
			}
		}
		os.Exit(3)
	}
	defer m.Close()
	checkImage(t, m)
	fmt.Fprintln(os.Stderr, "most resident:", mostResident(t))
	if os.Getenv("LITESTASH_TEST_COMPARE") == "true" {
		compare(t, m, path)
	}
	if out := os.Getenv("LITESTASH_TEST_OUT"); out != "" {
		if err := os.WriteFile(out, content(t, m), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// compare compares m with the file at path, page by page.
func compare(t *testing.T, m *Image, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != m.Size() {
		t.Fatalf("%d bytes in the file, %d in the image, %v", info.Size(), m.Size(), err)
	}
	a, b := make([]byte, m.PageSize()), make([]byte, m.PageSize())
	for off := int64(0); off < m.Size(); off += int64(len(a)) {
		if _, err := f.ReadAt(a, off); err != nil {
			t.Fatal(err)
		}
		if _, err := m.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		if off == 0 {
			a, b = plain(a), plain(b)
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("the image differs from the file in the page at %d", off)
		}
	}
}

// A child is a process that takes a snapshot.
type child struct {
	path, temp, out string
	uid             int
	setup           string // shell commands before it, in a mount namespace of their own
	compare         bool   // the image with the database, which is idle and in a rollback-journal mode
}

// run returns what the child says, and its error.
func (c child) run(t *testing.T) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{exe, "-test.run=^TestChild$"}
	if c.uid != 0 {
		// The test's own binary is in a directory that others may not enter.
		// By another process: one that this one starts meanwhile would have it open for writing, and nobody could run it.
		readable := filepath.Join(openDir(t, 0), "child")
		if out, err := exec.Command("install", "-m", "755", argv[0], readable).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		argv[0] = readable
		argv = append([]string{"setpriv", "--reuid", strconv.Itoa(c.uid), "--regid", strconv.Itoa(c.uid), "--clear-groups"}, argv...)
	}
	if c.setup != "" {
		argv = append([]string{"unshare", "-m", "sh", "-ec", c.setup + `; exec "$@"`, "sh"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("LITESTASH_TEST_COMPARE=%v", c.compare), "LITESTASH_TEST_TAKE="+c.path, "LITESTASH_TEST_TEMP="+c.temp, "LITESTASH_TEST_OUT="+c.out)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestReadOnly takes databases in directories where nothing can be written: on a read-only mount,
// and of another user.
func TestReadOnly(t *testing.T) {
	needRoot(t)
	const setup = "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(truncate); INSERT INTO t VALUES(2)"
	for _, state := range []string{"open", "open and unread", "crashed", "without shm", "closed", "delete"} {
		for _, way := range []string{"mount", "user"} {
			t.Run(state+" "+way, func(t *testing.T) {
				t.Parallel()
				dir := openDir(t, 0)
				path := filepath.Join(dir, "app.db")
				s := startShell(t, path, 0)
				s.do(t, setup)
				switch state {
				case "open":
					s.do(t, "SELECT * FROM t")
				case "crashed":
					s.Kill()
				case "without shm":
					s.Kill()
					if err := os.Remove(path + "-shm"); err != nil {
						t.Fatal(err)
					}
				case "closed":
					s.End()
				case "delete":
					s.do(t, "PRAGMA journal_mode=delete")
				}
				temp := openDir(t, nobody)
				c := child{path: path, temp: temp, out: filepath.Join(temp, "image.db")}
				if way == "mount" {
					c.setup = fmt.Sprintf("mount --bind %[1]s %[1]s && mount -o remount,ro,bind %[1]s", dir)
				} else {
					c.uid = nobody
				}
				before := prints(t, path)
				out, err := c.run(t)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if after := prints(t, path); before != after {
					t.Errorf("the source was changed: before\n%safter\n%s", before, after)
				}
				if got := run(t, c.out, "SELECT group_concat(a) FROM t; PRAGMA integrity_check"); got != "1,2\nok" {
					t.Errorf("the image has %q", got)
				}
			})
		}
	}
}

func TestUnreadable(t *testing.T) {
	needRoot(t)
	path := filepath.Join(openDir(t, 0), "app.db")
	run(t, path, "PRAGMA journal_mode=wal; CREATE TABLE t(a)")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := child{path: path, temp: openDir(t, nobody), uid: nobody}.run(t)
	if err == nil || !strings.Contains(out, "kind: "+fs.ErrPermission.Error()) || !strings.Contains(out, path) {
		t.Errorf("%v\n%s", err, out)
	}
	// The database may be read, but not what is in its WAL.
	s := startShell(t, path, 0)
	s.do(t, "INSERT INTO t VALUES(1)")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err = child{path: path, temp: openDir(t, nobody), uid: nobody}.run(t)
	if err == nil || !strings.Contains(out, "kind: "+fs.ErrPermission.Error()) || !strings.Contains(out, path) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNoRoom(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(5000000))")
	temp := t.TempDir()
	out, err := child{path: path, temp: temp, setup: "mount -t tmpfs -o size=1m none " + temp}.run(t)
	if err == nil || !strings.Contains(out, "kind: "+syscall.ENOSPC.Error()) || !strings.Contains(out, temp) || !strings.Contains(out, "5.0 MB needed, 1.0 MB free") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDiskFills fills the disk while the spool is on it.
func TestDiskFills(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	var log strings.Builder
	sp, err := newSpool(&Options{TempDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.close()
	if !strings.Contains(log.String(), "kept in memory") {
		t.Errorf("no warning of a temporary directory in memory: %q", log.String())
	}
	page := make([]byte, 65536)
	for n := range int64(100) {
		if err = sp.add(page, n*int64(len(page))); err != nil {
			break
		}
	}
	if err == nil {
		_, err = sp.finish()
	}
	e := new(SpaceError)
	if !errors.As(err, &e) || e.Dir != dir || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}
