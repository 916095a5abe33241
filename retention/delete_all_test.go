package retention_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// deleteAll deletes everything as the command does.
func deleteAll(ctx context.Context, st store.Store, evenHeld bool, opts retention.Options) (versions int, err error) {
	d, err := retention.PlanDeleteAll(ctx, st, "app.db", evenHeld)
	if err != nil {
		return 0, err
	}
	return d.Run(ctx, opts)
}

// TestDeleteAllBeside pushes a delta while all snapshots are being deleted, at each call of the store:
// the push ends whole, or nothing of it is there.
func TestDeleteAllBeside(t *testing.T) {
	h := newHistory(t)
	for call := 1; ; call++ {
		st := h.copyTo(t)
		m, err := state.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		b := &beside{Store: st, call: call, do: func() {
			pushAt(t, st, m, memimage.Text(7, 512, 60), time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
		}}
		_, err = deleteAll(t.Context(), b, true, retention.Options{Concurrency: 1})
		m.Close()
		if b.calls < call {
			if err != nil || call < 15 {
				t.Errorf("%d calls, %v", b.calls, err)
			}
			return
		}
		all, lerr := catalog.List(t.Context(), st, "app.db")
		left, told := errors.AsType[*retention.LeftError](err)
		switch {
		case err == nil && errors.As(lerr, new(*catalog.NotFoundError)):
			continue // it was pushed in time to go as well
		case !told || lerr != nil || len(all) != len(left.Left):
			t.Errorf("call %d: %v, left are %v, %v", call, err, all, lerr)
			continue
		}
		if _, err := restore.Verify(t.Context(), st, all[len(all)-1], restore.Options{}); err != nil {
			t.Errorf("call %d: the push claimed success, and: %v", call, err)
		}
	}
}

// A beside does something before one of the calls.
type beside struct {
	store.Store
	calls, call int
	do          func()
}

func (b *beside) count() {
	if b.calls++; b.calls == b.call {
		b.do()
	}
}

func (b *beside) List(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
	b.count()
	return b.Store.List(ctx, q)
}

func (b *beside) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	b.count()
	return b.Store.Open(ctx, o, off, n)
}

func (b *beside) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	b.count()
	return b.Store.Create(ctx, key, body, most)
}

func (b *beside) Delete(ctx context.Context, key string) error {
	b.count()
	return b.Store.Delete(ctx, key)
}

// TestDeleteAllFaults lets every call of the store go wrong while all is being deleted. What is listed then can be
// restored, a push goes on as usual, and the next deletion of all leaves nothing.
func TestDeleteAllFaults(t *testing.T) {
	r := newRig(t)
	names := r.list()
	if err := retention.Hold(t.Context(), r.st, "app.db", names[2].Name); err != nil {
		t.Fatal(err)
	}
	proof := &catalog.Proof{Database: "app.db", Snapshot: names[1].Name, Level: catalog.LevelFull, Outcome: catalog.Sound}
	if err := catalog.RecordProof(t.Context(), r.st, proof, catalog.ProofDetail{}); err != nil {
		t.Fatal(err)
	}
	for _, how := range storetest.Hows {
		for n, hit := 1, true; hit; n++ {
			hit = r.clone().failDeleteAll(storetest.Step{Call: n, How: how})
			if !hit && n < 25 {
				t.Errorf("%v: only %d calls", how, n-1)
			}
		}
	}
}

// failDeleteAll reports whether there was such a call.
func (r *rig) failDeleteAll(step storetest.Step) bool {
	t := r.t
	t.Helper()
	when := fmt.Sprintf("call %d, %v", step.Call, step.How)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	step.Stalled = cancel
	st := storetest.Fault(r.st, step)
	gone := retention.Names{}
	opts := retention.Options{Concurrency: 1, Deleted: func(s catalog.Snapshot) { gone[s.Name] = true }}
	_, err := deleteAll(ctx, st, true, opts)
	hit := st.Hit() > 0
	if hit == (err == nil) {
		t.Errorf("%s: a fault: %v, the deletion: %v", when, hit, err)
	}
	left := r.list()
	for _, s := range left {
		if gone[s.Name] {
			t.Errorf("%s: %v is said to be deleted and is there", when, s.Name)
		}
	}
	if err == nil && len(left) > 0 {
		t.Errorf("%s: success is claimed, and there are %v", when, left)
	}
	r.check(when)
	if step.Call%2 == 0 {
		r.push()
		r.check(when + ", then a push")
	}
	if _, err := deleteAll(t.Context(), r.st, true, opts); err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		t.Errorf("%s, then again: %v", when, err)
	}
	for o, err := range r.st.List(t.Context(), store.Query{}) {
		t.Errorf("%s: all was deleted, and there is %s, %v", when, o.Key, err)
	}
	return hit
}
