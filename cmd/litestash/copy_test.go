package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A copyRig has a store with a chain of an encrypted database and one of another, a hold and a proof.
type copyRig struct {
	t        *testing.T
	from     string
	identity string
	dumps    map[string][]string // of each database, by the order of its snapshots
}

func newCopyRig(t *testing.T) *copyRig {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("LITESTASH_STATE_DIR", filepath.Join(dir, "state"))
	identity, recipient := newAgeKey(t, dir)
	r := &copyRig{t: t, from: filepath.Join(dir, "from"), identity: identity, dumps: map[string][]string{}}
	for name, keys := range map[string][]string{"sealed.db": {"--recipient", recipient}, "plain.db": nil} {
		db := filepath.Join(dir, name)
		sh(t, db, fill("one", 2000))
		for _, word := range []string{"two", "three", "four"} {
			sh(t, db, "UPDATE words SET word = '"+word+"'")
			mustLite(t, append([]string{"push", "-q", db, "--store", r.from}, keys...)...)
			r.dumps[name] = append(r.dumps[name], sh(t, db, ".sha3sum"))
		}
	}
	mustLite(t, "hold", "sealed.db", "latest", "--store", r.from)
	findUnmet(t, "plain.db", r.from)
	return r
}

// findUnmet has a drill find the newest snapshot of a database not to be what it should be.
func findUnmet(t *testing.T, name, store string) {
	t.Helper()
	if code, _, errs := lite(t, "verify", name, "--assert", "SELECT 0", "--store", store); code != exitDamaged {
		t.Fatalf("a drill exits with %d: %s", code, errs)
	}
}

// copies copies to a store, with the identity, and returns what is said of each database.
func (r *copyRig) copies(from, to string) map[string]copied {
	r.t.Helper()
	out := mustLite(r.t, "copy", "--from", from, "--to", to, "--identity", r.identity, "--json")
	all := map[string]copied{}
	for _, line := range lines(out) {
		var c copied
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			r.t.Fatal(err)
		}
		all[c.Database] = c
	}
	return all
}

// check restores all that is in a copy, which has to be all that there was.
func (r *copyRig) check(store string) {
	r.t.Helper()
	for name, dumps := range r.dumps {
		names := snapshotsIn(r.t, store, name)
		if !slices.Equal(names, snapshotsIn(r.t, r.from, name)) {
			r.t.Errorf("of %s the copy has %q", name, names)
			continue
		}
		for i, n := range names {
			target := filepath.Join(r.t.TempDir(), "out.db")
			mustLite(r.t, "restore", name, "--at", n, "-o", target, "--store", store, "--identity", r.identity)
			if sh(r.t, target, ".sha3sum") != dumps[i] {
				r.t.Errorf("%s of %s is not what was pushed", n, name)
			}
		}
	}
	if out := mustLite(r.t, "list", "sealed.db", "--store", store); strings.Count(out, ", held") != 1 {
		r.t.Errorf("list says of the hold:\n%s", out)
	}
	if out := mustLite(r.t, "show", "plain.db", "--store", store); !strings.Contains(out, "quick: unmet") {
		r.t.Errorf("show says of the finding:\n%s", out)
	}
}

// TestCopyInto refuses copies that would be databases of the store that they are of.
func TestCopyInto(t *testing.T) {
	from := t.TempDir()
	for _, to := range []string{from, from + "/", filepath.Join(from, "copy"), filepath.Join(from, "not", "there")} {
		if code, _, errs := lite(t, "copy", "--from", from, "--to", to); code != exitUsage || !strings.Contains(errs, "lies in the store") {
			t.Errorf("a copy to %s exits with %d: %s", to, code, errs)
		}
	}
}

// TestCopyOnRealServers copies from a directory to a bucket, from there to another prefix, and back to a directory.
func TestCopyOnRealServers(t *testing.T) {
	first, others := realStores(t), realStores(t)
	r := newCopyRig(t)
	for i, url := range first {
		second := others[i]
		last := filepath.Join(t.TempDir(), "back")
		for _, way := range [][2]string{{r.from, url}, {url, second}, {second, last}} {
			for name, c := range r.copies(way[0], way[1]) {
				if c.Copied != 3 || c.Sealed != 0 || c.Records != 1 || c.There+c.Failed+c.Behind > 0 {
					t.Errorf("%s from %s to %s: %+v", name, way[0], way[1], c)
				}
			}
			for name, c := range r.copies(way[0], way[1]) {
				if c.Copied != 0 || c.There != 3 || c.Records != 0 {
					t.Errorf("%s from %s to %s, the second time: %+v", name, way[0], way[1], c)
				}
			}
		}
		r.check(second)
		r.check(last)
	}
}

// TestCopyInterrupted interrupts a copy to a bucket at its third object. It goes on with that.
func TestCopyInterrupted(t *testing.T) {
	r := newCopyRig(t) // which needs the caches of the home that a server takes away
	s := newS3Server(t)
	reached, stored := make(chan string, 10), make(chan string, 20)
	s.place(func(w http.ResponseWriter, req *http.Request, real http.Handler) {
		if req.Method == http.MethodPut && strings.Contains(req.URL.Path, ".zst") {
			if len(stored) == 2 {
				reached <- req.URL.Path
				<-s.over // it stalls, as on a bad line
				return
			}
			stored <- req.URL.Path
		}
		real.ServeHTTP(w, req)
	})
	p := startLite(t, "copy", "sealed.db", "--from", r.from, "--to", s.store(), "--identity", r.identity, "--concurrency", "1")
	receive(t, reached, p)
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code, by := p.wait(t, time.Minute); code != exitInterrupted || by != 0 {
		t.Errorf("copy exits with %d (signal %v): %s", code, by, p.errs.String())
	}
	s.place(nil)
	all := snapshotsIn(t, r.from, "sealed.db")
	if got := snapshotsIn(t, s.store(), "sealed.db"); !slices.Equal(got, all[:2]) {
		t.Errorf("in the copy are %q, want the first two of %q", got, all)
	}
	got := r.copies(r.from, s.store())
	if c := got["sealed.db"]; c.Copied != 1 || c.There != 2 || c.Records != 1 || c.Sealed != 0 {
		t.Errorf("the second time: %+v", c)
	}
	r.check(s.store())
}
