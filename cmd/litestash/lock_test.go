package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litestash/litestash/store"
)

// lockStores returns the URLs of fresh stores in buckets with Object Lock on real servers. It skips the test if
// there are none. What is stored there stays.
func lockStores(t *testing.T) []string {
	t.Helper()
	urls := strings.Fields(os.Getenv("LITESTASH_TEST_S3_LOCK"))
	if len(urls) == 0 {
		if os.Getenv("LITESTASH_TEST_REQUIRE_SERVERS") == "1" {
			t.Fatal("LITESTASH_TEST_S3_LOCK names no store, and LITESTASH_TEST_REQUIRE_SERVERS=1 wants one")
		}
		t.Skip("LITESTASH_TEST_S3_LOCK names no store: set it to the URLs of stores in buckets with Object Lock")
	}
	for i, url := range urls {
		bucket, query, _ := strings.Cut(url, "?")
		urls[i] = fmt.Sprintf("%s/cmd-%d?%s", bucket, time.Now().UnixNano(), query)
	}
	return urls
}

// onLockStores runs the test on each of these.
func onLockStores(t *testing.T, test func(t *testing.T, url string)) {
	for _, url := range lockStores(t) {
		name := url[strings.Index(url, "endpoint=")+len("endpoint="):]
		t.Run(strings.ReplaceAll(name, "://", "-"), func(t *testing.T) {
			t.Setenv("LITESTASH_STATE_DIR", t.TempDir())
			test(t, url)
		})
	}
}

// openS3 opens the store behind the program's back.
func openS3(t *testing.T, url string) *store.S3 {
	t.Helper()
	st, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return st.(*store.S3)
}

// pushJSON pushes and returns what the program says of it.
func pushJSON(t *testing.T, args ...string) pushed {
	t.Helper()
	var r pushed
	if err := json.Unmarshal([]byte(mustLite(t, append([]string{"push", "--json"}, args...)...)), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPushLocked pushes with locks, and looks at those of what was pushed before each time.
func TestPushLocked(t *testing.T) {
	onLockStores(t, func(t *testing.T, url string) {
		db := filepath.Join(t.TempDir(), "app.db")
		sh(t, db, fill("one", 2000))
		t.Setenv("LITESTASH_STORE", url)
		st := openS3(t, url)
		check := func(r pushed, days int, mode store.LockMode, keys ...string) {
			t.Helper()
			least := time.Now().AddDate(0, 0, days)
			if r.Lock == nil || r.Lock.Mode != mode || r.Lock.Until.Before(least.Add(-time.Minute)) || r.Lock.Until.After(least.AddDate(0, 0, 1)) {
				t.Errorf("push says that the lock is %v, after %d days", r.Lock, days)
			}
			for _, key := range keys {
				got, err := st.LockOf(t.Context(), key, "")
				if err != nil || got.Mode != mode || got.Until.Before(r.Lock.Until) {
					t.Errorf("%s has the lock %v, %v, want %v", key, got, err, r.Lock)
				}
			}
		}
		one := pushJSON(t, db, "--lock-for", "30d")
		check(one, 30, store.Governance, one.Key)
		sh(t, db, "UPDATE words SET word = 'two' WHERE rowid < 9")
		two := pushJSON(t, db, "--lock-for", "40d")
		check(two, 40, store.Governance, one.Key, two.Key)
		check(pushJSON(t, db, "--lock-for", "50d"), 50, store.Governance, one.Key, two.Key) // nothing has changed

		out := mustLite(t, "push", db, "--even-unchanged", "--lock-for", "30d")
		if !strings.Contains(out, "locked  until ") || !strings.Contains(out, " UTC, in governance mode") {
			t.Errorf("push says:\n%s", out)
		}
		// What is built on has a laxer lock. Whether the server makes that stricter or not, all of it is strict then.
		strict := pushJSON(t, db, "--even-unchanged", "--lock-for", "60d", "--lock-mode", "compliance")
		check(strict, 60, store.Compliance, strict.Key)
		if strict.Kind == "delta" {
			check(strict, 60, store.Compliance, one.Key)
		} else if !strings.Contains(strict.Why, "locked in another mode") {
			t.Errorf("why: %s", strict.Why)
		}
		mustLite(t, "verify", "app.db", "--all-snapshots")
	})
}

// TestWatchLocked watches with locks: all that the newest snapshot rests on is locked for as long.
func TestWatchLocked(t *testing.T) {
	onLockStores(t, func(t *testing.T, url string) {
		r := newWatchRig(t)
		r.store = url
		sh(t, r.db, fill("one", 500))
		w := r.start(t, "--lock-for", "1d")
		w.await(t, "snapshot stored")
		sh(t, r.db, "UPDATE words SET word = 'two'")
		if kind := w.await(t, "snapshot stored")["kind"]; kind != "delta" {
			t.Errorf("the second snapshot is a %v", kind)
		}
		w.end(t, syscall.SIGTERM, 0)
		st, stored := openS3(t, url), 0
		for o, err := range st.List(t.Context(), store.Query{Prefix: "app.db/"}) {
			if err != nil {
				t.Fatal(err)
			}
			stored++
			until := time.Now().Add(24*time.Hour - time.Minute)
			if l, err := st.LockOf(t.Context(), o.Key, ""); err != nil || l.Mode != store.Governance || l.Until.Before(until) || l.Until.After(until.Add(2*time.Hour)) {
				t.Errorf("%s has the lock %v, %v", o.Key, l, err)
			}
		}
		if stored != 2 {
			t.Errorf("stored are %d", stored)
		}
		if got := r.restored(t, "SELECT word FROM words"); got != "two" {
			t.Errorf("the newest holds %s", got)
		}
	})
}

// TestLockedBelow deletes and prunes where something else lies on top of what was pushed: its own lock counts.
func TestLockedBelow(t *testing.T) {
	onLockStores(t, func(t *testing.T, url string) {
		db := sampleDB(t)
		t.Setenv("LITESTASH_STORE", url)
		locked := pushJSON(t, db, "--full", "--lock-for", "1h")
		free := pushJSON(t, db, "--full", "--even-unchanged")
		newest := pushJSON(t, db, "--full", "--even-unchanged")
		th := rootThief(t, url)
		th.overwrite(locked.Key, "forged")
		th.overwrite(free.Key, "forged")
		top := store.Lock{Mode: store.Governance, Until: time.Now().Add(time.Hour)}
		if err := openS3(t, url).ExtendLock(t.Context(), free.Key, top); err != nil {
			t.Fatal(err)
		}

		says := locked.Snapshot + " is locked until "
		if code, _, errs := lite(t, "delete", "app.db", free.Snapshot, locked.Snapshot); code != exitRefused || !strings.Contains(errs, says) {
			t.Errorf("delete exits with %d: %s", code, errs)
		}
		if code, _, errs := lite(t, "delete", "app.db", "--all-snapshots", "--confirm", "app.db"); code != exitRefused || !strings.Contains(errs, says) {
			t.Errorf("delete of all exits with %d: %s", code, errs)
		}
		if out := mustLite(t, "prune", "app.db", "--keep-last", "1"); strings.Count(out, "locked until ") != 1 {
			t.Errorf("prune says:\n%s", out)
		}
		if got := snapshotsIn(t, url, "app.db"); !slices.Equal(got, []string{locked.Snapshot, newest.Snapshot}) {
			t.Errorf("left are %q", got)
		}
	})
}

// TestPushCannotLock pushes with locks to buckets without.
func TestPushCannotLock(t *testing.T) {
	for _, url := range realStores(t) {
		db := sampleDB(t)
		if code, _, errs := lite(t, "push", db, "--lock-for", "30d", "--store", url); code != exitRefused || !strings.Contains(errs, "the store cannot lock objects") {
			t.Errorf("push exits with %d: %s", code, errs)
		}
		if got := lines(mustLite(t, "list", "-q", "--store", url)); len(got) != 1 {
			t.Errorf("something was stored: %q", got)
		}
	}
}

// TestDoctorLocks examines a bucket with Object Lock, before and after it was told to lock by itself.
func TestDoctorLocks(t *testing.T) {
	url := minioStore(t)
	th := rootThief(t, url)
	opts, err := store.ParseS3(url)
	if err != nil {
		t.Fatal(err)
	}
	bucket := fmt.Sprintf("doctor-%d", time.Now().UnixNano())
	mc := func(args ...string) {
		t.Helper()
		if out, err := th.mc("", args...); err != nil {
			t.Fatalf("mc %q: %v: %s", args, err, out)
		}
	}
	mc("mb", "--with-lock", "srv/"+bucket)
	url = "s3://" + bucket + "/db?endpoint=" + opts.Endpoint
	if out := mustLite(t, "doctor", "--read-only", "--store", url); !strings.Contains(out, "the bucket has Object Lock, for push --lock-for, and locks nothing by itself") {
		t.Errorf("doctor says:\n%s", out)
	}
	mc("retention", "set", "--default", "governance", "30d", "srv/"+bucket)
	out := mustLite(t, "doctor", "--read-only", "--store", url)
	if !strings.Contains(out, "the bucket locks each object for 30 days by itself, in governance mode") {
		t.Errorf("doctor says:\n%s", out)
	}
	if !strings.Contains(out, "the bucket keeps what is deleted") {
		t.Errorf("doctor says:\n%s", out)
	}
	mc("ilm", "rule", "add", "--expire-days", "3", "srv/"+bucket)
	if out := mustLite(t, "doctor", "--read-only", "--store", url); !strings.Contains(out, "snapshots included") {
		t.Errorf("doctor says of a rule that expires:\n%s", out)
	}
}

// TestBlindDeletion deletes with credentials that may know of locks but not list versions, whose locks count: nothing
// is deleted by somebody who cannot see whether it is locked, and it is said what is missing.
func TestBlindDeletion(t *testing.T) {
	s := newS3Server(t)
	db := sampleDB(t)
	t.Setenv("LITESTASH_STORE", s.store())
	one := pushJSON(t, db, "--name", "app.db", "--full", "--even-unchanged")
	pushJSON(t, db, "--name", "app.db", "--full", "--even-unchanged")
	s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		query := r.URL.Query()
		switch {
		case query.Has("object-lock"):
			fmt.Fprint(w, `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`)
		case query.Has("versions"):
			refuse(w, http.StatusForbidden, "AccessDenied", "no")
		default:
			real.ServeHTTP(w, r)
		}
	})
	for _, args := range [][]string{{"prune", "app.db", "--keep-last", "1"}, {"delete", "app.db", one.Snapshot}} {
		code, _, errs := lite(t, args...)
		if code != exitLockedOut || !strings.Contains(errs, "whether snapshots are locked") || !strings.Contains(errs, "litestash policy") {
			t.Errorf("litestash %q exits with %d: %s", args, code, errs)
		}
	}
	if got := snapshotsIn(t, s.store(), "app.db"); len(got) != 2 {
		t.Errorf("left are %q", got)
	}
}

// TestLocksUnknown deletes with credentials that may not ask whether the bucket can lock: what goes, goes, and it is said
// once what could not be told.
func TestLocksUnknown(t *testing.T) {
	s := newS3Server(t)
	db := sampleDB(t)
	t.Setenv("LITESTASH_STORE", s.store())
	var names []string
	for _, name := range []string{"app.db", "app.db", "app.db", "other.db", "other.db"} {
		names = append(names, pushJSON(t, db, "--name", name, "--full", "--even-unchanged", "--adopt").Snapshot)
	}
	s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if r.URL.Query().Has("object-lock") {
			refuse(w, http.StatusForbidden, "AccessDenied", "no")
			return
		}
		real.ServeHTTP(w, r)
	})
	for _, args := range [][]string{
		{"delete", "app.db", names[0], "--dry-run"},
		{"delete", "app.db", names[0]},
		{"prune", "--all-databases", "--keep-last", "1"},
		{"push", db, "--name", "app.db", "--full", "--even-unchanged", "--keep-last", "1"},
		{"delete", "app.db", "--all-snapshots", "--confirm", "app.db"},
	} {
		code, _, errs := lite(t, args...)
		if code != 0 || strings.Count(errs, "whether snapshots are locked cannot be told") != 1 {
			t.Errorf("litestash %q exits with %d: %s", args, code, errs)
		}
	}
	if got := snapshotsIn(t, s.store(), "other.db"); !slices.Equal(got, names[4:]) {
		t.Errorf("left are %q, want %q", got, names[4:])
	}
}
