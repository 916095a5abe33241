package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// put stores something under a key.
func put(t *testing.T, st store.Store, key string) {
	t.Helper()
	if _, err := st.Create(t.Context(), key, strings.NewReader(key), 0); err != nil {
		t.Fatal(err)
	}
}

// id returns an id of a lineage.
func id(lineage, n int) format.ID { return format.ID(uint64(lineage)<<40 | uint64(n)) }

// base returns the first part of the last part of a key.
func base(at format.Time, id format.ID) string { return format.Name{Time: at, ID: id}.String() }

// full returns the key of a full snapshot.
func full(database string, at format.Time, id format.ID) string {
	return format.FullKey(database, format.Name{Time: at, ID: id}).String()
}

// names returns the names of snapshots as texts.
func names(snaps []catalog.Snapshot) []string {
	var all []string
	for _, s := range snaps {
		all = append(all, s.Name.String())
	}
	return all
}

func check(t *testing.T, what string, got []catalog.Snapshot, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if !slices.Equal(names(got), want) {
		t.Errorf("%s: got %q, want %q", what, names(got), want)
	}
}

// checkNotFound checks that err says that a snapshot, or if what is empty a database, is not there.
func checkNotFound(t *testing.T, err error, what string) *catalog.NotFoundError {
	t.Helper()
	e, ok := errors.AsType[*catalog.NotFoundError](err)
	if !ok || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want that %q is not there", err, what)
	}
	if e.Database != "app.db" || (e.What == "") != (what == "") || !strings.Contains(e.What, what) {
		t.Errorf("got %q of %q, want %q", e.What, e.Database, what)
	}
	return e
}

// TestList lists a database among all that may be in a bucket.
func TestList(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	now := format.TimeOf(time.Now())
	for _, key := range []string{
		full("app.db", now, id(1, 2)),
		full("app.db", now, id(1, 1)),
		full("app.db", now-1000, id(1, 3)),
		"app.db/" + base(now+1, id(2, 1)) + ".on-" + id(1, 2).String() + ".delta.zst",
		"app.db/" + base(now+2, id(1, 4)) + ".full.db.zst.age",
		"app.db/" + base(now+3, id(1, 5)) + ".later.kind",
		// Another's: neither databases below this one nor what begins alike, nor what is
		// no snapshot.
		full("app.db/app.db", now, id(3, 1)),
		full("app.db2", now, id(3, 2)),
		full("app", now, id(3, 3)),
		"app.db/README.txt",
		"app.db/" + base(now, id(3, 4)),
		"app.db/x" + base(now, id(3, 5)) + ".full.db.zst",
		"app.db/" + strings.ToLower(base(now, id(3, 6))) + ".full.db.zst",
		"app.db/" + base(now, id(3, 7)) + ".FULL",
		"README.txt",
	} {
		put(t, st, key)
	}
	want := []string{
		base(now-1000, id(1, 3)), base(now, id(1, 1)), base(now, id(1, 2)),
		base(now+1, id(2, 1)), base(now+2, id(1, 4)), base(now+3, id(1, 5)),
	}
	got, err := catalog.List(t.Context(), st, "app.db")
	check(t, "list", got, err, want...)
	if len(got) != len(want) {
		t.FailNow()
	}
	for i, s := range got {
		if s.Object.Key != s.Key.String() || s.Object.Size != int64(len(s.Object.Key)) || s.Database != "app.db" {
			t.Errorf("number %d: %+v", i, s)
		}
	}
	if k := got[3]; k.Kind != format.Delta || !k.HasParent || k.Parent != id(1, 2) || k.Name.ID.Lineage() != 2 {
		t.Errorf("the delta: %+v", k)
	}
	if k := got[4]; k.Kind != format.Full || !k.Encrypted {
		t.Errorf("the encrypted full: %+v", k)
	}
	if k := got[5]; k.Kind != format.Unknown {
		t.Errorf("the unknown kind: %+v", k)
	}

	slices.Reverse(want)
	got, err = catalog.Find(t.Context(), st, "app.db", catalog.Latest)
	check(t, "find", got, err, want...)
	_, err = catalog.List(t.Context(), storetest.OpenDir(t, t.TempDir()), "app.db")
	if !errors.Is(err, store.ErrNoBucket) && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty store: %v", err)
	}
}

func TestNoDatabase(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	put(t, st, full("app.db/below", 1, 1))
	_, err := catalog.List(t.Context(), st, "app.db")
	checkNotFound(t, err, "")
	_, err = catalog.Find(t.Context(), st, "app.db", catalog.Latest)
	checkNotFound(t, err, "")
	_, err = catalog.Get(t.Context(), st, "app.db", format.Name{Time: 1, ID: 1})
	checkNotFound(t, err, base(1, 1))
}

// TestFind finds the newest snapshot at or before a time, however far before.
func TestFind(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	now := format.TimeOf(time.Now())
	const hour = format.Time(3600 * 1000)
	times := []format.Time{0, 1, now - 400*24*hour, now - 20*24*hour, now - 20*24*hour + 1, now - 3*hour, now - 10*60*1000, now + 2*hour}
	for _, at := range times {
		put(t, st, full("app.db", at, id(1, 1)))
	}
	for i, at := range times {
		for _, d := range []format.Time{0, 1, 500} {
			next := catalog.Latest
			if i+1 < len(times) {
				next = times[i+1]
			}
			if at+d >= next {
				continue
			}
			got, err := catalog.Find(t.Context(), st, "app.db", at+d)
			if err != nil {
				t.Errorf("at %v: %v", at+d, err)
				continue
			}
			if got[0].Name.Time != at {
				t.Errorf("at %v: got %v, want %v", at+d, got[0].Name.Time, at)
			}
			for j, s := range got {
				if s.Name.Time != times[i-j] {
					t.Errorf("at %v: number %d is %v", at+d, j, s.Name)
				}
			}
		}
	}
	got, err := catalog.Find(t.Context(), st, "app.db", catalog.Latest)
	if err != nil || got[0].Name.Time != now+2*hour {
		t.Errorf("the latest: %v, %v", names(got), err)
	}
	_, err = catalog.Find(t.Context(), st, "app.db", -1)
	if e := checkNotFound(t, err, "at or before"); e.Nearest == nil || e.Nearest.Name.Time != 0 {
		t.Errorf("the nearest is %+v", e.Nearest)
	}
}

// TestFindBeforeFirst asks for a time before there was anything.
func TestFindBeforeFirst(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	now := format.TimeOf(time.Now())
	put(t, st, full("app.db", now, id(1, 1)))
	put(t, st, full("app.db", now+5, id(1, 1)))
	for _, at := range []format.Time{now - 1, now - 1<<40, 0} {
		_, err := catalog.Find(t.Context(), st, "app.db", at)
		e := checkNotFound(t, err, "at or before "+at.String())
		if e.Nearest == nil || e.Nearest.Name.Time != now || !strings.Contains(err.Error(), base(now, id(1, 1))) {
			t.Errorf("at %v the nearest is %+v: %v", at, e.Nearest, err)
		}
	}
}

// A counter counts the objects that are listed.
type counter struct {
	store.Store
	listed int
}

func (c *counter) List(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for o, err := range c.Store.List(ctx, q) {
			c.listed++
			if !yield(o, err) {
				return
			}
		}
	}
}

// TestFindReadsLittle checks that of a long history only what is near is listed.
func TestFindReadsLittle(t *testing.T) {
	st := &counter{Store: storetest.OpenDir(t, t.TempDir())}
	now := format.TimeOf(time.Now())
	const minute = format.Time(60 * 1000)
	for i := range 300 {
		put(t, st, full("app.db", now-format.Time(i)*minute, id(1, 1)))
	}
	for _, at := range []format.Time{catalog.Latest, now - 100*minute} {
		st.listed = 0
		if _, err := catalog.Find(t.Context(), st, "app.db", at); err != nil {
			t.Error(err)
		}
		if st.listed > 62 {
			t.Errorf("at %v: %d objects were listed for those of one hour", at, st.listed)
		}
	}
	st.listed = 0
	if _, err := catalog.Get(t.Context(), st, "app.db", format.Name{Time: now - 200*minute, ID: id(1, 1)}); err != nil {
		t.Error(err)
	}
	if st.listed > 2 {
		t.Errorf("%d objects were listed for one", st.listed)
	}
}

// TestGet gets a snapshot among others of its millisecond.
func TestGet(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	for n := 1; n <= 3; n++ {
		put(t, st, full("app.db", 1000, id(n, n)))
		put(t, st, full("app.db", 1001, id(n, n)))
	}
	for n := 1; n <= 3; n++ {
		want := format.Name{Time: 1000, ID: id(n, n)}
		got, err := catalog.Get(t.Context(), st, "app.db", want)
		if err != nil || got.Name != want {
			t.Errorf("got %v, %v", got.Name, err)
		}
	}
	for _, n := range []format.Name{{Time: 1000, ID: id(4, 4)}, {Time: 999, ID: id(1, 1)}, {Time: 1002, ID: id(1, 1)}, {Time: 0, ID: id(1, 1)}} {
		_, err := catalog.Get(t.Context(), st, "app.db", n)
		checkNotFound(t, err, n.String())
	}
}

func TestDatabases(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	for _, key := range []string{
		full("b", 5, 1), full("b", 7, 1), full("b/c", 1, 1), full("b/c", 9, 1), full("b.db", 3, 1), full("ä/ö", 2, 1),
		"b/" + base(6, 1) + ".later", "b/notes.txt", "notes.txt", "empty/notes.txt",
	} {
		put(t, st, key)
	}
	got, err := catalog.Databases(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range got {
		lines = append(lines, fmt.Sprintf("%s %d %d-%d", d.Name, d.Snapshots, d.First.Name.Time, d.Newest.Name.Time))
		size := int64(d.Snapshots) * int64(len(full(d.Name, 0, 0)))
		if d.Name == "b" {
			size += int64(len(".later") - len(".full.db.zst"))
		}
		if d.Stored != size {
			t.Errorf("%s: %d bytes are stored, want %d", d.Name, d.Stored, size)
		}
	}
	want := []string{"b 3 5-7", "b.db 1 3-3", "b/c 2 1-9", "ä/ö 1 2-2"}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}

// TestFaults lets every listing go wrong: nothing less than all may be taken for all.
func TestFaults(t *testing.T) {
	dir := storetest.OpenDir(t, t.TempDir())
	now := format.TimeOf(time.Now())
	for i := range 10 {
		put(t, dir, full("app.db", now-format.Time(i), id(1, i+1)))
		put(t, dir, full("late.db", 1<<40+format.Time(i), id(1, i+1))) // in 2004
	}
	for name, look := range map[string]func(context.Context, store.Store) error{
		"list": func(ctx context.Context, st store.Store) error { _, err := catalog.List(ctx, st, "app.db"); return err },
		"find": func(ctx context.Context, st store.Store) error {
			_, err := catalog.Find(ctx, st, "app.db", now)
			return err
		},
		"find late": func(ctx context.Context, st store.Store) error {
			_, err := catalog.Find(ctx, st, "late.db", now)
			return err
		},
		"get": func(ctx context.Context, st store.Store) error {
			_, err := catalog.Get(ctx, st, "app.db", format.Name{Time: now, ID: id(2, 1)})
			return err
		},
		"databases": func(ctx context.Context, st store.Store) error { _, err := catalog.Databases(ctx, st); return err },
	} {
		for _, how := range []storetest.How{storetest.Before, storetest.After, storetest.Cut} {
			for n := 1; ; n++ {
				s := storetest.Fault(dir, storetest.Step{Call: n, How: how})
				err := look(t.Context(), s)
				if s.Hit() == 0 {
					if n == 1 {
						t.Errorf("%s lists nothing", name)
					}
					break
				}
				if !errors.Is(err, storetest.ErrFault) || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s, call %d fails %v: %v", name, n, how, err)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := look(ctx, dir); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", name, err)
		}
	}
}
