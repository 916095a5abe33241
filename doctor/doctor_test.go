package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/doctor"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// dirStore returns a new directory store, which holds one object so that there is something to list.
func dirStore(t *testing.T) store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Create(t.Context(), "app.db/x", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	return st
}

// examine examines a store with small parts, and returns the steps by name.
func examine(ctx context.Context, t *testing.T, st store.Store, readOnly bool) (map[string]doctor.Step, error) {
	t.Helper()
	steps := map[string]doctor.Step{}
	_, err := doctor.Run(ctx, func(context.Context) (store.Store, error) { return st, nil },
		doctor.Options{ReadOnly: readOnly, PartSize: 1 << 10},
		func(s doctor.Step) error {
			steps[s.Name] = s
			if (s.Err != nil) != (s.Outcome == doctor.Failed) || (s.Elapsed > 0) != (s.Err != nil || s.Outcome != doctor.Skipped) || s.Text == "" {
				t.Errorf("%+v", s)
			}
			return nil
		})
	return steps, err
}

// failed returns the steps that failed.
func failed(steps map[string]doctor.Step) []string {
	var names []string
	for name, s := range steps {
		if s.Err != nil {
			names = append(names, name)
		}
	}
	return names
}

// wantOnly fails unless the store holds nothing but what [dirStore] put there.
func wantOnly(t *testing.T, st store.Store) {
	t.Helper()
	for o, err := range st.List(context.WithoutCancel(t.Context()), store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Key != "app.db/x" {
			t.Errorf("%s is left", o.Key)
		}
	}
}

func TestRun(t *testing.T) {
	st := dirStore(t)
	steps, err := examine(t.Context(), t, st, false)
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"open", "reach", "clock", "listing", "create", "create-only", "read", "parts", "ranges", "new objects", "delete", "gone"} {
		if s := steps[name]; s.Outcome != doctor.OK {
			t.Errorf("step %s: %q: %s", name, s.Outcome, s.Text)
		}
	}
	if len(steps) != 12 {
		t.Errorf("%d steps", len(steps))
	}
	wantOnly(t, st)

	watched := storetest.Fault(st)
	steps, err = examine(t.Context(), t, watched, true)
	if err != nil || len(steps) != 4 || len(failed(steps)) > 0 {
		t.Errorf("read-only: %v, %+v", err, steps)
	}
	for _, c := range watched.Calls() {
		if c.Op == "Create" || c.Op == "Delete" {
			t.Errorf("read-only calls %s", c.Op)
		}
	}
}

// What is stored to try a store is nobody's snapshot.
func TestPrefix(t *testing.T) {
	if _, ok := format.ParseKey(doctor.Prefix + "x/" + format.FullKey("x", catalog.NewName()).Base()); ok {
		t.Errorf("%s may be taken for a database", doctor.Prefix)
	}
}

// Of a step that cannot be told no more are taken.
func TestTellFails(t *testing.T) {
	st := dirStore(t)
	broken, told := errors.New("nobody listens"), 0
	left, err := doctor.Run(t.Context(), func(context.Context) (store.Store, error) { return st, nil }, doctor.Options{PartSize: 1 << 10},
		func(s doctor.Step) error {
			if told++; s.Name == "create" {
				return broken
			}
			return nil
		})
	if left != nil || !errors.Is(err, broken) || told != 5 {
		t.Errorf("%v, %v, %d steps", left, err, told)
	}
	wantOnly(t, st)
}

// Whatever call fails, in whatever way, that is told, and nothing is left behind.
func TestFaults(t *testing.T) {
	for _, how := range storetest.Hows {
		t.Run(how.String(), func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				st := dirStore(t)
				ctx, cancel := context.WithCancel(t.Context())
				faulty := storetest.Fault(st, storetest.Step{Call: n, How: how, Stalled: cancel})
				stalls := how == storetest.Stall || how == storetest.CutStall
				steps, err := examine(ctx, t, faulty, false)
				cancel()
				wantOnly(t, st)
				if faulty.Hit() == 0 {
					if n < 15 {
						t.Errorf("only %d calls", n-1)
					}
					return
				}
				// Late faults may not matter: of a listing that nobody reads to its end, or of a Create
				// that is refused in any case.
				late := how != storetest.Before && how != storetest.Stall
				switch bad := failed(steps); {
				case late && err == nil && len(bad) == 0:
				case stalls && !errors.Is(err, context.Canceled):
					t.Errorf("call %d: %v", n, err)
				case !stalls && (err != nil || len(bad) == 0):
					t.Errorf("call %d: %v, %+v", n, err, steps)
				}
			}
		})
	}
}

// A liar is a store that does not keep what the contract promises.
type liar struct {
	store.Store
	create func(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error)
	open   func(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error)
	list   func(ctx context.Context, q store.Query) iter.Seq2[store.Object, error]
	delete func(ctx context.Context, key string) error
	skew   time.Duration
}

func (l *liar) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	if l.create != nil {
		return l.create(ctx, key, body, most)
	}
	return l.Store.Create(ctx, key, body, most)
}

func (l *liar) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	if l.open != nil {
		return l.open(ctx, o, off, n)
	}
	return l.Store.Open(ctx, o, off, n)
}

func (l *liar) List(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
	if l.list != nil {
		return l.list(ctx, q)
	}
	return l.Store.List(ctx, q)
}

func (l *liar) Delete(ctx context.Context, key string) error {
	if l.delete != nil {
		return l.delete(ctx, key)
	}
	return l.Store.Delete(ctx, key)
}

func (l *liar) Skew(context.Context) (time.Duration, error) { return l.skew, nil }

func TestLiars(t *testing.T) {
	for _, test := range []struct {
		name    string
		lie     func(l *liar)
		step    string
		outcome doctor.Outcome
		text    string
	}{
		{"slow clock", func(l *liar) { l.skew = 2 * time.Minute }, "clock", doctor.Warning, "push refuses more than 5m00s"},
		{"wrong clock", func(l *liar) { l.skew = -6 * time.Minute }, "clock", doctor.Failed, "clock"},
		{"overwrites", func(l *liar) {
			l.create = func(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
				if err := l.Store.Delete(ctx, key); err != nil {
					return store.Object{}, err
				}
				return l.Store.Create(ctx, key, body, most)
			}
		}, "create-only", doctor.Warning, "ignores create-only"},
		{"stores less", func(l *liar) {
			l.create = func(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
				return l.Store.Create(ctx, key, io.LimitReader(body, 10), most)
			}
		}, "create", doctor.Failed, "has 10 bytes"},
		{"may not write", func(l *liar) {
			l.create = func(context.Context, string, io.Reader, int64) (store.Object, error) {
				return store.Object{}, fmt.Errorf("put: %w", store.ErrDenied)
			}
		}, "create", doctor.Failed, "access denied"},
		{"ignores ranges", func(l *liar) {
			l.open = func(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
				return l.Store.Open(ctx, o, 0, n)
			}
		}, "ranges", doctor.Failed, "other bytes"},
		{"stores something else", func(l *liar) {
			l.open = func(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
				r, err := l.Store.Open(ctx, o, off, n)
				if err != nil || n >= 0 {
					return r, err
				}
				return struct {
					io.Reader
					io.Closer
				}{io.MultiReader(strings.NewReader("6\r\n"), r), r}, nil
			}
		}, "parts", doctor.Failed, "other bytes"},
		{"lists late", func(l *liar) {
			l.list = func(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
				if q.Prefix != "" && strings.HasPrefix(q.Prefix, ".litestash/") {
					q.Prefix = "nothing/"
				}
				return l.Store.List(ctx, q)
			}
		}, "new objects", doctor.Failed, "it should be"},
		{"lists folders", func(l *liar) {
			l.list = func(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
				q.Shallow = false
				return l.Store.List(ctx, q)
			}
		}, "new objects", doctor.Failed, "it should be"},
		{"lists from the start", func(l *liar) {
			l.list = func(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
				q.After = ""
				return l.Store.List(ctx, q)
			}
		}, "listing", doctor.Failed, "as the first after"},
		{"lists backwards", func(l *liar) {
			l.list = func(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
				return func(yield func(store.Object, error) bool) {
					var all []store.Object
					for o, err := range l.Store.List(ctx, q) {
						if err != nil {
							yield(o, err)
							return
						}
						all = append(all, o)
					}
					for _, o := range slices.Backward(all) {
						if !yield(o, nil) {
							return
						}
					}
				}
			}
		}, "new objects", doctor.Failed, "it should be"},
		{"keeps", func(l *liar) {
			l.delete = func(context.Context, string) error { return nil }
		}, "gone", doctor.Failed, "after it was deleted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &liar{Store: dirStore(t)}
			test.lie(l)
			steps, err := examine(t.Context(), t, l, false)
			got := steps[test.step]
			if err != nil || got.Outcome != test.outcome || !strings.Contains(got.Text, test.text) {
				t.Errorf("%v, %+v", err, got)
			}
			if test.name != "keeps" {
				wantOnly(t, l.Store)
			}
		})
	}
}

// What an examination that was killed has left goes, and what one that is under way has stored does not.
func TestRemovesLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	old, young := filepath.Join(dir, doctor.Prefix, "killed/large"), filepath.Join(dir, doctor.Prefix, "alive/large")
	for _, name := range []string{old, young} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	days := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, days, days); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	steps, err := examine(t.Context(), t, st, false)
	if err != nil || !strings.Contains(steps["delete"].Text, "and 1 object that another examination") {
		t.Errorf("%v, %+v", err, steps["delete"])
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}

// What cannot be removed is told.
func TestLeft(t *testing.T) {
	st := &liar{Store: dirStore(t), delete: func(context.Context, string) error { return store.ErrDenied }}
	steps := map[string]doctor.Step{}
	left, err := doctor.Run(t.Context(), func(context.Context) (store.Store, error) { return st, nil }, doctor.Options{PartSize: 1 << 10},
		func(s doctor.Step) error { steps[s.Name] = s; return nil })
	if err != nil || left == nil || !errors.Is(left.Err, store.ErrDenied) {
		t.Fatalf("%+v, %v", left, err)
	}
	var names []string
	for _, key := range left.Keys {
		name, _ := strings.CutPrefix(key, doctor.Prefix)
		_, name, _ = strings.Cut(name, "/")
		names = append(names, name)
	}
	if !slices.Equal(names, []string{"large", "small", "sub/small"}) {
		t.Errorf("left are %q", left.Keys)
	}
	if steps["delete"].Outcome != doctor.Failed || steps["gone"].Outcome != doctor.Skipped {
		t.Errorf("%+v", steps)
	}
}
