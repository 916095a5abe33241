package check

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

// instance is what every unit is a template for.
const instance = "app"

// A section is the settings of a section of a unit, in order.
type section map[string][]string

func (s section) last(t *testing.T, name string) string {
	t.Helper()
	values := s[name]
	if len(values) == 0 {
		t.Fatalf("there is no %s=", name)
	}
	return values[len(values)-1]
}

func (s section) duration(t *testing.T, name string) time.Duration {
	t.Helper()
	value := strings.Replace(s.last(t, name), "min", "m", 1)
	d, err := time.ParseDuration(value)
	if err != nil {
		t.Fatalf("%s=: %v", name, err)
	}
	return d
}

// sections reads a unit and puts the instance in.
func sections(t *testing.T, path string) map[string]section {
	t.Helper()
	text := strings.ReplaceAll(read(t, path), "%i", instance)
	options, err := unit.DeserializeOptions(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	found := map[string]section{}
	for _, o := range options {
		if found[o.Section] == nil {
			found[o.Section] = section{}
		}
		found[o.Section][o.Name] = append(found[o.Section][o.Name], o.Value)
	}
	return found
}

// unitFiles copies all units to a directory, as those of the instance, with the program where it is on
// this machine, and returns their paths.
func unitFiles(t *testing.T, program string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(deploy, "systemd", "*@.*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 5 {
		t.Fatalf("this test knows of five units, and there are %q", found)
	}
	dir, copies := t.TempDir(), []string{}
	for _, f := range found {
		text := strings.ReplaceAll(read(t, filepath.Join("systemd", filepath.Base(f))), "ExecStart=/usr/local/bin/litestash", "ExecStart="+program)
		to := filepath.Join(dir, strings.Replace(filepath.Base(f), "@", "@"+instance, 1))
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, to)
	}
	return copies
}

// TestUnits lets systemd itself read the units: whatever it says of them is an error.
func TestUnits(t *testing.T) {
	files := unitFiles(t, buildImage(t).root+program)
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for _, name := range []string{"push", "verify"} {
		timer := sections(t, "systemd/litestash-"+name+"@.timer")["Timer"]
		out, err = exec.Command("systemd-analyze", "calendar", timer.last(t, "OnCalendar")).CombinedOutput()
		if err != nil {
			t.Errorf("%s: OnCalendar=: %v\n%s", name, err, out)
		}
		timer.duration(t, "RandomizedDelaySec")
		if timer.last(t, "Persistent") != "yes" {
			t.Errorf("%s: what was missed is not made up for", name)
		}
	}
}

// TestExposure keeps the services as closed as they are: 0 is closed and 100 open.
func TestExposure(t *testing.T) {
	for _, f := range unitFiles(t, program) {
		if filepath.Ext(f) != ".service" {
			continue
		}
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", f).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze security: %v\n%s", err, out)
		}
	}
}

// service returns the invocation of a service, with the settings of app.env and a directory as the store,
// in the box that the service would see.
func service(t *testing.T, path string) (*box, invocation, section) {
	t.Helper()
	s := sections(t, path)["Service"]
	b := newBox(t, buildImage(t).root, "/srv/app", "/store", "/tmp", "/var/tmp", "/var/lib/litestash")
	inv := invocation{
		from: path, uid: litestashUser, groups: []int{litestashUser, appUser},
		writable: []string{"/store", "/tmp", "/var/tmp"},
		env:      map[string]string{"STATE_DIRECTORY": "/var/lib/" + s.last(t, "StateDirectory")},
	}
	inv.writable = append(inv.writable, inv.env["STATE_DIRECTORY"])
	for _, e := range s["Environment"] {
		k, v, _ := strings.Cut(e, "=")
		inv.env[k] = strings.ReplaceAll(v, "%d", "/run/credentials")
	}
	if got := s.last(t, "EnvironmentFile"); got != "/etc/litestash/app.env" {
		t.Errorf("%s: its settings are in %s", path, got)
	}
	for line := range strings.Lines(read(t, "systemd/app.env")) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			inv.env[k] = v
		}
	}
	inv.env["LITESTASH_STORE"] = "/store"
	for _, word := range strings.Fields(s.last(t, "ExecStart")) {
		if name, ok := strings.CutPrefix(word, "$"); ok {
			value, ok := inv.env[name]
			if !ok {
				t.Errorf("%s: $%s is not set", path, name)
			}
			inv.argv = append(inv.argv, strings.Fields(value)...)
		} else {
			inv.argv = append(inv.argv, strings.ReplaceAll(word, "%d", "/run/credentials"))
		}
	}
	if temp := inv.env["LITESTASH_TEMP_DIR"]; temp != "/var/tmp" || s.last(t, "PrivateTmp") != "yes" {
		t.Errorf("%s: temporary files are in %s", path, temp)
	}
	if s.last(t, "ProtectSystem") != "strict" || s["ReadWritePaths"] != nil {
		t.Errorf("%s: more can be written to than this test thinks", path)
	}
	credential := s["LoadCredential"][0]
	name, file, _ := strings.Cut(credential, ":")
	if file != "/etc/litestash/app.aws" || inv.env["AWS_SHARED_CREDENTIALS_FILE"] != "/run/credentials/"+name {
		t.Errorf("%s: %s is not what the program is given", path, credential)
	}
	return b, inv, s
}

func TestWatchService(t *testing.T) {
	b, inv, s := service(t, "systemd/litestash-watch@.service")
	if stop := s.duration(t, "TimeoutStopSec"); stop < stopTimeout(t, inv.argv)+10*time.Second {
		t.Errorf("it is killed after %v", stop)
	}
	u := sections(t, "systemd/litestash-watch@.service")["Unit"]
	// With fewer starts in the interval than fit into it, it never gives up, and nobody is told.
	if starts := u.duration(t, "StartLimitIntervalSec") / s.duration(t, "RestartSec"); fmt.Sprint(int64(starts)) <= u.last(t, "StartLimitBurst") {
		t.Errorf("it is started %d times at most, and given up after %s", starts, u.last(t, "StartLimitBurst"))
	}
	b.watch(t, inv, b.mounts["/store"], application(t, filepath.Join(b.mounts["/srv/app"], "app.db")))
}

func TestPushService(t *testing.T) {
	b, inv, _ := service(t, "systemd/litestash-push@.service")
	application(t, filepath.Join(b.mounts["/srv/app"], "app.db"))
	b.run(t, inv)
	if got := snapshots(t, b.mounts["/store"]); len(got) != 1 {
		t.Errorf("the store has %q", got)
	}
}

// TestVerifyService drills what the service for pushes has stored, with SQLite's full check, and tells that to a service
// for alarms.
func TestVerifyService(t *testing.T) {
	push, inv, _ := service(t, "systemd/litestash-push@.service")
	application(t, filepath.Join(push.mounts["/srv/app"], "app.db"))
	push.run(t, inv)

	pings := make(chan string, 10)
	alarms := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { pings <- r.URL.Path }))
	defer alarms.Close()
	b, inv, s := service(t, "systemd/litestash-verify@.service")
	if name, file, _ := strings.Cut(s.last(t, "LoadCredential"), ":"); name != "ping" || file != "/etc/litestash/app.ping" {
		t.Errorf("the address for pings is %s in %s", name, file)
	}
	b.mounts["/store"] = push.mounts["/store"]
	b.mounts["/run/credentials"] = openDir(t, 0o755)
	if err := os.WriteFile(filepath.Join(b.mounts["/run/credentials"], "ping"), []byte(alarms.URL+"/drill\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := b.run(t, inv); !strings.Contains(out, "proved") {
		t.Errorf("the drill says:\n%s", out)
	}
	if proofs, err := filepath.Glob(filepath.Join(b.mounts["/store"], ".litestash/proofs/app.db/*.full.sound.json")); err != nil || len(proofs) != 1 {
		t.Errorf("recorded are %q, %v", proofs, err)
	}
	alarms.Close() // after the last answer
	close(pings)
	var got []string
	for path := range pings {
		got = append(got, path)
	}
	if !slices.Equal(got, []string{"/drill/start", "/drill"}) {
		t.Errorf("the pings were %q", got)
	}
}

// TestSystemCalls looks at what system calls a push makes: the services must allow them, or it works
// everywhere but there.
func TestSystemCalls(t *testing.T) {
	b, inv, s := service(t, "systemd/litestash-push@.service")
	application(t, filepath.Join(b.mounts["/srv/app"], "app.db"))
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := b.command(t, inv)
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args = strace, append([]string{"strace", "-f", "-qq", "-o", trace}, cmd.Args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	_, own, ok := strings.Cut(string(text), `execve("`+program+`"`)
	if !ok {
		t.Fatalf("the program was not seen to begin:\n%s", text)
	}
	allowed := allowedCalls(t, s["SystemCallFilter"])
	seen := map[string]bool{}
	_, own, _ = strings.Cut(own, "\n")
	for line := range strings.Lines(own) {
		call := regexp.MustCompile(`^\d+ +(\w+)\(`).FindStringSubmatch(line)
		if call == nil {
			continue // the rest of a call, or a signal
		}
		seen[call[1]] = true
		if !allowed[call[1]] {
			t.Errorf("not allowed: %s", line)
		}
		if strings.Contains(line, "PROT_EXEC") {
			t.Errorf("MemoryDenyWriteExecute= may not allow: %s", line)
		}
		if family := regexp.MustCompile(`socket\((AF_\w+)`).FindStringSubmatch(line); family != nil &&
			!slices.Contains(strings.Fields(s.last(t, "RestrictAddressFamilies")), family[1]) {
			t.Errorf("RestrictAddressFamilies= does not allow: %s", line)
		}
	}
	if !seen["openat"] || !seen["fcntl"] || !seen["write"] {
		t.Errorf("not everything was traced: %v", seen)
	}
}

// allowedCalls returns what SystemCallFilter= allows, by the sets of this systemd.
func allowedCalls(t *testing.T, filter []string) map[string]bool {
	t.Helper()
	out, err := exec.Command("systemd-analyze", "syscall-filter", "--no-pager").Output()
	if err != nil {
		t.Fatal(err)
	}
	sets, set := map[string][]string{}, ""
	for line := range strings.Lines(string(out)) {
		switch word := strings.TrimSpace(line); {
		case word == "" || word[0] == '#':
		case line[0] == '@':
			set = word
		default:
			sets[set] = append(sets[set], word)
		}
	}
	allowed := map[string]bool{}
	var mark func(name string, allow bool)
	mark = func(name string, allow bool) {
		if name[0] != '@' {
			allowed[name] = allow
			return
		}
		if sets[name] == nil {
			t.Fatalf("systemd has no set %s", name)
		}
		for _, member := range sets[name] {
			mark(member, allow)
		}
	}
	for _, f := range append([]string{"@default"}, filter...) {
		names, deny := strings.CutPrefix(f, "~")
		for _, name := range strings.Fields(names) {
			mark(name, !deny)
		}
	}
	return allowed
}
