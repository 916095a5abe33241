package main

import (
	"bytes"
	"context"
	"encoding/json"
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

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/ui"
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

// examine examines a store with small parts, and returns what was printed for each step.
func examine(ctx context.Context, t *testing.T, st store.Store, readOnly bool) (map[string]examined, error) {
	t.Helper()
	var out, errs bytes.Buffer
	p := &program{stdout: &out, stderr: &errs, ui: ui.New(ui.Options{Out: &out, Err: &errs, JSON: true})}
	e := newExamination(p, readOnly)
	e.partSize = 1 << 10
	e.connect = func(context.Context) (store.Store, error) { return st, nil }
	if _, ok := format.ParseKey(e.folder + "x"); ok {
		t.Errorf("%s may be taken for a database", e.folder)
	}
	err := e.run(ctx)
	steps := map[string]examined{}
	for d := json.NewDecoder(&out); ; {
		var r examined
		if derr := d.Decode(&r); derr == io.EOF {
			break
		} else if derr != nil {
			t.Fatal(derr)
		}
		steps[r.Step] = r
	}
	return steps, err
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

func TestDoctor(t *testing.T) {
	st := dirStore(t)
	steps, err := examine(t.Context(), t, st, false)
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"open", "reach", "clock", "listing", "create", "create-only", "read", "parts", "ranges", "new objects", "delete", "gone", "summary"} {
		if got := steps[name].Outcome; got != outcomeOK {
			t.Errorf("step %s: %q: %s", name, got, steps[name].Message)
		}
	}
	if len(steps) != 13 {
		t.Errorf("%d steps", len(steps))
	}
	wantOnly(t, st)

	watched := storetest.Fault(st)
	steps, err = examine(t.Context(), t, watched, true)
	if err != nil || steps["summary"].Message != "4 ok" {
		t.Errorf("read-only: %v, %+v", err, steps["summary"])
	}
	for _, c := range watched.Calls() {
		if c.Op == "Create" || c.Op == "Delete" {
			t.Errorf("read-only calls %s", c.Op)
		}
	}
}

// Whatever call fails, in whatever way, that is told, and nothing is left behind.
func TestDoctorFaults(t *testing.T) {
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
				var reported *reportedError
				switch {
				case late && err == nil && steps["summary"].Outcome == outcomeOK:
				case stalls && !errors.Is(err, context.Canceled):
					t.Errorf("call %d: %v", n, err)
				case !stalls && (!errors.As(err, &reported) || reported.code == 0 || steps["summary"].Outcome != outcomeFailed):
					t.Errorf("call %d: %v, %+v", n, err, steps["summary"])
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

func TestDoctorLiars(t *testing.T) {
	for _, test := range []struct {
		name    string
		lie     func(l *liar)
		step    string
		outcome string
		message string
		code    int
	}{
		{"slow clock", func(l *liar) { l.skew = 2 * time.Minute }, "clock", outcomeWarning, "push refuses more than 5m00s", 0},
		{"wrong clock", func(l *liar) { l.skew = -6 * time.Minute }, "clock", outcomeFailed, "clock", exitRefused},
		{"overwrites", func(l *liar) {
			l.create = func(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
				if err := l.Store.Delete(ctx, key); err != nil {
					return store.Object{}, err
				}
				return l.Store.Create(ctx, key, body, most)
			}
		}, "create-only", outcomeWarning, "ignores create-only", 0},
		{"stores less", func(l *liar) {
			l.create = func(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
				return l.Store.Create(ctx, key, io.LimitReader(body, 10), most)
			}
		}, "create", outcomeFailed, "has 10 bytes", exitFailed},
		{"may not write", func(l *liar) {
			l.create = func(context.Context, string, io.Reader, int64) (store.Object, error) {
				return store.Object{}, fmt.Errorf("put: %w", store.ErrDenied)
			}
		}, "create", outcomeFailed, "access denied", exitLockedOut},
		{"ignores ranges", func(l *liar) {
			l.open = func(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
				return l.Store.Open(ctx, o, 0, n)
			}
		}, "ranges", outcomeFailed, "other bytes", exitFailed},
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
		}, "parts", outcomeFailed, "other bytes", exitFailed},
		{"lists late", func(l *liar) {
			l.list = func(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
				if q.Prefix != "" && strings.HasPrefix(q.Prefix, ".litestash/") {
					q.Prefix = "nothing/"
				}
				return l.Store.List(ctx, q)
			}
		}, "new objects", outcomeFailed, "it should be", exitFailed},
		{"lists folders", func(l *liar) {
			l.list = func(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
				q.Shallow = false
				return l.Store.List(ctx, q)
			}
		}, "new objects", outcomeFailed, "it should be", exitFailed},
		{"lists from the start", func(l *liar) {
			l.list = func(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
				q.After = ""
				return l.Store.List(ctx, q)
			}
		}, "listing", outcomeFailed, "as the first after", exitFailed},
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
		}, "new objects", outcomeFailed, "it should be", exitFailed},
		{"keeps", func(l *liar) {
			l.delete = func(context.Context, string) error { return nil }
		}, "gone", outcomeFailed, "after it was deleted", exitFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &liar{Store: dirStore(t)}
			test.lie(l)
			steps, err := examine(t.Context(), t, l, false)
			got := steps[test.step]
			if got.Outcome != test.outcome || !strings.Contains(got.Message, test.message) {
				t.Errorf("%+v", got)
			}
			var reported *reportedError
			if test.code == 0 && err != nil || test.code != 0 && (!errors.As(err, &reported) || reported.code != test.code) {
				t.Errorf("%v, want code %d", err, test.code)
			}
			if test.name != "keeps" {
				wantOnly(t, l.Store)
			}
		})
	}
}

// What an examination that was killed has left goes, and what one that is under way has stored does not.
func TestDoctorRemovesLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	old, young := filepath.Join(dir, doctorFolder, "killed/large"), filepath.Join(dir, doctorFolder, "alive/large")
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
	if out := mustLite(t, "doctor", "--store", dir); !strings.Contains(out, "and 1 object that another examination") {
		t.Errorf("doctor says:\n%s", out)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}

// What cannot be removed is named.
func TestDoctorLeftBehind(t *testing.T) {
	var out, errs bytes.Buffer
	p := &program{ui: ui.New(ui.Options{Out: &out, Err: &errs})}
	e := newExamination(p, false)
	e.partSize = 1 << 10
	e.connect = func(context.Context) (store.Store, error) {
		return &liar{Store: dirStore(t), delete: func(context.Context, string) error { return store.ErrDenied }}, nil
	}
	err := e.run(t.Context())
	var reported *reportedError
	if !errors.As(err, &reported) || reported.code != exitLockedOut {
		t.Errorf("%v", err)
	}
	for _, name := range []string{smallName, innerName, largeName} {
		if !strings.Contains(errs.String(), e.folder+name) {
			t.Errorf("%q does not name %s", errs.String(), name)
		}
	}
	if !strings.Contains(out.String(), "failed   delete") || !strings.Contains(out.String(), "skipped  gone") {
		t.Errorf("printed %s", out.String())
	}
}
