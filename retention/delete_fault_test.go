package retention_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// A rig is a store with snapshots of one database in it.
type rig struct {
	t        *testing.T
	st       *store.Dir
	now      time.Time
	data     []byte
	replaced retention.Names // need not be sound
}

// newRig makes a full, two others upon that in its minute, and three in the minute after.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		t: t, st: storetest.OpenDir(t, storetest.FastDir(t)), now: time.Date(2026, 11, 22, 12, 10, 20, 0, time.UTC), data: memimage.Noise(1, 512, 50),
		replaced: retention.Names{},
	}
	for i := range 6 {
		if i == 3 {
			r.now = r.now.Add(time.Minute)
		}
		r.push()
	}
	return r
}

// clone returns a rig with a copy of the store.
func (r *rig) clone() *rig {
	r.t.Helper()
	c := *r
	c.st, c.replaced = storetest.OpenDir(r.t, storetest.FastDir(r.t)), retention.Names{}
	if err := os.CopyFS(c.st.String(), os.DirFS(r.st.String())); err != nil {
		r.t.Fatal(err)
	}
	return &c
}

// push pushes the next version.
func (r *rig) push() format.Name {
	r.t.Helper()
	r.now = r.now.Add(time.Second)
	r.data = bytes.Clone(r.data)
	copy(r.data[512*(1+r.now.Second()%40):], memimage.Noise(uint64(r.now.UnixNano()), 512, 1))
	opts := upload.Options{Database: "app.db", Source: format.Source{Host: "h", Path: "/app.db"}, Now: func() time.Time { return r.now }}
	result, err := uploadtest.Push(r.t.Context(), r.st, opts, 512, r.data, r.now)
	if err == nil {
		err = result.Damage
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if n := result.Index.Replaces; !n.IsZero() {
		r.replaced[n] = true
	}
	return result.Snapshot.Name
}

func (r *rig) list() []catalog.Snapshot {
	r.t.Helper()
	all, err := catalog.List(r.t.Context(), r.st, "app.db")
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		r.t.Fatal(err)
	}
	return all
}

// check verifies all that is listed.
func (r *rig) check(when string) {
	r.t.Helper()
	for _, s := range r.list() {
		_, err := restore.Verify(r.t.Context(), r.st, s, restore.Options{Concurrency: 1})
		if err != nil && !(r.replaced[s.Name] && errors.As(err, new(*chain.HoleError))) {
			r.t.Errorf("%s: %v is listed and not sound: %v", when, s.Name, err)
		}
	}
}

// TestDeleteFaults lets every call of the store go wrong during a deletion. What is listed is sound then, what is
// said to be deleted is gone, a push goes on as usual, and the next deletion ends what the first one began.
func TestDeleteFaults(t *testing.T) {
	r := newRig(t)
	for _, how := range storetest.Hows {
		for _, doomed := range [][]int{{1, 2, 5}, {0, 1, 2, 3, 4, 5}, {2, 4, 5}} {
			for n, hit := 1, true; hit; n++ {
				hit = r.clone().failDeletion(storetest.Step{Call: n, How: how}, doomed)
				if !hit && n < 7 { // announcements, a listing, the same again, a deletion, announcements
					t.Errorf("%v: only %d calls", how, n-1)
				}
			}
		}
	}
}

// deleteNamed deletes as the command does.
func deleteNamed(ctx context.Context, st store.Store, want retention.Names, opts retention.Options) error {
	d, err := retention.PlanDelete(ctx, st, "app.db", want)
	if err != nil {
		return err
	}
	return d.Run(ctx, opts)
}

// finish deletes what is left of want, or, if that cannot go since something came to rest on it, what is announced.
func (r *rig) finish(when string, want retention.Names, opts retention.Options) {
	r.t.Helper()
	left := retention.Names{}
	for _, s := range r.list() {
		left[s.Name] = want[s.Name]
	}
	maps.DeleteFunc(left, func(_ format.Name, doomed bool) bool { return !doomed })
	err := deleteNamed(r.t.Context(), r.st, left, opts)
	if errors.As(err, new(*retention.RestError)) {
		err = deleteNamed(r.t.Context(), r.st, nil, opts)
	}
	if err != nil {
		r.t.Errorf("%s: %v", when, err)
	}
}

// failDeletion reports whether there was such a call.
func (r *rig) failDeletion(step storetest.Step, doomed []int) bool {
	t := r.t
	t.Helper()
	before := r.list()
	want := retention.Names{}
	for _, i := range doomed {
		want[before[i].Name] = true
	}
	when := fmt.Sprintf("%v call %d, %d doomed", step.How, step.Call, len(doomed))
	gone := retention.Names{}
	opts := retention.Options{Concurrency: 1, Deleted: func(s catalog.Snapshot) { gone[s.Name] = true }}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	step.Stalled = cancel // of a call that stands still whoever waits has enough
	st := storetest.Fault(r.st, step)
	err := deleteNamed(ctx, st, want, opts)
	hit := st.Hit() > 0
	if hit == (err == nil) {
		t.Errorf("%s: a fault: %v, the deletion: %v", when, hit, err)
	}
	left := retention.Names{}
	for _, s := range r.list() {
		left[s.Name] = true
	}
	for _, s := range before {
		switch {
		case gone[s.Name] && left[s.Name]:
			t.Errorf("%s: %v is said to be deleted and is there", when, s.Name)
		case !want[s.Name] && !left[s.Name]:
			t.Errorf("%s: %v is gone", when, s.Name)
		case err == nil && want[s.Name] && !gone[s.Name]:
			t.Errorf("%s: success is claimed, and %v is there", when, s.Name)
		}
	}
	r.check(when)
	pushed := r.push()
	maps.Copy(want, r.replaced) // it rests on what is to go
	r.finish(when+", then again", want, opts)
	r.check(when + ", then a push and again")
	there := false
	for _, s := range r.list() {
		there = there || s.Name == pushed
	}
	if !there {
		t.Errorf("%s: what was pushed after it is gone", when)
	}
	if announced, err := catalog.Announcements(t.Context(), r.st, "app.db"); err != nil || len(announced) > 0 {
		t.Errorf("%s: in the end there are announcements: %v, %v", when, announced, err)
	}
	return hit
}
