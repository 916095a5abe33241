package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// minioStore returns the URL of a fresh store in a bucket with Object Lock on MinIO, whatever the way there: rights
// are the same. It skips the test if there is none.
func minioStore(t *testing.T) string {
	t.Helper()
	minio := strings.Fields(os.Getenv("LITESTASH_TEST_MINIO"))
	if len(minio) == 0 {
		if os.Getenv("LITESTASH_TEST_REQUIRE_SERVERS") == "1" {
			t.Fatal("LITESTASH_TEST_MINIO names no store, and LITESTASH_TEST_REQUIRE_SERVERS=1 wants one")
		}
		t.Skip("LITESTASH_TEST_MINIO names no store: .ci/with-servers does")
	}
	t.Setenv("LITESTASH_TEST_S3_LOCK", minio[0])
	return lockStores(t)[0]
}

// A stage is a store on which the roles are played.
type stage struct {
	t    *testing.T
	url  string
	root *thief
	st   *store.S3 // with all rights
	db   string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	url := minioStore(t) + "&part-size=5MiB"
	t.Setenv("LITESTASH_STATE_DIR", t.TempDir())
	t.Setenv("LITESTASH_STORE", url)
	s := &stage{t: t, url: url, root: rootThief(t, url), st: openS3(t, url), db: filepath.Join(t.TempDir(), "app.db")}
	sh(t, s.db, fill("one", 60000)) // some 7 MB: two parts
	hidden := pushJSON(t, s.db, "--name", "hidden.db")
	if err := s.st.Delete(t.Context(), hidden.Key); err != nil {
		t.Fatal(err)
	}
	return s
}

// enter lets all that follows in the test be done with the rights of a role, by the policy as it is printed.
func (s *stage) enter(role string, args ...string) *store.S3 {
	s.t.Helper()
	policy := mustLite(s.t, append([]string{"policy", "--for", role}, args...)...)
	file := filepath.Join(s.t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		s.t.Fatal(err)
	}
	user := role + "-" + strings.ToLower(strings.ReplaceAll(time.Now().Format("150405.000000"), ".", ""))
	const secret = "a secret of eight or more"
	for _, args := range [][]string{
		{"admin", "user", "add", "srv", user, strings.ReplaceAll(secret, " ", "-")},
		{"admin", "policy", "create", "srv", user, file},
		{"admin", "policy", "attach", "srv", user, "--user", user},
	} {
		if out, err := s.root.mc("", args...); err != nil {
			s.t.Fatalf("mc %q: %v: %s", args, err, out)
		}
	}
	s.t.Setenv("AWS_ACCESS_KEY_ID", user)
	s.t.Setenv("AWS_SECRET_ACCESS_KEY", strings.ReplaceAll(secret, " ", "-"))
	return openS3(s.t, s.url)
}

// denied checks that a command is locked out.
func (s *stage) denied(args ...string) {
	s.t.Helper()
	if code, out, errs := lite(s.t, args...); code != exitLockedOut {
		s.t.Errorf("litestash %q exits with %d: %s%s", args, code, out, errs)
	}
}

// refuse checks that the store denied something.
func (s *stage) refuse(what string, err error) {
	s.t.Helper()
	if !errors.Is(err, store.ErrDenied) {
		s.t.Errorf("%s: %v", what, err)
	}
}

// put tries to create an object.
func (s *stage) put(st *store.S3, key string) error {
	_, err := st.Create(s.t.Context(), key, strings.NewReader("{}"), 2)
	return err
}

// readAll does all that only reads.
func (s *stage) readAll() {
	s.t.Helper()
	mustLite(s.t, "list")
	mustLite(s.t, "list", "app.db")
	mustLite(s.t, "list", "app.db", "--long")
	mustLite(s.t, "show", "app.db")
	mustLite(s.t, "status", "app.db")
	mustLite(s.t, "export", "app.db", s.t.TempDir())
	mustLite(s.t, "verify", "app.db", "--all-snapshots")
	mustLite(s.t, "copy", "app.db", "--to", filepath.Join(s.t.TempDir(), "copy"))
	target := filepath.Join(s.t.TempDir(), "out.db")
	mustLite(s.t, "restore", "app.db", "-o", target)
	if sh(s.t, target, ".sha3sum") != sh(s.t, s.db, ".sha3sum") {
		s.t.Error("the restored database is not what was pushed")
	}
	if code, _, errs := lite(s.t, "restore", "none.db", "-o", target+"2"); code != exitNotFound {
		s.t.Errorf("what is not there is not told from what is forbidden: exit code %d: %s", code, errs)
	}
}

// drill rebuilds a snapshot, and checks whether what was found may be recorded. If not, it is told.
func (s *stage) drill(records bool) {
	s.t.Helper()
	code, out, errs := lite(s.t, "verify", "app.db", "--check", "quick")
	if code != 0 || !strings.Contains(out, "proved") || records == strings.Contains(errs, "is not recorded") {
		s.t.Errorf("a drill exits with %d: %s%s", code, out, errs)
	}
}

// watch watches until a change is stored.
func (s *stage) watch(args ...string) {
	s.t.Helper()
	w := &watchRig{dir: s.t.TempDir(), store: s.url, db: s.db}
	p := w.start(s.t, args...)
	p.await(s.t, "watching")
	sh(s.t, s.db, "UPDATE words SET word = 'watched' WHERE rowid < 9")
	p.await(s.t, "snapshot stored")
	p.end(s.t, syscall.SIGTERM, 0)
}

// copyInto copies from a directory: snapshots and what checks found may be stored, holds may not.
func (s *stage) copyInto() {
	s.t.Helper()
	from := filepath.Join(s.t.TempDir(), "from")
	mustLite(s.t, "push", s.db, "--name", "copied.db", "--store", from)
	findUnmet(s.t, "copied.db", from)
	if out := mustLite(s.t, "copy", "--from", from, "--to", s.url); !strings.Contains(out, "1 snapshot copied") || !strings.Contains(out, "1 of holds and findings") {
		s.t.Errorf("copy says:\n%s", out)
	}
	mustLite(s.t, "hold", "copied.db", "latest", "--store", from)
	sh(s.t, s.db, "UPDATE words SET word = 'copied' WHERE rowid < 9")
	mustLite(s.t, "push", s.db, "--name", "copied.db", "--store", from)
	code, out, errs := lite(s.t, "copy", "--from", from, "--to", s.url)
	if code != exitLockedOut || !strings.Contains(out, "1 snapshot copied") || !strings.Contains(errs, ".litestash/held/copied.db/") {
		s.t.Errorf("a copy with a hold exits with %d: %s%s", code, out, errs)
	}
}

// outside checks that nothing can be done outside the prefix.
func (s *stage) outside() {
	s.t.Helper()
	bucket, query, _ := strings.Cut(s.url, "?")
	other := openS3(s.t, bucket+"-other?"+query)
	s.refuse("list another prefix", storetest.ListError(s.t, other, store.Query{}))
	s.refuse("store below another prefix", s.put(other, "app.db/x.zst"))
	_, err := other.Open(s.t.Context(), store.Object{Key: "app.db/x.zst"}, 0, -1)
	s.refuse("read below another prefix", err)
	s.refuse("delete below another prefix", other.Delete(s.t.Context(), "app.db/x.zst"))
}

// noVersions checks that no version can be removed, and so nothing for good.
func (s *stage) noVersions(st *store.S3, key string) {
	s.t.Helper()
	v, err := store.Oldest(s.t.Context(), s.st, key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.refuse("delete a version", st.DeleteVersion(s.t.Context(), v))
}

func TestRolePush(t *testing.T) {
	for name, locks := range map[string][]string{"plain": nil, "locked": {"--lock-for", "30d"}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			st := s.enter("push", locks...)
			code, _, errs := lite(t, append([]string{"push", s.db, "--verbose"}, locks...)...)
			if code != 0 || !strings.Contains(errs, "swept uploads") || strings.Contains(errs, "denied") {
				t.Fatalf("push exits with %d: %s", code, errs)
			}
			sh(t, s.db, "UPDATE words SET word = 'two' WHERE rowid < 9")
			two := pushJSON(t, append([]string{s.db}, locks...)...)
			if two.Kind != "delta" || (two.Lock != nil) != (locks != nil) {
				t.Errorf("a %s with the lock %v", two.Kind, two.Lock)
			}
			mustLite(t, append([]string{"push", s.db}, locks...)...) // unchanged
			t.Setenv("LITESTASH_STATE_DIR", t.TempDir())
			mustLite(t, append([]string{"push", s.db, "--even-unchanged"}, locks...)...)
			s.readAll()
			mustLite(t, "verify", "app.db", "--check", "quick") // which it may record
			s.watch(locks...)
			s.copyInto()

			s.outside()
			s.noVersions(st, two.Key)
			all := snapshotsIn(t, s.url, "app.db")
			doomed := all[len(all)-1]
			if locks == nil {
				s.denied("delete", "app.db", doomed)
			} else if code, _, errs := lite(t, "delete", "app.db", doomed); code != exitRefused || !strings.Contains(errs, "is locked until") {
				t.Errorf("delete of what is locked exits with %d: %s", code, errs)
			}
			s.denied("recover")
			s.denied("hold", "app.db", "latest")
			s.refuse("delete", st.Delete(t.Context(), two.Key))
			s.refuse("announce", s.put(st, ".litestash/announced/app.db/x.json"))
			s.refuse("announce by another name", s.put(st, ".litestash/announced/app.db/x.zst"))
			s.refuse("hold", s.put(st, ".litestash/held/app.db/x.json"))
			s.refuse("store something else", s.put(st, "index.html"))
			long := store.Lock{Mode: store.Governance, Until: time.Now().AddDate(1, 0, 0)}
			s.refuse("lock for long", st.ExtendLock(t.Context(), two.Key, long))
			if locks == nil {
				s.denied("push", s.db, "--lock-for", "30d")
			}
		})
	}
}

func TestRoleRestore(t *testing.T) {
	for _, role := range []string{"restore", "verify"} {
		t.Run(role, func(t *testing.T) {
			s := newStage(t)
			one := pushJSON(t, s.db)
			st := s.enter(role)
			s.readAll()
			s.outside()
			s.noVersions(st, one.Key)
			s.denied("push", s.db, "--even-unchanged")
			s.denied("delete", "app.db", one.Snapshot)
			s.denied("recover")
			s.denied("hold", "app.db", "latest")
			s.drill(role == "verify")
			s.refuse("delete", st.Delete(t.Context(), one.Key))
			s.refuse("lock", st.ExtendLock(t.Context(), one.Key, store.Lock{Mode: store.Governance, Until: time.Now().Add(time.Hour)}))
			s.refuse("announce", s.put(st, ".litestash/announced/app.db/x.json"))
			s.refuse("store", s.put(st, "app.db/x.zst"))
			err := s.put(st, ".litestash/proofs/app.db/x.json")
			if role == "restore" {
				s.refuse("record a proof", err)
			} else if err != nil {
				t.Errorf("record a proof: %v", err)
			}
		})
	}
}

func TestRolePrune(t *testing.T) {
	s := newStage(t)
	one := pushJSON(t, s.db, "--full", "--even-unchanged")
	pushJSON(t, s.db, "--full", "--even-unchanged")
	locked := pushJSON(t, s.db, "--full", "--even-unchanged", "--lock-for", "30d")
	two := pushJSON(t, s.db, "--full", "--even-unchanged")
	st := s.enter("prune")
	mustLite(t, "list", "app.db")
	for _, args := range [][]string{nil, {"--dry-run"}} {
		code, _, errs := lite(t, append([]string{"delete", "app.db", locked.Snapshot}, args...)...)
		if code != exitRefused || !strings.Contains(errs, locked.Snapshot+" is locked until ") {
			t.Errorf("delete of what is locked exits with %d: %s", code, errs)
		}
	}
	mustLite(t, "delete", "app.db", one.Snapshot)
	if out := mustLite(t, "prune", "app.db", "--keep-last", "1"); !strings.Contains(out, "locked until ") {
		t.Errorf("prune says:\n%s", out)
	}
	for o, err := range s.st.List(t.Context(), store.Query{Prefix: ".litestash/announced/"}) {
		t.Errorf("%s is left, %v", o.Key, err)
	}
	if got := snapshotsIn(t, s.url, "app.db"); !slices.Equal(got, []string{locked.Snapshot, two.Snapshot}) {
		t.Errorf("left are %q", got)
	}
	mustLite(t, "hold", "app.db", "latest")
	mustLite(t, "unhold", "app.db", "latest")
	mustLite(t, "prune", "--all-databases", "--keep-last", "1")
	s.drill(false)
	s.outside()
	s.noVersions(st, one.Key)
	s.denied("push", s.db, "--even-unchanged")
	s.denied("recover")
	s.refuse("store", s.put(st, "app.db/x.zst"))
	s.refuse("record a proof", s.put(st, ".litestash/proofs/app.db/x.json"))
	s.refuse("lock", st.ExtendLock(t.Context(), two.Key, store.Lock{Mode: store.Governance, Until: time.Now().Add(time.Hour)}))
}

func TestRoleRecover(t *testing.T) {
	s := newStage(t)
	one := pushJSON(t, s.db)
	lock := store.Lock{Mode: store.Compliance, Until: time.Now().Add(time.Hour)}
	sh(t, s.db, "UPDATE words SET word = 'two' WHERE rowid < 9")
	two := pushJSON(t, s.db)
	s.root.overwrite(one.Key, "forged")
	if err := s.st.ExtendLock(t.Context(), one.Key, lock); err != nil {
		t.Fatal(err)
	}
	if err := s.st.Delete(t.Context(), two.Key); err != nil {
		t.Fatal(err)
	}
	name, err := format.ParseName(two.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	if err := catalog.Announce(t.Context(), s.st, "app.db", catalog.NewName(), []format.Name{name}); err != nil {
		t.Fatal(err)
	}
	damaged := &catalog.Proof{Database: "app.db", Snapshot: name, Level: catalog.LevelPages, Outcome: catalog.Damaged}
	if err := catalog.RecordProof(t.Context(), s.st, damaged, catalog.ProofDetail{}); err != nil {
		t.Fatal(err)
	}
	st := s.enter("recover")
	if out := mustLite(t, "recover"); strings.Count(out, "brought back") != 3 {
		t.Errorf("recover says:\n%s", out)
	}
	if announced, err := catalog.Announced(t.Context(), s.st, "app.db"); err != nil || len(announced) > 0 {
		t.Errorf("announced are %v, %v", announced, err)
	}
	if proofs, err := catalog.Proofs(t.Context(), s.st, "app.db"); err != nil || len(proofs) > 0 {
		t.Errorf("of damage there are %v, %v", proofs, err)
	}
	s.readAll()
	s.outside()
	s.denied("delete", "app.db", two.Snapshot)
	s.refuse("delete something else", st.Delete(t.Context(), ".litestash/held/app.db/x.json"))
	s.refuse("announce", s.put(st, ".litestash/announced/app.db/x.json"))
	s.refuse("lock", st.ExtendLock(t.Context(), two.Key, lock))
}
