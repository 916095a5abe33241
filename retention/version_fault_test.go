package retention_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// A versionRig is a store that keeps versions, with what is as good as snapshots for those who do not read them.
type versionRig struct {
	*versions
	t       *testing.T
	created map[string]string // what was stored under each key first
}

// newVersionRig makes one: a snapshot that is whole, one that was deleted, two that were overwritten, of which one is
// locked as well, and one that was deleted, overwritten and deleted again.
func newVersionRig(t *testing.T) *versionRig {
	t.Helper()
	r := &versionRig{versions: newVersions(), t: t, created: map[string]string{}}
	lineage := format.NewLineage()
	for i, covers := range []string{"", "d", "o", "ol", "dod"} {
		key := format.FullKey("app.db", format.Name{Time: format.Time(1 + i), ID: format.NewID(lineage)}).String()
		r.created[key] = fmt.Sprintf("snapshot %d", i)
		r.create(key, r.created[key])
		for _, cover := range covers {
			switch cover {
			case 'd':
				r.put(key, nil, true)
			case 'o':
				r.put(key, fmt.Appendf(nil, "overwrite%d", i), false) // of the same size
			case 'l':
				r.locked[r.keys[key][0].ID] = true
			}
		}
	}
	covered := slices.Sorted(maps.Keys(r.created))[1:]
	for i := range covered { // each with the next, by an announcement that was not withdrawn
		var names []format.Name
		for _, key := range covered[i:min(i+2, len(covered))] {
			k, _ := format.ParseKey(key)
			names = append(names, k.Name)
		}
		if err := catalog.Announce(t.Context(), r, "app.db", catalog.NewName(), names); err != nil {
			t.Fatal(err)
		}
	}
	r.create(format.FullKey("app.db/other", format.Name{Time: 1, ID: format.NewID(lineage)}).String(), "of another")
	return r
}

func (r *versionRig) create(key, text string) {
	r.t.Helper()
	if _, err := r.Create(r.t.Context(), key, strings.NewReader(text), int64(len(text))); err != nil {
		r.t.Fatal(err)
	}
}

// seen returns what ordinary reads see.
func (r *versionRig) seen() map[string]string {
	r.t.Helper()
	seen := map[string]string{}
	for o, err := range r.List(r.t.Context(), store.Query{Prefix: "app.db/", Shallow: true}) {
		if err != nil {
			r.t.Fatal(err)
		}
		body, err := r.Open(r.t.Context(), o, 0, -1)
		if err != nil {
			r.t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		body.Close()
		if err != nil {
			r.t.Fatal(err)
		}
		seen[o.Key] = string(text)
	}
	return seen
}

// versionFaults runs do for each call that it makes of the store, and each way in which that can go wrong, on fresh rigs. after
// judges what came of it: done if it claims success.
func versionFaults(t *testing.T, least int, do func(ctx context.Context, r *versionRig, st *storetest.FaultyVersioner) error, after func(r *versionRig, when string, done bool)) {
	t.Helper()
	for _, how := range storetest.Hows {
		for call, hit := 1, true; hit; call++ {
			r := newVersionRig(t)
			ctx, cancel := context.WithCancel(t.Context())
			st := storetest.FaultVersions(r, storetest.Step{Call: call, How: how, Stalled: cancel})
			err := do(ctx, r, st)
			cancel()
			when := fmt.Sprintf("call %d, %v", call, how)
			if hit = st.Hit() > 0; !hit && err != nil {
				t.Errorf("without a fault it returns %v", err)
			}
			if !hit && call <= least {
				t.Errorf("%v: only %d calls", how, call-1)
			}
			after(r, when, err == nil)
		}
	}
}

// TestRecoverFaults lets every call of the store go wrong during a recovery. What it says to have brought back is there,
// nothing else comes to light, and the next recovery ends what it began.
func TestRecoverFaults(t *testing.T) {
	var mu sync.Mutex
	said := map[string]bool{}
	recover := func(ctx context.Context, r *versionRig, st *storetest.FaultyVersioner) error {
		clear(said)
		err := retention.Recover(ctx, st, "app.db", retention.RecoverOptions{}, func(c retention.Covered) {
			mu.Lock()
			defer mu.Unlock()
			said[c.First.Key] = true
		})
		return err
	}
	versionFaults(t, 10, recover, func(r *versionRig, when string, done bool) {
		seen := r.seen()
		if done && !maps.Equal(seen, r.created) {
			t.Errorf("%s: success is claimed, and there is %q, want %q", when, seen, r.created)
		}
		announced, err := catalog.Announced(t.Context(), r, "app.db")
		if err != nil {
			t.Fatal(err)
		}
		for key := range said {
			if seen[key] != r.created[key] {
				t.Errorf("%s: %s is said to be brought back, and holds %q", when, key, seen[key])
			}
			if k, _ := format.ParseKey(key); announced[k.Name] {
				t.Errorf("%s: %s is said to be brought back, and is about to be deleted", when, key)
			}
		}
		for key, text := range r.created {
			first, err := store.Oldest(t.Context(), r, key)
			if err != nil || first.Size != int64(len(text)) {
				t.Errorf("%s: of %s the first version is gone: %v", when, key, err)
			}
		}
		if err := retention.Recover(t.Context(), r, "app.db", retention.RecoverOptions{}, func(retention.Covered) {}); err != nil {
			t.Errorf("%s, then again: %v", when, err)
		}
		if seen := r.seen(); !maps.Equal(seen, r.created) {
			t.Errorf("%s: in the end there is %q, want %q", when, seen, r.created)
		}
		err = retention.Recover(t.Context(), r, "app.db", retention.RecoverOptions{DryRun: true}, func(c retention.Covered) {
			t.Errorf("%s: in the end something covers %s", when, c.First.Key)
		})
		if err != nil {
			t.Errorf("%s, and looked at: %v", when, err)
		}
	})
}

// TestRecoverManyVersions brings back what more versions lie on than a page of a listing holds, some of them locked or not.
func TestRecoverManyVersions(t *testing.T) {
	for _, locked := range []int{0, 1, 7} {
		r := newVersionRig(t)
		r.page = 3
		for key := range r.created {
			for i := range 10 {
				r.put(key, fmt.Appendf(nil, "forged %d", i), i == 5)
				r.locked[r.keys[key][0].ID] = locked > 0 && i%locked == 0 && i != 5
			}
		}
		found := 0
		err := retention.Recover(t.Context(), r, "app.db", retention.RecoverOptions{}, func(retention.Covered) { found++ })
		if seen := r.seen(); err != nil || found != len(r.created) || !maps.Equal(seen, r.created) {
			t.Errorf("locked %d: %d are said to be brought back, %v, and there is %q", locked, found, err, seen)
		}
	}
}

// An overwriter puts a forgery on top of every copy.
type overwriter struct{ *versionRig }

func (o overwriter) CopyVersion(ctx context.Context, v store.Version) (store.Object, error) {
	obj, err := o.versionRig.CopyVersion(ctx, v)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.put(v.Key, []byte("forged"), false)
	return obj, err
}

// TestRecoverBesideThief recovers while somebody overwrites what comes back: nothing is said to be back that is not.
func TestRecoverBesideThief(t *testing.T) {
	r := newVersionRig(t)
	err := retention.Recover(t.Context(), overwriter{r}, "app.db", retention.RecoverOptions{}, func(c retention.Covered) {
		r.mu.Lock() // others are being overwritten
		defer r.mu.Unlock()
		if top, there := r.top(c.First.Key); !there || string(top.text) != r.created[c.First.Key] {
			t.Errorf("%s is said to be back, and holds %q", c.First.Key, top.text)
		}
	})
	if !errors.Is(err, retention.ErrCovered) {
		t.Errorf("it ends with %v", err)
	}
}

// TestRecoverSince brings back what was covered from some time on. A dry run says the same and changes nothing.
func TestRecoverSince(t *testing.T) {
	for _, c := range []struct {
		since time.Duration // from now on
		want  int
	}{{-time.Hour, 4}, {time.Hour, 0}} {
		r := newVersionRig(t)
		opts := retention.RecoverOptions{Since: time.Now().Add(c.since)}
		before := r.seen()
		for _, opts.DryRun = range []bool{true, false} {
			found := 0
			if err := retention.Recover(t.Context(), r, "app.db", opts, func(retention.Covered) { found++ }); err != nil || found != c.want {
				t.Errorf("%+v: %d are found, %v, want %d", opts, found, err, c.want)
			}
			if same := maps.Equal(r.seen(), before); same != (opts.DryRun || c.want == 0) {
				t.Errorf("%+v: nothing has changed is %v", opts, same)
			}
		}
	}
}

// TestDeleteVersionsFaults lets every call of the store go wrong while all is being deleted where versions are kept.
// Nothing that was deleted comes to light, and the next deletion leaves nothing.
func TestDeleteVersionsFaults(t *testing.T) {
	gone := map[string]bool{}
	opts := retention.Options{Concurrency: 1, Deleted: func(s catalog.Snapshot) { gone[s.Object.Key] = true }}
	all := func(ctx context.Context, r *versionRig, st *storetest.FaultyVersioner) error {
		clear(gone)
		clear(r.locked)
		seen := r.seen()
		for key := range r.created {
			gone[key] = seen[key] == ""
		}
		_, err := deleteAll(ctx, st, false, opts)
		return err
	}
	versionFaults(t, 25, all, func(r *versionRig, when string, done bool) {
		if done {
			r.mustBeEmpty(when)
		}
		for key, text := range r.seen() {
			if gone[key] {
				t.Errorf("%s: %s was deleted, and there is %q", when, key, text)
			}
		}
		_, err := deleteAll(t.Context(), r, false, opts)
		if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
			t.Errorf("%s, then again: %v", when, err)
		}
		r.mustBeEmpty(when)
	})
}

// mustBeEmpty fails the test if there is any version of the database, or none of another.
func (r *versionRig) mustBeEmpty(when string) {
	r.t.Helper()
	n := 0
	for v, err := range r.Versions(r.t.Context(), store.Query{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if n++; !strings.HasPrefix(v.Key, "app.db/other/") {
			r.t.Errorf("%s: all was deleted, and there is %+v", when, v)
		}
	}
	if n != 1 {
		r.t.Errorf("%s: of another database there are %d versions", when, n)
	}
}
