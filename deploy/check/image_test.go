package check

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// stages parses a Dockerfile with BuildKit's own parser, which has to be content with it.
func stages(t *testing.T, path string) []instructions.Stage {
	t.Helper()
	r, err := parser.Parse(strings.NewReader(read(t, path)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, w := range r.Warnings {
		t.Errorf("%s: %s", path, w.Short)
	}
	all, args, err := instructions.Parse(r.AST, nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(all) != 2 || len(args) != 0 {
		t.Fatalf("%s: %d stages and %d arguments; this test knows of two and none", path, len(all), len(args))
	}
	return all
}

// all returns the commands of one kind in a stage.
func all[T instructions.Command](stage instructions.Stage) []T {
	var found []T
	for _, c := range stage.Commands {
		if c, ok := c.(T); ok {
			found = append(found, c)
		}
	}
	return found
}

// settings returns what a stage says about the processes that run in it.
func settings(t *testing.T, path string, stage instructions.Stage) (user string, inv invocation) {
	t.Helper()
	inv = invocation{from: path, env: map[string]string{}}
	for _, c := range stage.Commands {
		switch c := c.(type) {
		case *instructions.EnvCommand:
			for _, kv := range c.Env {
				inv.env[kv.Key] = kv.Value
			}
		case *instructions.UserCommand:
			user = c.User
		case *instructions.EntrypointCommand:
			inv.argv = slices.Clone([]string(c.CmdLine))
			if c.PrependShell {
				t.Errorf("%s: the entry point is a shell, which does not pass signals on", path)
			}
		}
	}
	return user, inv
}

// An image is what Dockerfile makes.
type image struct {
	root string // of its file system
	user string
	inv  invocation // its entry point
}

// buildImage runs the commands of Dockerfile's first stage, as they are there, on a copy of what would be
// sent to an engine, once in all tests.
func buildImage(t *testing.T) image {
	t.Helper()
	needRoot(t)
	const path = "docker/Dockerfile"
	s := stages(t, path)
	i := image{root: built(t, s[0])}
	i.user, i.inv = settings(t, path, s[1])
	return i
}

var building struct {
	once sync.Once
	dir  string // with the context in src and the image in rootfs
}

func TestMain(m *testing.M) {
	code := m.Run()
	if building.dir != "" {
		os.RemoveAll(building.dir)
	}
	os.Exit(code)
}

func built(t *testing.T, stage instructions.Stage) string {
	t.Helper()
	building.once.Do(func() {
		dir, err := os.MkdirTemp("/var/tmp", "litestash-image-*")
		if err != nil {
			t.Fatal(err)
		}
		building.dir = dir
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		src := filepath.Join(dir, "src")
		buildContext(t, src)
		for _, c := range all[*instructions.RunCommand](stage) {
			line := strings.Join(c.CmdLine, " ")
			if out, err := buildCommand(src, dir, line, runtime.GOARCH).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
		}
	})
	root := filepath.Join(building.dir, "rootfs")
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("the image could not be built: %v", err)
	}
	return root
}

// buildCommand returns a line of the first stage, to be run in src with dir as the root of what it
// makes.
func buildCommand(src, dir, line, arch string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(line, "/rootfs", dir+"/rootfs"))
	cmd.Dir = src
	// In an engine no setting of this host's is there. An empty GOFLAGS would be that of `go env -w`.
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=auto", "GOWORK=off", "TARGETOS=linux", "TARGETARCH="+arch)
	return cmd
}

// buildContext copies to dst what an engine would get of the repository.
func buildContext(t *testing.T, dst string) {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(read(t, "docker/Dockerfile.dockerignore")))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	list := git(t, repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		if skip, err := ignored.MatchesOrParentMatches(name); err != nil || skip {
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		copyFile(t, filepath.Join(repository, name), filepath.Join(dst, name))
	}
	gitDir := strings.TrimSpace(git(t, repository, "rev-parse", "--absolute-git-dir"))
	if err := os.CopyFS(filepath.Join(dst, ".git"), os.DirFS(gitDir)); err != nil {
		t.Fatal(err)
	}
}

// copyFile copies a file, if it is there: one may be deleted and git not know.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, info.Mode()); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "safe.directory=*"}, args...)...)
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, log.Bytes())
	}
	return string(out)
}

// TestDockerfile checks what the final stage is, and that what the tests build by hand is all that an
// engine would.
func TestDockerfile(t *testing.T) {
	const path = "docker/Dockerfile"
	s := stages(t, path)
	build, final := s[0], s[1]
	goMod, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(goMod)
	if language == nil || build.BaseName != "golang:"+string(language[1]) {
		t.Errorf("it is built with %s, and go.mod says Go %s", build.BaseName, language)
	}
	if final.BaseName != "scratch" {
		t.Errorf("the image is made from %s", final.BaseName)
	}
	copies := all[*instructions.CopyCommand](final)
	if len(copies) != 1 || copies[0].From != build.Name || !slices.Equal(copies[0].SourcePaths, []string{"/rootfs/"}) || copies[0].DestPath != "/" {
		t.Errorf("the image is not what is in /rootfs: %v", copies)
	}
	user, inv := settings(t, path, final)
	if user != "65532:65532" {
		t.Errorf("it runs as %q", user)
	}
	if !slices.Equal(inv.argv, []string{program}) {
		t.Errorf("its entry point is %q", inv.argv)
	}
}

// TestImage looks at the files in the image.
func TestImage(t *testing.T) {
	i := buildImage(t)
	want := map[string]fs.FileMode{
		".": fs.ModeDir | 0o755, "etc": fs.ModeDir | 0o755, "etc/ssl": fs.ModeDir | 0o755, "etc/ssl/certs": fs.ModeDir | 0o755,
		"etc/ssl/certs/ca-certificates.crt": 0o644,
		"tmp":                               fs.ModeDir | fs.ModeSticky | 0o777,
		"usr":                               fs.ModeDir | 0o755, "usr/local": fs.ModeDir | 0o755, "usr/local/bin": fs.ModeDir | 0o755,
		"usr/local/bin/litestash": 0o755,
		"var":                     fs.ModeDir | 0o755, "var/lib": fs.ModeDir | 0o755,
		"var/lib/litestash": fs.ModeDir | fs.ModeSticky | 0o777,
	}
	seen := 0
	err := fs.WalkDir(os.DirFS(i.root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen++
		if mode, ok := want[path]; !ok || info.Mode() != mode {
			t.Errorf("%s has the mode %v, want %v", path, info.Mode(), mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen != len(want) {
		t.Errorf("the image has %d files and directories, want %d", seen, len(want))
	}
	checkStatic(t, i.root+program, elf.EM_NONE)
}

// TestPlatforms builds the program for the other platforms that the Dockerfile's head names.
func TestPlatforms(t *testing.T) {
	buildImage(t)
	platforms := regexp.MustCompile(`--platform (\S+)`).FindStringSubmatch(read(t, "docker/Dockerfile"))
	if platforms == nil {
		t.Fatal("no platforms are named")
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for platform := range strings.SplitSeq(platforms[1], ",") {
		arch := strings.TrimPrefix(platform, "linux/")
		dir := t.TempDir()
		n := 0
		for _, c := range all[*instructions.RunCommand](stages(t, "docker/Dockerfile")[0]) {
			line := strings.Join(c.CmdLine, " ")
			if !strings.Contains(line, "go build") {
				continue
			}
			n++
			if out, err := buildCommand(filepath.Join(building.dir, "src"), dir, line, arch).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", platform, err, out)
			}
			checkStatic(t, filepath.Join(dir, "rootfs", program), machines[arch])
		}
		if n != 1 {
			t.Errorf("%d commands build the program", n)
		}
	}
}

// checkStatic checks that the program at path needs no other file, and, unless it is EM_NONE, which
// machine it is for.
func checkStatic(t *testing.T, path string, machine elf.Machine) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if machine != elf.EM_NONE && f.Machine != machine {
		t.Errorf("it is for %v, want %v", f.Machine, machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s: it is linked dynamically: %v", f.Machine, p.Type)
		}
	}
}

// TestVersion checks that the program in the image knows its revision, and that nothing that git tracks
// is kept from the engine.
func TestVersion(t *testing.T) {
	i := buildImage(t)
	src := filepath.Join(building.dir, "src")
	status := func(dir string) string {
		return git(t, dir, "status", "--porcelain", "--untracked-files=no")
	}
	if got, want := status(src), status(repository); got != want {
		t.Errorf("in the context git sees\n%sand in the repository\n%s", got, want)
	}
	inv := i.inv
	inv.argv = append(inv.argv, "--version")
	inv.uid = 65532
	revision := strings.TrimSpace(git(t, repository, "rev-parse", "HEAD"))[:12]
	if got := newBox(t, i.root).run(t, inv); !strings.Contains(got, "revision "+revision) {
		t.Errorf("%s: no revision %s", got, revision)
	}
}

// TestPushToDirectory runs the image as its own user, with nothing but its volumes to write to.
func TestPushToDirectory(t *testing.T) {
	i := buildImage(t)
	b := newBox(t, i.root, "/data", "/store", "/tmp", "/var/lib/litestash")
	sql := application(t, filepath.Join(b.mounts["/data"], "app.db"))
	inv := i.inv
	inv.uid, inv.groups = 65532, []int{65532, appUser}
	inv.writable = []string{"/store", "/tmp", "/var/lib/litestash"}
	push := func() {
		t.Helper()
		inv := inv
		inv.argv = append(slices.Clone(inv.argv), "push", "--store", "/store", "/data/app.db")
		b.run(t, inv)
	}
	push()
	sql("INSERT INTO t VALUES('second')")
	push()
	if got := snapshots(t, b.mounts["/store"]); len(got) != 2 {
		t.Errorf("the store has %q", got)
	}
	remembered, err := os.ReadDir(b.mounts["/var/lib/litestash"])
	if err != nil {
		t.Fatal(err)
	}
	if len(remembered) == 0 {
		t.Error("nothing is remembered")
	}
	inv.argv = append(slices.Clone(inv.argv), "restore", "--store", "/store", "app.db", "-o", "/tmp/restored.db", "--check", "full")
	b.run(t, inv)
	out, err := exec.Command("sqlite3", filepath.Join(b.mounts["/tmp"], "restored.db"), "SELECT group_concat(a) FROM t").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "first,second" {
		t.Errorf("restored: %s, %v", out, err)
	}
}

// TestPushToServers does it with real servers; over https they are trusted because of the authorities at
// the place where the image has them.
func TestPushToServers(t *testing.T) {
	servers := strings.Fields(os.Getenv("LITESTASH_TEST_S3"))
	if len(servers) == 0 {
		if os.Getenv("LITESTASH_TEST_REQUIRE_SERVERS") != "" {
			t.Fatal("LITESTASH_TEST_S3 names no server")
		}
		t.Skip("LITESTASH_TEST_S3 names no server: see .ci/with-servers")
	}
	i := buildImage(t)
	for _, server := range servers {
		b := newBox(t, i.root, "/data", "/tmp", "/var/lib/litestash", "/etc/ssl/certs", "/etc/litestash")
		application(t, filepath.Join(b.mounts["/data"], "app.db"))
		copyFile(t, os.Getenv("AWS_CA_BUNDLE"), filepath.Join(b.mounts["/etc/ssl/certs"], "ca-certificates.crt"))
		credentials := "[default]\naws_access_key_id = " + os.Getenv("AWS_ACCESS_KEY_ID") + "\naws_secret_access_key = " + os.Getenv("AWS_SECRET_ACCESS_KEY") + "\n"
		if err := os.WriteFile(filepath.Join(b.mounts["/etc/litestash"], "credentials"), []byte(credentials), 0o644); err != nil {
			t.Fatal(err)
		}
		inv := i.inv
		inv.uid, inv.groups, inv.writable = 65532, []int{appUser}, []string{"/tmp", "/var/lib/litestash"}
		inv.env["LITESTASH_STORE"] = strings.Replace(server, "?", "/"+filepath.Base(b.mounts["/data"])+"?", 1)
		inv.env["AWS_SHARED_CREDENTIALS_FILE"] = "/etc/litestash/credentials"
		inv.argv = append(slices.Clone(i.inv.argv), "push", "/data/app.db")
		b.run(t, inv)
		inv.argv = append(slices.Clone(i.inv.argv), "verify", "app.db")
		b.run(t, inv)
	}
}

// TestExecImage runs an application under Litestash, on the file system of this host instead of the one
// that exec.Dockerfile begins with: without a database at first, then with the one in the store.
func TestExecImage(t *testing.T) {
	const path = "docker/exec.Dockerfile"
	i := buildImage(t)
	final := stages(t, path)[1]
	user, inv := settings(t, path, final)
	if user != "1000:1000" {
		t.Errorf("it runs as %q", user)
	}
	commands := all[*instructions.CmdCommand](final)
	if len(commands) != 1 || commands[0].PrependShell {
		t.Fatalf("its command is %v", commands)
	}
	copies := all[*instructions.CopyCommand](final)
	if len(copies) != 1 || copies[0].From != "litestash" || !slices.Equal(copies[0].SourcePaths, []string{program}) || copies[0].DestPath != program {
		t.Errorf("it does not get the program where the other image has it: %v", copies)
	}
	inv.argv = append(inv.argv, commands[0].CmdLine...)
	inv.uid, inv.groups = appUser, []int{appUser}
	inv.writable = []string{"/data", "/store", "/tmp", "/var/lib/litestash"}
	inv.env["LITESTASH_STORE"], inv.env["LITESTASH_HOST"] = "/store", "app"
	store, stored := "", 0
	for visits := 1; visits <= 2; visits++ {
		b := newBox(t, "/", "/data", "/store", "/tmp", "/var/lib/litestash")
		b.mounts["/usr/local/bin"] = filepath.Join(i.root, "usr/local/bin")
		if store != "" {
			b.mounts["/store"] = store
		}
		store = b.mounts["/store"]
		b.run(t, inv)
		got := snapshots(t, store) // the first push of a run may see what the application writes, or only the last one
		if len(got) <= stored {
			t.Fatalf("after %d runs the store has %q", visits, got)
		}
		stored = len(got)
		out, err := exec.Command("sqlite3", filepath.Join(b.mounts["/data"], "app.db"), "SELECT count(*) FROM visits").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != map[int]string{1: "1", 2: "2"}[visits] {
			t.Errorf("after %d runs: %s, %v", visits, out, err)
		}
	}
}
