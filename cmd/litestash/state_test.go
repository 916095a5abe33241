package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/state"
)

// A stateRig is a database that has been pushed twice.
type stateRig struct {
	*watchRig
	t       *testing.T
	rnd     *rand.Rand
	base    string // of the files of what is remembered
	changes int
}

func newStateRig(t *testing.T, rnd *rand.Rand) *stateRig {
	t.Helper()
	r := &stateRig{watchRig: newWatchRig(t), t: t, rnd: rnd}
	sh(t, r.db, fill("0", 2000))
	for range 2 {
		r.mustPush("")
	}
	facts, err := filepath.Glob(filepath.Join(r.dir, "state", "*.facts"))
	if err != nil || len(facts) != 1 {
		t.Fatalf("%q is remembered, %v", facts, err)
	}
	r.base = strings.TrimSuffix(facts[0], ".facts")
	return r
}

// push changes the database a little and pushes it. It returns what was said beside the result.
func (r *stateRig) push() (code int, name, said string) {
	r.t.Helper()
	r.changes++
	sh(r.t, r.db, fmt.Sprintf("UPDATE words SET word = '%d'; UPDATE noise SET bytes = randomblob(100) WHERE id = %d", r.changes, 1+r.rnd.IntN(2000)))
	code, out, errs := lite(r.t, append([]string{"push", "--json", "--host", "h", r.db}, r.global()...)...)
	first, rest, _ := strings.Cut(out, "\n")
	var result pushed
	if err := json.Unmarshal([]byte(first), &result); err != nil {
		r.t.Fatalf("push exits with %d and prints %q, %v: %s", code, out, err, errs)
	}
	all := rest
	for line := range strings.Lines(errs) {
		if !strings.Contains(line, "temporary directory is kept in memory") { // it is: see fastDir
			all += line
		}
	}
	return code, result.Snapshot, all
}

// mustPush pushes, and checks what is restored. Nothing but that may be said.
func (r *stateRig) mustPush(says string) (name string) {
	r.t.Helper()
	code, name, errs := r.push()
	if code != 0 || says == "" && errs != "" || !strings.Contains(errs, says) {
		r.t.Fatalf("push exits with %d and says %q, want %q", code, errs, says)
	}
	r.isWhole(name)
	return name
}

// isWhole checks that a snapshot is the newest and holds what the database does.
func (r *stateRig) isWhole(name string) {
	r.t.Helper()
	target := filepath.Join(r.dir, "restored.db")
	mustLite(r.t, append([]string{"restore", "app.db", "-o", target}, r.global()...)...)
	defer os.Remove(target)
	if got, want := sh(r.t, target, ".sha3sum"), sh(r.t, r.db, ".sha3sum"); got != want {
		r.t.Fatalf("%s is not what was pushed", name)
	}
	if names := snapshotsIn(r.t, r.store, "app.db"); names[len(names)-1] != name {
		r.t.Fatalf("%s was pushed, and the newest of %q is another", name, names)
	}
}

// remembers checks that a snapshot is what this host remembers.
func (r *stateRig) remembers(name string) {
	r.t.Helper()
	path, err := filepath.EvalSymlinks(r.db)
	if err != nil {
		r.t.Fatal(err)
	}
	var log bytes.Buffer
	m, err := state.Open(filepath.Dir(r.base), state.Key{Store: r.store, Database: "app.db", Source: format.Source{Host: "h", Path: path}}, "", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		r.t.Fatal(err)
	}
	defer m.Close()
	if f := m.Facts(); f == nil || !strings.HasPrefix(f.Newest().Key, name) {
		r.t.Fatalf("remembered is %+v, want %s: %s", f, name, &log)
	}
}

// edit changes a file of what is remembered.
func (r *stateRig) edit(suffix string, change func(b []byte) []byte) {
	r.t.Helper()
	b, err := os.ReadFile(r.base + suffix)
	if err == nil {
		err = os.WriteFile(r.base+suffix, change(b), 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *stateRig) mkdir(path string) {
	r.t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		r.t.Fatal(err)
	}
}

// TestPushState spoils what is remembered, and pushes: it succeeds, is right, and heals that.
func TestPushState(t *testing.T) {
	t.Parallel()
	const damaged, nothing = "what was remembered of earlier pushes is damaged", "nothing is remembered of this push"
	for _, c := range []struct {
		name  string
		spoil func(r *stateRig)
		says  string // a warning
		clear string // is removed before the push that heals it
		heals string // its warning
		times int
	}{
		{name: "nothing", spoil: func(*stateRig) {}},
		{name: "facts flipped", says: damaged, times: 8, spoil: func(r *stateRig) { r.edit(".facts", r.flip) }},
		{name: "facts cut", says: damaged, times: 4, spoil: func(r *stateRig) { r.edit(".facts", r.cut) }},
		{name: "pages flipped", says: damaged, times: 8, spoil: func(r *stateRig) { r.edit(".pages", r.flip) }},
		{name: "pages cut", says: damaged, times: 4, spoil: func(r *stateRig) { r.edit(".pages", r.cut) }},
		{name: "facts gone", spoil: func(r *stateRig) { r.remove(".facts") }},
		{name: "pages gone", says: damaged, spoil: func(r *stateRig) { r.remove(".pages") }},
		{name: "lock gone", spoil: func(r *stateRig) { r.remove(".lock") }},
		{name: "of another database", says: damaged, spoil: func(r *stateRig) {
			other := newStateRig(r.t, r.rnd)
			for _, suffix := range []string{".facts", ".pages"} {
				r.edit(suffix, func([]byte) []byte {
					b, err := os.ReadFile(other.base + suffix)
					if err != nil {
						r.t.Fatal(err)
					}
					return b
				})
			}
		}},
		{name: "of an earlier push", spoil: func(r *stateRig) {
			was := map[string][]byte{}
			for _, suffix := range []string{".facts", ".pages"} {
				r.edit(suffix, func(b []byte) []byte { was[suffix] = b; return b })
			}
			r.mustPush("")
			r.mustPush("")
			for suffix, b := range was {
				r.edit(suffix, func([]byte) []byte { return b })
			}
		}},
		{name: "facts of an earlier push", says: damaged, spoil: func(r *stateRig) {
			var was []byte
			r.edit(".facts", func(b []byte) []byte { was = b; return b })
			r.mustPush("")
			r.edit(".facts", func([]byte) []byte { return was })
		}},
		{name: "of a later version", says: damaged, spoil: func(r *stateRig) {
			r.edit(".facts", func(b []byte) []byte {
				_, text, _ := bytes.Cut(b, []byte("\n"))
				text = bytes.Replace(text, []byte(`"version":1`), []byte(`"version":2`), 1)
				return fmt.Appendf(nil, "%x\n%s", sha256.Sum256(text), text)
			})
		}},
		{name: "the directory is a file", says: nothing, spoil: func(r *stateRig) {
			dir := filepath.Dir(r.base)
			if err := os.Rename(dir, dir+"-away"); err != nil {
				r.t.Fatal(err)
			}
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				r.t.Fatal(err)
			}
		}, clear: "state"},
		{name: "pages cannot be opened", says: nothing, spoil: func(r *stateRig) {
			r.remove(".pages")
			r.mkdir(r.base + ".pages")
		}, clear: "pages", heals: damaged},
		{name: "facts can be neither read nor removed", says: "nothing can be remembered", spoil: func(r *stateRig) {
			r.remove(".facts")
			r.mkdir(r.base + ".facts/in the way")
		}, clear: "facts"},
		{name: "facts cannot be written", says: "cannot be remembered", spoil: func(r *stateRig) {
			r.mkdir(r.base + ".facts.tmp/in the way")
		}, clear: "facts.tmp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rnd := seed.Rand(t)
			r := newStateRig(t, rnd)
			for range max(1, c.times) {
				c.spoil(r)
				name := r.mustPush(c.says)
				if c.clear != "" {
					what := r.base + "." + c.clear
					if c.clear == "state" {
						what = filepath.Dir(r.base)
					}
					if err := os.RemoveAll(what); err != nil {
						t.Fatal(err)
					}
					name = r.mustPush(c.heals)
				}
				r.remembers(name)
				r.mustPush("")
			}
		})
	}
}

func (r *stateRig) remove(suffix string) {
	r.t.Helper()
	if err := os.Remove(r.base + suffix); err != nil {
		r.t.Fatal(err)
	}
}

func (r *stateRig) flip(b []byte) []byte {
	b[r.rnd.IntN(len(b))] ^= 1 << r.rnd.IntN(8)
	return b
}

func (r *stateRig) cut(b []byte) []byte { return b[:r.rnd.IntN(len(b))] }

// TestPushStateAhead gives the store back as it was before the push that is remembered: that is a loss, told
// once, with a full in its place.
func TestPushStateAhead(t *testing.T) {
	t.Parallel()
	r := newStateRig(t, seed.Rand(t))
	lost := r.mustPush("")
	objects, err := filepath.Glob(filepath.Join(r.store, "app.db", lost+"*"))
	if err != nil || len(objects) != 1 {
		t.Fatal(objects, err)
	}
	if err := os.Remove(objects[0]); err != nil {
		t.Fatal(err)
	}
	code, name, errs := r.push()
	if code != exitDamaged || !strings.Contains(errs, "has lost app.db/"+lost) {
		t.Errorf("push exits with %d: %s", code, errs)
	}
	r.isWhole(name)
	r.remembers(name)
	r.mustPush("")
}

// TestWatchStateGone takes the directory of what is remembered away from a watch that uses it: the watch says so, and
// goes on upon what the store tells. Another push remembers again.
func TestWatchStateGone(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	sh(t, r.db, fill("0", 500))
	w := r.start(t)
	w.await(t, "snapshot stored")
	if err := os.RemoveAll(filepath.Join(r.dir, "state")); err != nil {
		t.Fatal(err)
	}
	for i, says := range []string{"the snapshot is stored but cannot be remembered", "nothing can be remembered of this push"} {
		sh(t, r.db, fmt.Sprintf("UPDATE words SET word = '%d'", i+1))
		if got := w.await(t, says); got["level"] != "WARN" {
			t.Errorf("logged is %v", got)
		}
		if got := w.await(t, "snapshot stored"); got["kind"] != "delta" {
			t.Errorf("stored is %v", got)
		}
		if got := r.restored(t, "SELECT word FROM words"); got != fmt.Sprint(i+1) {
			t.Errorf("the newest snapshot holds %s, want %d", got, i+1)
		}
	}
	w.end(t, syscall.SIGTERM, 0)
	for i := range 2 { // from the store, and from what the first one remembers
		sh(t, r.db, fmt.Sprintf("UPDATE words SET word = 'again %d'", i))
		code, out, errs := lite(t, append([]string{"push", "--quiet", r.db}, r.global()...)...)
		if code != 0 || strings.Contains(errs, "remembered") {
			t.Errorf("push exits with %d: %s%s", code, out, errs)
		}
		if got := r.restored(t, "SELECT word FROM words"); got != fmt.Sprintf("again %d", i) {
			t.Errorf("the newest snapshot holds %s", got)
		}
	}
	mustLite(t, append([]string{"verify", "app.db", "--all-snapshots"}, r.global()...)...)
}
