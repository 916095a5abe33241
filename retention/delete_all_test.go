package retention_test

import (
	"context"
	"errors"
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
)

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
		_, err = retention.DeleteAll(t.Context(), b, "app.db", retention.Options{EvenHeld: true, Concurrency: 1})
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
