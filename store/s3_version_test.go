package store_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rclone/gofakes3"

	"github.com/litestash/litestash/store"
)

// onLockServers runs the test on each store in LITESTASH_TEST_S3_LOCK, which are in buckets with versions and
// Object Lock, below a prefix of its own. What is locked there stays.
func onLockServers(t *testing.T, test func(t *testing.T, u url.URL)) {
	t.Helper()
	onServers(t, "LITESTASH_TEST_S3_LOCK", "in buckets with Object Lock", func(t *testing.T, u url.URL) {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/test-" + rand.Text()
		test(t, u)
	})
}

// onVersioned runs the test on stores that keep versions: on real servers and in process.
func onVersioned(t *testing.T, test func(t *testing.T, s *store.S3)) {
	t.Run("in process", func(t *testing.T) {
		f := newFake(t)
		on := gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}
		if err := f.backend.SetVersioningConfiguration("bucket", on); err != nil {
			t.Fatal(err)
		}
		test(t, f.open(t, nil))
	})
	t.Run("servers", func(t *testing.T) {
		onLockServers(t, func(t *testing.T, u url.URL) { test(t, openBucket(t, u, nil)) })
	})
}

// openBucket opens the store that a URL names. change may be nil.
func openBucket(t *testing.T, u url.URL, change func(*store.S3Options)) *store.S3 {
	t.Helper()
	opts, err := store.ParseS3(u.String())
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&opts)
	}
	s, err := store.OpenS3(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// overwrite puts another object under a key that is taken, as anyone may who may store.
func overwrite(t *testing.T, s *store.S3, key, text string) {
	t.Helper()
	if err := s.Overwrite(t.Context(), key, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, s store.Store, key, text string) store.Object {
	t.Helper()
	o, err := s.Create(t.Context(), key, strings.NewReader(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func remove(t *testing.T, s store.Store, key string) {
	t.Helper()
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// versions returns what a key with that prefix has, as the key, the content and a star for what is the newest.
func versions(t *testing.T, s store.Versioner, q store.Query) (shown []string, all []store.Version) {
	t.Helper()
	for v, err := range s.Versions(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		text := v.Key + " " + cmp.Or(readVersion(t, s, v), "hidden")
		if v.Newest {
			text += " *"
		}
		shown, all = append(shown, text), append(all, v)
	}
	return shown, all
}

func readVersion(t *testing.T, s store.Versioner, v store.Version) string {
	t.Helper()
	r, err := s.OpenVersion(t.Context(), v, 0, -1)
	if v.Marker {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open a marker: %v", err)
		}
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil || int64(len(text)) != v.Size {
		t.Errorf("read %d of %d bytes: %v", len(text), v.Size, err)
	}
	return string(text)
}

func TestVersions(t *testing.T) {
	onVersioned(t, func(t *testing.T, s *store.S3) {
		if ok, err := s.Versioned(t.Context()); !ok || err != nil {
			t.Fatalf("versioned: %v, %v", ok, err)
		}
		create(t, s, "a", "one")
		overwrite(t, s, "a", "two")
		create(t, s, "a.longer key+1", "other")
		create(t, s, "b/c", "deep")
		remove(t, s, "b/c")
		create(t, s, "b/d", "deep")
		for _, c := range []struct {
			q    store.Query
			want []string
		}{
			{store.Query{}, []string{"a two *", "a one", "a.longer key+1 other *", "b/c hidden *", "b/c deep", "b/d deep *"}},
			{store.Query{Prefix: "b/"}, []string{"b/c hidden *", "b/c deep", "b/d deep *"}},
			{store.Query{After: "a"}, []string{"a.longer key+1 other *", "b/c hidden *", "b/c deep", "b/d deep *"}},
			{store.Query{Shallow: true, After: "a"}, []string{"a.longer key+1 other *"}},
			{store.Query{Prefix: "x"}, nil},
			{store.Query{Prefix: "./"}, nil},
		} {
			if got, _ := versions(t, s, c.q); !slices.Equal(got, c.want) {
				t.Errorf("%+v:\ngot  %q\nwant %q", c.q, got, c.want)
			}
		}
		for v, err := range s.Versions(t.Context(), store.Query{}) {
			if v.Key != "a" || err != nil {
				t.Errorf("first %+v, %v", v, err)
			}
			break // a listing that is not read to its end
		}
	})
}

func TestOldest(t *testing.T) {
	onVersioned(t, func(t *testing.T, s *store.S3) {
		create(t, s, "a", "one")
		for range 3 {
			overwrite(t, s, "a", "forged")
			remove(t, s, "a")
		}
		create(t, s, "a.age", "longer")
		v, err := store.Oldest(t.Context(), s, "a")
		if err != nil || readVersion(t, s, v) != "one" {
			t.Errorf("oldest %+v, %v", v, err)
		}
		for _, key := range []string{"none", "a.a"} {
			if v, err := store.Oldest(t.Context(), s, key); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %+v, %v", key, v, err)
			}
		}
	})
}

// TestOpenVersion reads ranges of what ordinary reads do not see, and of what they do.
func TestOpenVersion(t *testing.T) {
	onLockServers(t, func(t *testing.T, u url.URL) { // gofakes3 does not know enough of versions
		s := openBucket(t, u, nil)
		create(t, s, "a", "first version")
		overwrite(t, s, "a", "second")
		_, all := versions(t, s, store.Query{})
		for _, c := range []struct {
			v      store.Version
			off, n int64
			want   string
		}{{all[1], 0, 5, "first"}, {all[1], 6, -1, "version"}, {all[1], 13, -1, ""}, {all[0], 3, 100, "ond"}} {
			r, err := s.OpenVersion(t.Context(), c.v, c.off, c.n)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); string(got) != c.want || err != nil {
				t.Errorf("%d bytes from %d: %q, %v, want %q", c.n, c.off, got, err, c.want)
			}
			r.Close()
		}
		if err := s.DeleteVersion(t.Context(), all[1]); err != nil {
			t.Fatal(err)
		}
		if _, err := s.OpenVersion(t.Context(), all[1], 0, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open what is gone: %v", err)
		}
	})
}

func TestDeleteVersion(t *testing.T) {
	onLockServers(t, func(t *testing.T, u url.URL) { // gofakes3 does not know enough of versions
		s := openBucket(t, u, nil)
		create(t, s, "a", "one")
		overwrite(t, s, "a", "forged")
		remove(t, s, "a") // the newest is told, whatever the times
		for _, want := range [][]string{{"a forged *", "a one"}, {"a one *"}, nil} {
			_, all := versions(t, s, store.Query{})
			for range 2 { // the second time it is gone
				if err := s.DeleteVersion(t.Context(), all[0]); err != nil {
					t.Fatal(err)
				}
			}
			if got, _ := versions(t, s, store.Query{}); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

// TestCopyVersion brings back what was overwritten, in one piece and in parts.
func TestCopyVersion(t *testing.T) {
	body := make([]byte, 6<<20)
	rand.Read(body)
	onLockServers(t, func(t *testing.T, u url.URL) {
		for name, change := range map[string]func(*store.S3Options){
			"whole": nil, "in parts": func(o *store.S3Options) { o.SetCopyMost(5 << 20) },
		} {
			s := openBucket(t, u, change)
			key := "sub/a b+c ü%/" + name
			made, err := s.Create(t.Context(), key, bytes.NewReader(body), int64(len(body)))
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, s, key, "forged")
			remove(t, s, key)
			oldest, err := store.Oldest(t.Context(), s, key)
			if err != nil || oldest.Size != made.Size || oldest.ETag != made.ETag {
				t.Fatalf("%s: oldest %+v, %v, made %+v", name, oldest, err, made)
			}
			o, err := s.CopyVersion(t.Context(), oldest)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			r, err := s.Open(t.Context(), o, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: ordinary reads see something else, %v", name, err)
			}
			if again, err := store.Oldest(t.Context(), s, key); err != nil || again != oldest {
				t.Errorf("%s: now the oldest is %+v, %v", name, again, err)
			}
		}
	})
}

// TestVersionPages lists more versions than a page holds.
func TestVersionPages(t *testing.T) {
	onLockServers(t, func(t *testing.T, u url.URL) {
		s := openBucket(t, u, func(o *store.S3Options) { o.SetPageMost(3) })
		create(t, s, "a", "one")
		for _, text := range []string{"two", "three", "four", "five"} {
			remove(t, s, "a")
			overwrite(t, s, "a", text)
		}
		create(t, s, "z", "last")
		got, _ := versions(t, s, store.Query{})
		all := len(got)
		got = slices.DeleteFunc(got, func(v string) bool { return v == "a hidden" }) // their order cannot be told
		want := []string{"a five *", "a four", "a three", "a two", "a one", "z last *"}
		if all != len(want)+4 || !slices.Equal(got, want) {
			t.Errorf("of %d there are %q, want %q", all, got, want)
		}
		oldest, err := store.Oldest(t.Context(), s, "a")
		if err != nil || readVersion(t, s, oldest) != "one" {
			t.Errorf("oldest %+v, %v", oldest, err)
		}
	})
}

// TestUnversioned asks a bucket that keeps nothing.
func TestUnversioned(t *testing.T) {
	test := func(t *testing.T, s *store.S3) {
		create(t, s, "a", "one")
		create(t, s, "b", "two")
		remove(t, s, "b")
		if got, _ := versions(t, s, store.Query{}); !slices.Equal(got, []string{"a one *"}) {
			t.Errorf("got %q", got)
		}
		if v, err := store.Oldest(t.Context(), s, "a"); err != nil || readVersion(t, s, v) != "one" {
			t.Errorf("oldest %+v, %v", v, err)
		}
	}
	t.Run("in process", func(t *testing.T) { test(t, newFake(t).open(t, nil)) })
	t.Run("servers", func(t *testing.T) {
		onRealServers(t, func(t *testing.T, u url.URL) {
			u.Path += "/test-" + rand.Text()
			test(t, openBucket(t, u, nil))
		})
	})
}

func lockFor(mode store.LockMode, d time.Duration) store.Lock {
	return store.Lock{Mode: mode, Until: time.Now().Add(d).UTC().Truncate(time.Second)}
}

func checkLock(t *testing.T, s *store.S3, key string, want store.Lock) {
	t.Helper()
	if got, err := s.LockOf(t.Context(), key, ""); err != nil || !got.Until.Equal(want.Until) || got.Mode != want.Mode {
		t.Errorf("%s has the lock %v, %v, want %v", key, got, err, want)
	}
}

func TestCreateLocked(t *testing.T) {
	onLockServers(t, func(t *testing.T, u url.URL) {
		s := openBucket(t, u, func(o *store.S3Options) { o.PartSize = 5 << 20 })
		if r, err := s.LockRules(t.Context()); err != nil || !r.Enabled || r.Mode != "" || r.For != 0 {
			t.Fatalf("rules %+v, %v", r, err)
		}
		for name, size := range map[string]int64{"small": 10, "in parts": 6 << 20} {
			for _, mode := range []store.LockMode{store.Governance, store.Compliance} {
				key, lock := name+" "+string(mode), lockFor(mode, time.Hour)
				_, err := s.CreateLocked(t.Context(), key, io.LimitReader(rand.Reader, size), size, lock)
				if err != nil {
					t.Fatalf("%s: %v", key, err)
				}
				checkLock(t, s, key, lock)
				if _, err := s.CreateLocked(t.Context(), key, strings.NewReader("x"), 1, lock); !errors.Is(err, fs.ErrExist) {
					t.Errorf("created twice: %v", err)
				}
				_, all := versions(t, s, store.Query{Prefix: key})
				var locked *store.LockedError
				if err := s.DeleteVersion(t.Context(), all[0]); !errors.As(err, &locked) || !locked.Lock.Until.Equal(lock.Until) {
					t.Errorf("deleted a locked version: %v", err)
				}
				remove(t, s, key) // which hides it
				if oldest, err := store.Oldest(t.Context(), s, key); err != nil || oldest.ID != all[0].ID {
					t.Errorf("oldest %+v, %v", oldest, err)
				}
				if got, err := s.LockOf(t.Context(), key, all[0].ID); err != nil || !got.Until.Equal(lock.Until) {
					t.Errorf("hidden, it has the lock %v, %v", got, err)
				}
				if got, err := s.LockOf(t.Context(), key, ""); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("under a hidden key there is the lock %v, %v", got, err)
				}
			}
		}
		for _, lock := range []store.Lock{{}, {Mode: "forever", Until: time.Now()}, {Mode: store.Governance}} {
			if _, err := s.CreateLocked(t.Context(), "odd", strings.NewReader(""), 0, lock); !errors.As(err, new(*store.UsageError)) {
				t.Errorf("%v: %v", lock, err)
			}
		}
	})
}

func TestExtendLock(t *testing.T) {
	onLockServers(t, func(t *testing.T, u url.URL) {
		s := openBucket(t, u, nil)
		create(t, s, "plain", "one")
		checkLock(t, s, "plain", store.Lock{})
		hour, two := lockFor(store.Governance, time.Hour), lockFor(store.Governance, 2*time.Hour)
		for _, c := range []struct{ ask, want store.Lock }{{hour, hour}, {two, two}, {two, two}, {hour, two}} {
			if err := s.ExtendLock(t.Context(), "plain", c.ask); err != nil {
				t.Errorf("extend to %v: %v", c.ask, err)
			}
			checkLock(t, s, "plain", c.want)
		}

		strict, stricter := lockFor(store.Compliance, time.Hour), lockFor(store.Compliance, 2*time.Hour)
		if _, err := s.CreateLocked(t.Context(), "strict", strings.NewReader("x"), 1, strict); err != nil {
			t.Fatal(err)
		}
		for _, ask := range []store.Lock{lockFor(store.Governance, time.Minute), two, stricter, strict} {
			if err := s.ExtendLock(t.Context(), "strict", ask); err != nil {
				t.Errorf("extend to %v: %v", ask, err)
			}
			now, err := s.LockOf(t.Context(), "strict", "")
			if err != nil || now.Mode != store.Compliance || now.Until.Before(ask.Until) || now.Until.Before(strict.Until) {
				t.Errorf("after %v it has the lock %v, %v", ask, now, err)
			}
		}

		// Not every server makes a lock stricter, but none says so when it has not.
		err := s.ExtendLock(t.Context(), "plain", lockFor(store.Compliance, 3*time.Hour))
		if now, lerr := s.LockOf(t.Context(), "plain", ""); lerr != nil || err == nil && now.Mode != store.Compliance {
			t.Errorf("it has the lock %v, %v", now, lerr)
		}
		if err != nil && !errors.Is(err, store.ErrLockMode) {
			t.Errorf("make it stricter: %v", err)
		}
		if err := s.ExtendLock(t.Context(), "none", hour); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("extend the lock of nothing: %v", err)
		}
		if _, err := s.LockOf(t.Context(), "none", ""); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ask for the lock of nothing: %v", err)
		}
	})
}

// TestCreatedLocks asks for the locks of what was created under keys, with other things on top of it.
func TestCreatedLocks(t *testing.T) {
	onLockServers(t, func(t *testing.T, u url.URL) {
		s := openBucket(t, u, nil)
		hour, two := lockFor(store.Governance, time.Hour), lockFor(store.Governance, 2*time.Hour)
		for _, key := range []string{"d/a", "d/b", "d/c", "d/d"} {
			if _, err := s.CreateLocked(t.Context(), key, strings.NewReader(key), 3, hour); err != nil {
				t.Fatal(err)
			}
		}
		create(t, s, "d/e", "not locked")
		create(t, s, "d/cc/f", "of another folder")
		overwrite(t, s, "d/b", "on top")
		remove(t, s, "d/c")
		for _, key := range []string{"d/d", "d/e"} {
			overwrite(t, s, key, "on top")
			if err := s.ExtendLock(t.Context(), key, two); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]store.Lock{"d/a": hour, "d/b": hour, "d/c": hour, "d/d": hour}
		for _, keys := range [][]string{
			{"d/a", "d/b", "d/c", "d/d", "d/e", "d/none"}, {"d/a"}, {"d/b"}, {"d/c", "d/e"}, {"d/e"}, {"d/none"}, {"d/a0", "d/d0"}, nil,
		} {
			got, err := store.CreatedLocks(t.Context(), s, keys)
			if err != nil || len(got) != len(keys) {
				t.Fatalf("%q: %v, %v", keys, got, err)
			}
			for i, key := range keys {
				if !got[i].Until.Equal(want[key].Until) || got[i].Mode != want[key].Mode {
					t.Errorf("of %q, %s has the lock %v, want %v", keys, key, got[i], want[key])
				}
			}
		}
	})
}

// TestExtendLockOfDeleted extends the lock of what a marker hides, with Amazon's answer to that: a push has to learn that
// what it would build on is gone.
func TestExtendLockOfDeleted(t *testing.T) {
	f := newFake(t)
	s := f.open(t, nil)
	f.place(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		answer(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	})
	if err := s.ExtendLock(t.Context(), "deleted", lockFor(store.Governance, time.Hour)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

// TestCannotLock asks buckets that were made without Object Lock, on servers that know it and in process on one
// that does not.
func TestCannotLock(t *testing.T) {
	test := func(t *testing.T, s *store.S3) {
		if r, err := s.LockRules(t.Context()); err != nil || r != (store.LockRules{}) {
			t.Errorf("rules %+v, %v", r, err)
		}
		_, err := s.CreateLocked(t.Context(), "a", strings.NewReader("x"), 1, lockFor(store.Governance, time.Hour))
		if !errors.Is(err, store.ErrCannotLock) {
			t.Errorf("create: %v", err)
		}
		for _, err := range s.List(context.Background(), store.Query{}) {
			t.Errorf("something was stored, %v", err)
		}
		create(t, s, "b", "two")
		if err := s.ExtendLock(t.Context(), "b", lockFor(store.Governance, time.Hour)); !errors.Is(err, store.ErrCannotLock) {
			t.Errorf("extend: %v", err)
		}
		checkLock(t, s, "b", store.Lock{})
	}
	t.Run("in process", func(t *testing.T) { test(t, newFake(t).open(t, nil)) })
	t.Run("servers", func(t *testing.T) {
		onRealServers(t, func(t *testing.T, u url.URL) {
			u.Path += "/test-" + rand.Text()
			test(t, openBucket(t, u, nil))
		})
	})
}
