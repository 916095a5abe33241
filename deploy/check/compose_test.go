package check

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// project loads a compose file as docker compose does: by its schema, with unknown keys and variables
// that are not set being errors.
func project(t *testing.T, path string, env ...string) *types.Project {
	t.Helper()
	opts, err := cli.NewProjectOptions([]string{path}, cli.WithEnv(env), cli.WithInterpolation(true), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := opts.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for name, s := range p.Services {
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: %s listens on %q:%s", path, name, port.HostIP, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if _, ok := p.Volumes[v.Source]; v.Type == types.VolumeTypeVolume && !ok {
				t.Errorf("%s: %s has a volume of no name: %s", path, name, v.Target)
			}
		}
	}
	return p
}

func TestMinIOCompose(t *testing.T) {
	p := project(t, filepath.Join(repository, "minio-compose.yml"))
	minio, ok := p.Services["minio"]
	if !ok || len(minio.Ports) != 2 {
		t.Fatalf("no service minio with two ports: %+v", minio.Ports)
	}
	if !regexp.MustCompile(`^[^@]+:RELEASE\.[0-9TZ-]+$`).MatchString(minio.Image) {
		t.Errorf("its image is not pinned to a release: %s", minio.Image)
	}
	if minio.HealthCheck == nil {
		t.Error("`up --wait` has nothing to wait for")
	}
}

func TestCompose(t *testing.T) {
	const path = "compose/compose.yml"
	p := project(t, filepath.Join(deploy, path), "APP_IMAGE=app", "LITESTASH_STORE=/store")
	s, app := p.Services["litestash"], p.Services["app"]
	if _, ok := app.DependsOn["litestash"]; !ok {
		t.Error("the application is not stopped first")
	}
	if s.User != app.User || s.User != fmt.Sprintf("%d:%[1]d", appUser) {
		t.Errorf("the application runs as %s, litestash as %s", app.User, s.User)
	}
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Errorf("read_only %v, cap_drop %q, security_opt %q", s.ReadOnly, s.CapDrop, s.SecurityOpt)
	}
	if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < stopTimeout(t, s.Command)+10*time.Second {
		t.Errorf("it is killed %v after it is asked to stop", s.StopGracePeriod)
	}
	if s.Build == nil || s.Build.Dockerfile != "deploy/docker/Dockerfile" || filepath.Clean(s.Build.Context) != abs(t, repository) {
		t.Errorf("it is built from %+v", s.Build)
	}
	if len(s.Tmpfs) != 0 {
		t.Errorf("temporary files are kept in memory: %q", s.Tmpfs)
	}

	i := buildImage(t)
	inv := i.inv
	inv.from, inv.argv, inv.uid, inv.groups = path, append(slices.Clone(i.inv.argv), s.Command...), appUser, []int{appUser}
	for k, v := range s.Environment {
		if v != nil {
			inv.env[k] = *v
		}
	}
	for _, secret := range s.Secrets {
		if at := "/run/secrets/" + secret.Source; inv.env["AWS_SHARED_CREDENTIALS_FILE"] != at {
			t.Errorf("a secret is at %s, and looked for at %s", at, inv.env["AWS_SHARED_CREDENTIALS_FILE"])
		}
	}
	b := newBox(t, i.root, "/store")
	inv.writable = []string{"/store"}
	for _, v := range s.Volumes {
		b.mounts[v.Target] = openDir(t, shared)
		if !v.ReadOnly {
			inv.writable = append(inv.writable, v.Target)
		}
	}
	checkMounts(t, inv, b)
	b.watch(t, inv, b.mounts["/store"], application(t, filepath.Join(b.mounts["/data"], "app.db")))
}

// checkMounts checks that an invocation cannot write to the database, and has room for what it writes.
func checkMounts(t *testing.T, inv invocation, b *box) {
	t.Helper()
	if b.mounts["/data"] == "" || slices.Contains(inv.writable, "/data") {
		t.Errorf("%s: /data is not mounted read-only", inv.from)
	}
	state := inv.env["LITESTASH_STATE_DIR"]
	inside := func(dir string) func(string) bool {
		return func(w string) bool { return dir == w || strings.HasPrefix(dir, w+"/") }
	}
	if !slices.ContainsFunc(inv.writable, inside(state)) || !slices.Contains(inv.writable, "/tmp") {
		t.Errorf("%s: of %s and /tmp, only %q may be written to", inv.from, state, inv.writable)
	}
}

func abs(t *testing.T, path string) string {
	t.Helper()
	a, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
