package upload_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// begin plans a push; without a memory it has to ask the store.
func begin(t *testing.T, st store.Store, m *state.Memory) *upload.Push {
	t.Helper()
	if m == nil {
		m = newMemory(t)
	}
	p, err := upload.Begin(t.Context(), st, upload.Options{Database: "app.db", Source: here, Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// commit stores data.
func commit(t *testing.T, p *upload.Push, data []byte, taken time.Time) *upload.Result {
	t.Helper()
	r, err := told(p.Commit(t.Context(), uploadtest.Take(4096, data, taken)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newMemory returns a memory that ends with the test.
func newMemory(t *testing.T) *state.Memory {
	t.Helper()
	m, err := state.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// versions returns a database and n later versions of it, in each of which another page
// has changed.
func versions(n int) [][]byte {
	all := [][]byte{memimage.Noise(1, 4096, 300)}
	for i := range n {
		next := bytes.Clone(all[i])
		copy(next[4096*(10+i):4096*(11+i)], memimage.Noise(uint64(100+i), 4096, 1))
		all = append(all, next)
	}
	return all
}

// TestCutShort cuts the full short that a delta rests on. That is damage, though the key is there;
// and neither keeps the next push from storing a full nor lets it claim success for another delta.
func TestCutShort(t *testing.T) {
	data := versions(3)
	for _, left := range []int64{0, 1, 1000, 300_000} {
		st, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
		full := commit(t, begin(t, st, m), data[0], time.Now())
		delta := commit(t, begin(t, st, m), data[1], time.Now())
		if delta.Index.Kind() != format.Delta {
			t.Fatalf("a %v", delta.Index.Kind())
		}
		path := filepath.Join(st.String(), full.Snapshot.Object.Key)
		if err := errors.Join(os.Chmod(path, 0o600), os.Truncate(path, left)); err != nil {
			t.Fatal(err)
		}
		if _, err := restore.Verify(t.Context(), st, delta.Snapshot, restore.Options{}); !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%d bytes left: %v", left, err)
		}
		for i, memory := range []*state.Memory{m, nil} {
			r := commit(t, begin(t, st, memory), data[2+i], time.Now())
			if _, err := restore.Verify(t.Context(), st, r.Snapshot, restore.Options{}); err != nil {
				t.Errorf("%d bytes left: success was claimed for %v: %v", left, r.Snapshot.Name, err)
			}
		}
	}
}

// TestCutShortWithoutMemory is the same where only the store can tell.
func TestCutShortWithoutMemory(t *testing.T) {
	data := versions(2)
	st := storetest.OpenDir(t, t.TempDir())
	full := commit(t, begin(t, st, nil), data[0], time.Now())
	commit(t, begin(t, st, nil), data[1], time.Now())
	path := filepath.Join(st.String(), full.Snapshot.Object.Key)
	if err := errors.Join(os.Chmod(path, 0o600), os.Truncate(path, full.Snapshot.Object.Size-1)); err != nil {
		t.Fatal(err)
	}
	p := begin(t, st, nil)
	r, err := told(p.Commit(t.Context(), uploadtest.Take(4096, data[2], time.Now())))
	if _, told := errors.AsType[*upload.DecayError](err); !told {
		t.Fatalf("the damage was not told: %v", err)
	}
	if r.Index.Kind() != format.Full {
		t.Errorf("a %v was stored", r.Index.Kind())
	}
}

// A vanishing store loses a key when a range of it is read that begins before the byte at.
type vanishing struct {
	store.Store
	key string
	at  int64
}

func (v vanishing) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	if o.Key == v.key && off > 0 && off < v.at {
		if err := v.Delete(ctx, o.Key); err != nil {
			return nil, err
		}
	}
	return v.Store.Open(ctx, o, off, n)
}

// TestVanish deletes what a snapshot rests on while that is being restored: its page table or
// its pages.
func TestVanish(t *testing.T) {
	data := versions(1)
	for _, what := range []string{"pages", "all"} {
		st, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
		full := commit(t, begin(t, st, m), data[0], time.Now())
		delta := commit(t, begin(t, st, m), data[1], time.Now())
		at := full.Snapshot.Object.Size
		if what == "pages" {
			at = 100_000 // the page table is in what is read first
		}
		_, err := restore.Verify(t.Context(), vanishing{st, full.Snapshot.Object.Key, at}, delta.Snapshot, restore.Options{})
		hole, ok := errors.AsType[*chain.HoleError](err)
		if !ok || hole.Missing != full.Snapshot.Key || hole.Snapshot.Key != delta.Snapshot.Key {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestReplacementIsNewest checks that a full which replaces a delta without a path comes after it,
// also when the store's newest snapshot is ahead of this host's clock.
func TestReplacementIsNewest(t *testing.T) {
	data := versions(2)
	for range 20 { // names of the same time are in the order of random ids
		st, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
		ahead := time.Now().Add(time.Minute)
		first := commit(t, begin(t, st, m), data[0], ahead)
		p := begin(t, st, m)
		n := format.Name{Time: first.Snapshot.Name.Time, ID: 1}
		if err := catalog.Announce(t.Context(), st, "app.db", n, []format.Name{first.Snapshot.Name}); err != nil {
			t.Fatal(err)
		}
		r := commit(t, p, data[1], time.Now())
		if r.Index.Kind() != format.Full || r.Index.Replaces.IsZero() {
			t.Fatalf("a %v that replaces %v", r.Index.Kind(), r.Index.Replaces)
		}
		found, err := catalog.Find(t.Context(), st, "app.db", catalog.Latest)
		if err != nil || found[0].Key != r.Snapshot.Key {
			t.Fatalf("the newest is %v and not %v, %v", found[0].Key, r.Snapshot.Key, err)
		}
	}
}

// TestMemoryOfTwo lets two pushes use one memory at the same time. The pages that the second leaves
// out would be those of the first.
func TestMemoryOfTwo(t *testing.T) {
	data := versions(2)
	st, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
	commit(t, begin(t, st, m), data[0], time.Now())
	one, two := begin(t, st, m), begin(t, st, m)
	commit(t, one, data[2], time.Now())
	if _, err := two.Commit(t.Context(), uploadtest.Take(4096, data[2], time.Now())); !errors.Is(err, upload.ErrMemory) {
		t.Errorf("the second of two pushes: %v, want %v", err, upload.ErrMemory)
	}
	if n := len(list(t, st, "app.db")); n != 2 {
		t.Errorf("%d snapshots", n)
	}
}

// TestDeltaFaults lets every call of the store go wrong during the push of a delta, with a memory
// and without. What is claimed is there; what is listed is sound; and the next push, with the same
// memory, works.
func TestDeltaFaults(t *testing.T) {
	data := versions(3)
	for _, how := range storetest.Hows {
		for _, remembers := range []bool{true, false} {
			for n, hit := 1, true; hit; n++ {
				hit = failDelta(t, storetest.Step{Call: n, How: how}, remembers, data)
				if !hit && n < 5 { // a listing, the time, a creation, announcements, the full
					t.Errorf("%v: only %d calls", how, n-1)
				}
			}
		}
	}
}

// failDelta reports whether there was such a call.
func failDelta(t *testing.T, step storetest.Step, remembers bool, data [][]byte) bool {
	t.Helper()
	dir, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
	commit(t, begin(t, dir, m), data[0], time.Now())
	commit(t, begin(t, dir, m), data[1], time.Now())
	if !remembers {
		m = newMemory(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	step.Stalled = cancel // of a call that stands still whoever waits has enough
	s := storetest.Fault(dir, step)
	p, err := upload.Begin(ctx, s, upload.Options{Database: "app.db", Source: here, Memory: m})
	var r *upload.Result
	if err == nil {
		r, err = told(p.Commit(ctx, uploadtest.Take(4096, data[2], time.Now())))
	}
	hit := s.Hit() > 0
	if hit == (err == nil) {
		t.Errorf("%v call %d, remembers %v: a fault: %v, the push: %v", step.How, step.Call, remembers, hit, err)
	}
	if err == nil && !sound(t, dir, r.Snapshot, data[2]) {
		t.Errorf("%v call %d: claimed and not sound", step.How, step.Call)
	}
	for _, snap := range list(t, dir, "app.db") {
		if _, err := restore.Verify(t.Context(), dir, snap, restore.Options{}); err != nil {
			t.Errorf("%v call %d: listed and not sound: %v", step.How, step.Call, err)
		}
	}
	if r := commit(t, begin(t, dir, m), data[3], time.Now()); !sound(t, dir, r.Snapshot, data[3]) {
		t.Errorf("%v call %d: the next push is not sound", step.How, step.Call)
	}
	return hit
}

// sound reports whether a snapshot is the data that was pushed.
func sound(t *testing.T, st store.Store, snap catalog.Snapshot, data []byte) bool {
	t.Helper()
	var out bytes.Buffer
	if _, err := restore.Stream(t.Context(), st, snap, &out, restore.Options{TempDir: t.TempDir()}); err != nil {
		t.Error(err)
	}
	return bytes.Equal(out.Bytes(), data)
}

// A prunedMidway has the snapshots in doomed no more once the end of one of them has been read, as after a deletion
// beside a newer one.
type prunedMidway struct {
	store.Store
	doomed []catalog.Snapshot // in the order in which they go
}

func (p *prunedMidway) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	r, err := p.Store.Open(ctx, o, off, n)
	for _, s := range p.doomed {
		err = errors.Join(err, p.Delete(ctx, s.Object.Key))
	}
	p.doomed = nil
	return r, err
}

// TestPrunedMidway deletes the newest snapshot, and then what it rests on, after a push without a memory has found it:
// it is no damage. What it rests on alone is.
func TestPrunedMidway(t *testing.T) {
	all := versions(2)
	for _, whole := range []bool{true, false} {
		st, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
		for i, data := range all[:2] {
			commit(t, begin(t, st, m), data, time.Now().Add(time.Duration(i)*time.Millisecond))
		}
		there := list(t, st, "app.db")
		doomed := there[:1]
		if whole {
			doomed = []catalog.Snapshot{there[1], there[0]}
		}
		p := begin(t, &prunedMidway{st, doomed}, nil)
		r, err := told(p.Commit(t.Context(), uploadtest.Take(4096, all[2], time.Now())))
		damaged := errors.As(err, new(*upload.DecayError))
		if r == nil || damaged == whole || err != nil && !damaged {
			t.Errorf("%d go: %v, %v", len(doomed), r, err)
		}
	}
}
