package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/store"
)

// A thief has MinIO's client and the keys of a bucket.
type thief struct {
	t     *testing.T
	alias string // of the server, and the bucket and prefix of a store there
	env   []string
}

// newThief gets at the store with a URL by keys.
func newThief(t *testing.T, url, key, secret string) *thief {
	t.Helper()
	if os.Getenv("LITESTASH_TEST_MC") == "" {
		t.Fatal("LITESTASH_TEST_MC does not name MinIO's client: see .ci/with-servers")
	}
	opts, err := store.ParseS3(url)
	if err != nil {
		t.Fatal(err)
	}
	scheme, host, _ := strings.Cut(opts.Endpoint, "://")
	return &thief{
		t: t, alias: "srv/" + opts.Bucket + "/" + opts.Prefix + "/",
		env: append(os.Environ(), "MC_HOST_srv="+scheme+"://"+key+":"+secret+"@"+host, "MC_CONFIG_DIR="+t.TempDir()),
	}
}

// mc runs the client with what is on its standard input.
func (th *thief) mc(stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(th.t.Context(), os.Getenv("LITESTASH_TEST_MC"), append([]string{"--insecure", "--quiet"}, args...)...)
	cmd.Env, cmd.Stdin = th.env, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// overwrite puts other bytes under a key.
func (th *thief) overwrite(key, text string) {
	th.t.Helper()
	if out, err := th.mc(text, "pipe", th.alias+key); err != nil {
		th.t.Fatalf("overwrite %s: %v: %s", key, err, out)
	}
}

// rootThief has all keys.
func rootThief(t *testing.T, url string) *thief {
	return newThief(t, url, os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"))
}

// TestRecover hides and overwrites snapshots that are locked, the newer version locked as well or not, and brings
// them back.
func TestRecover(t *testing.T) {
	onLockStores(t, func(t *testing.T, url string) {
		t.Setenv("LITESTASH_STORE", url)
		db := filepath.Join(t.TempDir(), "app.db")
		var keys, dumps []string
		sh(t, db, fill("zero", 500))
		for _, word := range []string{"one", "two", "three", "four"} {
			sh(t, db, "UPDATE words SET word = '"+word+"' WHERE rowid < 9")
			keys = append(keys, pushJSON(t, db, "--lock-for", "1h").Key)
			dumps = append(dumps, sh(t, db, ".sha3sum"))
		}
		mustLite(t, "push", db, "--name", "other.db")
		other := snapshotsIn(t, url, "other.db")
		if out := mustLite(t, "recover"); out != "" {
			t.Fatalf("recover says of what is whole:\n%s", out)
		}

		st, th := openS3(t, url), rootThief(t, url)
		delete := func(key string) {
			if err := st.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		delete(keys[0])
		th.overwrite(keys[1], "forged")
		lock := store.Lock{Mode: store.Compliance, Until: time.Now().Add(time.Hour)}
		if err := st.ExtendLock(t.Context(), keys[1], lock); err != nil {
			t.Fatal(err)
		}
		th.overwrite(keys[2], "forged")
		delete(keys[2])
		th.overwrite(keys[2], "forged again")
		mustLite(t, "delete", "other.db", other[0])

		code, _, errs := lite(t, "restore", "app.db", "-o", filepath.Join(t.TempDir(), "x.db"))
		if code != exitDamaged || !strings.Contains(errs, "litestash recover --dry-run") {
			t.Errorf("restore exits with %d: %s", code, errs)
		}
		if out := mustLite(t, "recover", "--since", time.Now().Add(time.Hour).Format(time.RFC3339)); out != "" {
			t.Errorf("recover of a later time says:\n%s", out)
		}
		want := []string{"deleted", "overwritten", "overwritten"}
		check := func(args ...string) {
			t.Helper()
			var got []string
			for _, line := range lines(mustLite(t, append([]string{"recover"}, args...)...)) {
				for _, was := range []string{"deleted", "overwritten"} {
					if strings.HasPrefix(line, "app.db  ") && strings.Contains(line, ", "+was+" ") {
						got = append(got, was)
					}
				}
			}
			slices.Sort(got) // they are brought back side by side
			if !slices.Equal(got, want) {
				t.Errorf("recover %q says %q, want %q", args, got, want)
			}
		}
		check("app.db", "--dry-run")
		check("app.db", "--dry-run", "--since", "1h")
		check("app.db")
		if out := mustLite(t, "recover", "app.db"); out != "" {
			t.Errorf("recover again says:\n%s", out)
		}
		if code, _, errs := lite(t, "recover", "ap.db"); code != exitNotFound || !strings.Contains(errs, `database "ap.db" has no snapshots`) {
			t.Errorf("recover of a name that there is not exits with %d: %s", code, errs)
		}
		for i, n := range snapshotsIn(t, url, "app.db") {
			target := filepath.Join(t.TempDir(), "out.db")
			mustLite(t, "restore", "app.db", "--at", n, "-o", target)
			if got := sh(t, target, ".sha3sum"); got != dumps[i] {
				t.Errorf("snapshot %s is not what was pushed", n)
			}
			if oldest, err := store.Oldest(t.Context(), st, keys[i]); err != nil {
				t.Error(err)
			} else if l, err := st.LockOf(t.Context(), keys[i], oldest.ID); err != nil || l.Until.IsZero() {
				t.Errorf("%s has the lock %v, %v", keys[i], l, err)
			}
		}

		// What was deleted on purpose comes back as well, if it is asked for.
		if got := snapshotsIn(t, url, "other.db"); len(got) != 0 {
			t.Errorf("of the other there are %q", got)
		}
		if out := mustLite(t, "recover", "--json"); strings.Count(out, `"was":"deleted"`) != 1 || !strings.Contains(out, other[0]) {
			t.Errorf("recover says:\n%s", out)
		}
		if got := snapshotsIn(t, url, "other.db"); !slices.Equal(got, other) {
			t.Errorf("of the other there are %q, want %q", got, other)
		}
	})
}

// TestRecoverManyVersions puts more versions on top of a snapshot than a page of a listing holds.
func TestRecoverManyVersions(t *testing.T) {
	onLockStores(t, func(t *testing.T, url string) {
		if strings.Contains(url, "endpoint=https") {
			return // the listing is the same over http, and MinIO is slow with many versions
		}
		t.Setenv("LITESTASH_STORE", url)
		key := pushJSON(t, sampleDB(t), "--name", "app.db").Key
		st := openS3(t, url)
		oldest, err := store.Oldest(t.Context(), st, key)
		if err != nil {
			t.Fatal(err)
		}
		th := rootThief(t, url)
		th.overwrite(key, "forged")
		g, ctx := errgroup.WithContext(t.Context())
		g.SetLimit(8)
		for range 1020 {
			g.Go(func() error {
				_, err := st.CopyVersion(ctx, oldest)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		th.overwrite(key, "forged")
		if out := mustLite(t, "recover", "app.db"); strings.Count(out, "brought back") != 1 {
			t.Errorf("recover says:\n%s", out)
		}
		if out := mustLite(t, "recover", "app.db"); out != "" {
			t.Errorf("recover again says:\n%s", out)
		}
		mustLite(t, "verify", "app.db")
	})
}

// TestRecoverNoVersions asks buckets that keep none.
func TestRecoverNoVersions(t *testing.T) {
	for _, url := range realStores(t) {
		db := sampleDB(t)
		mustLite(t, "push", db, "--store", url)
		mustLite(t, "delete", "app.db", snapshotsIn(t, url, "app.db")[0], "--store", url)
		if code, _, errs := lite(t, "recover", "--store", url); code != exitRefused || !strings.Contains(errs, "it keeps no versions") {
			t.Errorf("%s: recover exits with %d: %s", url, code, errs)
		}
	}
}
