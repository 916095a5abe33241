package check

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	repository = "../.."
	deploy     = ".."
	program    = "/usr/local/bin/litestash" // in every file of deploy

	appUser       = 1000 // in every file of deploy that is about containers
	litestashUser = 997  // any other

	patience = time.Minute // for what takes a second

	shared = 0o777 | fs.ModeSticky // the mode of a directory for everybody
)

// An invocation is one command line in a file of deploy, with all that the file says about its
// surroundings.
type invocation struct {
	from     string // the file that it is in
	argv     []string
	env      map[string]string
	uid      int
	groups   []int
	writable []string // the directories that may be written to; no other may
}

// A box is the file system that an invocation sees: an image, and directories of this host in it.
type box struct {
	image  string
	mounts map[string]string // directories by their place in the image
}

// newBox returns a box around image with an empty directory at each of places, for everybody.
func newBox(t *testing.T, image string, places ...string) *box {
	t.Helper()
	needRoot(t)
	b := &box{image: image, mounts: map[string]string{}}
	for _, p := range places {
		b.mounts[p] = openDir(t, shared)
	}
	return b
}

// command returns a command that runs inv in the box. Its root is read-only, and so is all that inv may
// not write to. What starts becomes inv's program without a process between.
func (b *box) command(t *testing.T, inv invocation) *exec.Cmd {
	t.Helper()
	root := openDir(t, 0o755)
	var s strings.Builder
	// Some places are not in the image: runtimes make them, in a layer of the container's own.
	layer := openDir(t, 0o755)
	for _, dir := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(layer, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintf(&s, "mount -t tmpfs none %s; mkdir %[1]s/upper %[1]s/work\n", layer)
	fmt.Fprintf(&s, "mount -t overlay -o lowerdir=%s,upperdir=%[2]s/upper,workdir=%[2]s/work none %s\n", b.image, layer, root)
	fmt.Fprintf(&s, "mkdir -p %s/proc; mount -t proc none %[1]s/proc\n", root)
	for _, place := range slices.Sorted(maps.Keys(b.mounts)) {
		at := root + place
		fmt.Fprintf(&s, "mkdir -p %s; mount --bind %s %[1]s\n", at, b.mounts[place])
		if !slices.Contains(inv.writable, place) {
			fmt.Fprintf(&s, "mount -o remount,bind,ro %s\n", at)
		}
	}
	fmt.Fprintf(&s, "mount -o remount,ro %s\n", root)
	groups := strings.Trim(strings.ReplaceAll(fmt.Sprint(inv.groups), " ", ","), "[]")
	fmt.Fprintf(&s, "exec chroot --userspec=%d:%[1]d --groups=%s %s \"$@\"\n", inv.uid, groups, root)
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-euc", s.String(), "sh"}, inv.argv...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for k, v := range inv.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd
}

// run runs inv in the box to its end and returns what it prints; it must succeed.
func (b *box) run(t *testing.T, inv invocation) string {
	t.Helper()
	var out, log bytes.Buffer
	cmd := b.command(t, inv)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %q: %v\n%s%s", inv.from, inv.argv, err, out.Bytes(), log.Bytes())
	}
	return out.String()
}

// watch starts inv, which is a watch of path in the box, in the store dir, waits for its first snapshot,
// commits to the database, stops inv with a signal at once, and looks for the second snapshot.
func (b *box) watch(t *testing.T, inv invocation, store string, sql func(string) string) {
	t.Helper()
	var log bytes.Buffer
	cmd := b.command(t, inv)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for len(snapshots(t, store)) == 0 {
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("%s: %q ended: %v\n%s", inv.from, inv.argv, err, log.Bytes())
		case <-deadline:
			cmd.Process.Kill()
			<-ended
			t.Fatalf("%s: %q stored nothing\n%s", inv.from, inv.argv, log.Bytes())
		}
	}
	sql("INSERT INTO t VALUES('last')")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%s: %q: %v\n%s", inv.from, inv.argv, err, log.Bytes())
		}
	case <-deadline:
		cmd.Process.Kill()
		<-ended
		t.Fatalf("%s: %q did not end\n%s", inv.from, inv.argv, log.Bytes())
	}
	if got := snapshots(t, store); len(got) != 2 {
		t.Errorf("%s: %q stored %q, and not a first and a last snapshot\n%s", inv.from, inv.argv, got, log.Bytes())
	}
}

// snapshots returns the paths of all objects in a store that is a directory.
func snapshots(t *testing.T, store string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(store, "*", "*.zst"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A shell is a sqlite3 that has a database open, as an application does.
type shell struct {
	in  io.WriteCloser
	out io.Reader
}

// application makes a database in dir, as the application's user, and leaves it open in WAL mode. The
// function that it returns executes SQL there.
func application(t *testing.T, path string) func(sql string) string {
	t.Helper()
	if err := os.Chown(filepath.Dir(path), appUser, appUser); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	// Nobody but the user and the group may read what it makes.
	cmd := exec.Command("sh", "-c", `umask 027; exec setpriv --reuid "$1" --regid "$1" --clear-groups sqlite3 -batch "$2"`, "sh", fmt.Sprint(appUser), path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("sqlite3: %v", err)
		}
	})
	s := shell{in, out}
	s.do(t, "PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES('first')")
	return func(sql string) string { return s.do(t, sql) }
}

// do executes SQL and returns what it answers.
func (s *shell) do(t *testing.T, sql string) string {
	t.Helper()
	const end = "done\n"
	if _, err := fmt.Fprintf(s.in, "%s;\n.print done\n", sql); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	for b := make([]byte, 1); !bytes.HasSuffix(answer, []byte(end)); {
		if _, err := io.ReadFull(s.out, b); err != nil {
			t.Fatalf("sqlite3, after %q: %v", sql, err)
		}
		answer = append(answer, b...)
	}
	return strings.TrimSpace(strings.TrimSuffix(string(answer), end))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: cannot become other users or mount file systems")
	}
}

// openDir returns a new directory with a mode, which everybody can reach.
func openDir(t *testing.T, mode fs.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "litestash-deploy-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// read returns the text of a file of deploy.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// stopTimeout returns how long the last snapshots of a watch may take.
func stopTimeout(t *testing.T, args []string) time.Duration {
	t.Helper()
	value := "25s" // TestStopTimeout compares it with the program
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--stop-timeout="); ok {
			value = v
		} else if a == "--stop-timeout" && i+1 < len(args) {
			value = args[i+1]
		}
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestStopTimeout holds the default that stopTimeout knows to the program's.
func TestStopTimeout(t *testing.T) {
	i := buildImage(t)
	inv := i.inv
	inv.argv = append(inv.argv, "watch", "--help")
	help := newBox(t, i.root).run(t, inv)
	want := fmt.Sprintf("(default: %q)", stopTimeout(t, nil))
	for line := range strings.Lines(help) {
		if strings.Contains(line, "--stop-timeout ") && strings.Contains(line, want) {
			return
		}
	}
	t.Errorf("--stop-timeout has no %s in\n%s", want, help)
}
