package upload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// TestFaults lets every call of the store go wrong in every way during a push, and pushes again.
func TestFaults(t *testing.T) {
	for _, how := range storetest.Hows {
		for _, before := range []int{0, 2} {
			t.Run(fmt.Sprintf("%v/%d before", how, before), func(t *testing.T) {
				for n := 1; ; n++ {
					// A bubble has a time of its own, which the directory's disk does not know.
					st := skewed{storetest.OpenDir(t, t.TempDir()), 0, nil}
					hit := false
					synctest.Test(t, func(t *testing.T) { hit = failCall(t, st, before, storetest.Step{Call: n, How: how}) })
					if !hit {
						if n < 4 { // a listing, the time, a creation
							t.Errorf("only %d calls", n-1)
						}
						break
					}
				}
			})
		}
	}
}

// failCall pushes with a call of the store going wrong, and then once more. It reports whether
// there was such a call.
func failCall(t *testing.T, st store.Store, before int, step storetest.Step) bool {
	data := memimage.Text(9, 4096, 300) // two frames
	for range before {
		mustPush(t, st, upload.Options{}, time.Now())
	}
	s := storetest.Fault(st, step)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := push(ctx, s, upload.Options{}, 4096, data, time.Now())
	hit := s.Hit() > 0
	if hit == (err == nil) {
		t.Errorf("call %d, a fault: %v, the push: %v", step.Call, hit, err)
	}
	s.Plan()
	found := list(t, s, "app.db")
	for _, snap := range found {
		if _, err := restore.Verify(t.Context(), s, snap, restore.Options{}); err != nil {
			t.Errorf("call %d: a snapshot is listed that is not sound: %v", step.Call, err)
		}
	}
	stored := len(found) - before
	switch {
	case err == nil && (stored != 1 || found[before].Key != r.Snapshot.Key):
		t.Errorf("call %d: success is claimed, and %d snapshots are there", step.Call, stored)
	case err != nil && stored > 0 && !errors.Is(err, store.ErrUnknown):
		t.Errorf("call %d: the push failed, and its snapshot is there: %v", step.Call, err)
	}
	if stored == 1 {
		checkStored(t, s, found[before], data)
	}
	again, err := push(t.Context(), s, upload.Options{}, 4096, data, time.Now())
	if err != nil {
		t.Errorf("call %d: the next push: %v", step.Call, err)
		return hit
	}
	checkStored(t, s, again.Snapshot, data)
	if n := len(list(t, s, "app.db")); n != before+stored+1 {
		t.Errorf("call %d: %d snapshots after the next push", step.Call, n)
	}
	for _, snap := range found {
		if snap.Name.ID.Lineage() != again.Snapshot.Name.ID.Lineage() {
			t.Errorf("call %d: the lineage is lost", step.Call)
		}
	}
	s.Check(t)
	return hit
}

// TestCancel cancels a push when some number of bytes of its image has been read.
func TestCancel(t *testing.T) {
	const pageSize, pages = 4096, 2500
	data := memimage.Text(10, pageSize, pages)
	cause := errors.New("the user has had enough")
	r := rand.New(rand.NewPCG(1, 2))
	for range 25 {
		st := storetest.OpenDir(t, t.TempDir())
		ctx, cancel := context.WithCancelCause(t.Context())
		p, err := upload.Begin(ctx, st, upload.Options{Database: "app.db", Source: here, Memory: newMemory(t)})
		if err != nil {
			t.Fatal(err)
		}
		at := r.Int64N(pageSize * pages)
		_, err = p.Commit(ctx, func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
			return cancelImage{memimage.New(salt, pageSize, data, time.Now()), at, func() { cancel(cause) }}, nil
		})
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at byte %d: %v", at, err)
		}
		checkEmpty(t, st)
	}
}

// A cancelImage calls cancel when a byte of it is read.
type cancelImage struct {
	*memimage.Image
	at     int64
	cancel func()
}

func (c cancelImage) ReadAt(p []byte, off int64) (int, error) {
	if c.at >= off && c.at < off+int64(len(p)) {
		c.cancel()
	}
	return c.Image.ReadAt(p, off)
}

// TestCancelAtCalls cancels a push at each call of the store, before it and after it.
func TestCancelAtCalls(t *testing.T) {
	data := memimage.Text(11, 512, 20)
	for n := 1; ; n++ {
		for _, after := range []bool{false, true} {
			st := storetest.OpenDir(t, t.TempDir())
			ctx, cancel := context.WithCancel(t.Context())
			s := &cancelStore{Store: st, call: n, after: after, cancel: cancel}
			r, err := push(ctx, s, upload.Options{}, 512, data, time.Now())
			cancel()
			found := list(t, st, "app.db")
			switch {
			case err == nil && (len(found) != 1 || found[0].Key != r.Snapshot.Key):
				t.Errorf("call %d: success is claimed, and %d snapshots are there", n, len(found))
			case err != nil && len(found) > 0:
				t.Errorf("call %d: a cancelled push left its snapshot: %v", n, err)
			case err != nil && !errors.Is(err, context.Canceled):
				t.Errorf("call %d: %v", n, err)
			}
			if s.calls < n {
				return
			}
		}
	}
}

// A cancelStore calls cancel at one of its calls, before or after that.
type cancelStore struct {
	store.Store
	calls, call int
	after       bool
	cancel      func()
}

func (c *cancelStore) count(after bool) {
	if !after {
		c.calls++
	}
	if c.calls == c.call && after == c.after {
		c.cancel()
	}
}

func (c *cancelStore) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	c.count(false)
	defer c.count(true)
	return c.Store.Create(ctx, key, body, most)
}

func (c *cancelStore) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	c.count(false)
	defer c.count(true)
	return c.Store.Open(ctx, o, off, n)
}

func (c *cancelStore) Skew(ctx context.Context) (time.Duration, error) {
	c.count(false)
	defer c.count(true)
	return c.Store.Skew(ctx)
}

// TestUnknown checks that a push whose outcome is not known says so.
func TestUnknown(t *testing.T) {
	s := storetest.Fault(storetest.OpenDir(t, t.TempDir()), storetest.Step{Call: 1, Op: "Create", How: storetest.After})
	if _, err := push(t.Context(), s, upload.Options{}, 512, memimage.Text(12, 512, 3), time.Now()); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// TestTwoAtOnce lets two pushes of one database overlap, as two hosts may that do not know of each
// other. Both get in, and both stay.
func TestTwoAtOnce(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	taken := time.Now()
	images := [][]byte{memimage.Text(13, 512, 5), memimage.Text(14, 512, 6)}
	var pushes []*upload.Push
	for i := range images {
		p, err := upload.Begin(t.Context(), st, upload.Options{Database: "app.db", Source: format.Source{Host: fmt.Sprint("host ", i), Path: "/app.db"}, Memory: newMemory(t)})
		if err != nil {
			t.Fatal(err)
		}
		pushes = append(pushes, p)
	}
	for i, p := range pushes {
		if _, err := p.Commit(t.Context(), uploadtest.Take(512, images[i], taken)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := catalog.Find(t.Context(), st, "app.db", catalog.Latest)
	if err != nil || len(found) != 2 || found[0].Name.ID.Lineage() == found[1].Name.ID.Lineage() {
		t.Fatalf("found %v, %v", found, err)
	}
	for _, snap := range found {
		var out bytes.Buffer
		if _, err := restore.Stream(t.Context(), st, snap, &out, restore.Options{}); err != nil {
			t.Error(err)
		} else if !bytes.Equal(out.Bytes(), images[0]) && !bytes.Equal(out.Bytes(), images[1]) {
			t.Errorf("%v is neither of the two", snap.Name)
		}
	}
}
