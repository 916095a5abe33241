package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// A way is a way to get a snapshot back. It uses an empty directory, where it leaves nothing, and
// may be tried again there. It fails the test if it breaks a promise, whatever the store does, and
// returns the error that it ended with.
type way struct {
	name string
	run  func(t *testing.T, ctx context.Context, st store.Store, snap catalog.Snapshot, dir string, want []byte) error
}

// ways are all there are. Each fetches one range at a time, so that the calls come in one order.
var ways = []way{
	{"verify", verifyWay},
	{"stream", streamWay},
	{"rebuild", rebuildWay},
	{"file", func(t *testing.T, ctx context.Context, st store.Store, snap catalog.Snapshot, dir string, want []byte) error {
		return fileWay(t, ctx, st, snap, dir, want, nil)
	}},
	{"replace", func(t *testing.T, ctx context.Context, st store.Store, snap catalog.Snapshot, dir string, want []byte) error {
		return fileWay(t, ctx, st, snap, dir, want, []byte("an older database"))
	}},
}

func verifyWay(t *testing.T, ctx context.Context, st store.Store, snap catalog.Snapshot, dir string, want []byte) error {
	r, err := restore.Verify(ctx, st, snap, restore.Options{TempDir: dir, Concurrency: 1})
	checkNames(t, dir)
	if err == nil && r.Index.Size() != int64(len(want)) {
		t.Errorf("verified %d bytes of %d", r.Index.Size(), len(want))
	}
	return err
}

func rebuildWay(t *testing.T, ctx context.Context, st store.Store, snap catalog.Snapshot, dir string, want []byte) error {
	looked := false
	_, err := restore.Rebuild(ctx, st, snap, restore.Options{TempDir: dir, Concurrency: 1, Reuse: "ignored", Check: func(_ context.Context, path string) error {
		looked = true
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("what is rebuilt is not the database (%v)", err)
		}
		return nil
	}})
	checkNames(t, dir)
	if looked != (err == nil) {
		t.Errorf("looked at: %v, %v", looked, err)
	}
	return err
}

func streamWay(t *testing.T, ctx context.Context, st store.Store, snap catalog.Snapshot, dir string, want []byte) error {
	var out bytes.Buffer
	_, err := restore.Stream(ctx, st, snap, &out, restore.Options{TempDir: dir, Concurrency: 1})
	checkNames(t, dir)
	switch {
	case err == nil && !bytes.Equal(out.Bytes(), want):
		t.Error("a stream succeeded and is not the database")
	case err != nil && out.Len() > 0:
		t.Errorf("a stream failed after %d bytes: %v", out.Len(), err)
	}
	return err
}

// fileWay restores over old, or to a path where nothing is if that is nil.
func fileWay(t *testing.T, ctx context.Context, st store.Store, snap catalog.Snapshot, dir string, want, old []byte) error {
	path := filepath.Join(dir, "app.db")
	opts := restore.FileOptions{Options: restore.Options{TempDir: dir, Concurrency: 1}}
	if old != nil {
		writeFile(t, path, old)
		opts.Replace, opts.DiscardOld, opts.Hold = true, true, holdNothing
	}
	_, err := restore.File(ctx, st, snap, path, opts)
	if err != nil && old == nil {
		checkNames(t, dir)
		return err
	}
	checkNames(t, dir, "app.db")
	if err != nil {
		checkFile(t, path, old)
	} else {
		checkFile(t, path, want)
	}
	return errors.Join(err, os.Remove(path))
}

// holdNothing stands for the hold on a database that nobody uses and that has no side files.
func holdNothing(context.Context, string) (restore.Held, error) { return held{}, nil }

type held struct{ sides []string }

func (h held) SideFiles() []string { return h.sides }
func (held) Confirm() error        { return nil }
func (held) Release() error        { return nil }

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// checkNames checks that a directory holds the given names and no other, in order.
func checkNames(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := namesIn(t, dir); !slices.Equal(got, want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

func namesIn(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func checkFile(t testing.TB, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes that are not the %d wanted", filepath.Base(path), len(got), len(want))
	}
}

// TestFaults lets every call of the store go wrong in every way, one after the other, and at last
// none. The object has two segments and is fetched in several ranges: its end, its header, the
// first segment and the data.
func TestFaults(t *testing.T) {
	pages, calls := 1<<16+1, 6
	if race.Enabled {
		pages, calls = 1<<14, 3
	}
	p := pushNew(t, 512, memimage.Noise(1, 512, pages))
	for _, w := range ways {
		for _, how := range storetest.Hows {
			t.Run(fmt.Sprintf("%s/%v", w.name, how), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { failEachCall(t, w, how, p, calls) })
			})
		}
	}
}

// TestChainFaults does the same with a snapshot that rests on four others: their ends are read
// several at a time, where chance decides which call goes wrong.
func TestChainFaults(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	versions := [][]byte{memimage.Noise(5, 4096, 200)}
	for i := range 4 {
		next := bytes.Clone(versions[i])
		copy(next[i*40*4096:], memimage.Noise(uint64(10+i), 4096, 3))
		versions = append(versions, next)
	}
	chain := pushChain(t, st, "app.db", nil, nil, versions)
	p := &pushed{st: st, snap: chain[4], data: versions[4]}
	for _, w := range append(slices.Clone(ways), way{"plan", planWay}) {
		for _, how := range storetest.Hows {
			t.Run(fmt.Sprintf("%s/%v", w.name, how), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { failEachCall(t, w, how, p, 5) })
			})
		}
	}
}

func planWay(t *testing.T, ctx context.Context, st store.Store, snap catalog.Snapshot, dir string, _ []byte) error {
	e, err := restore.Plan(ctx, st, snap, restore.Options{TempDir: dir})
	checkNames(t, dir)
	if err == nil && e.Objects != 5 {
		t.Errorf("a plan of %d objects", e.Objects)
	}
	return err
}

// failEachCall does so for one way and one kind of fault. At least so many calls there must be.
func failEachCall(t *testing.T, w way, how storetest.How, p *pushed, least int) {
	dir, calls := t.TempDir(), 0
	for n := 1; ; n++ {
		s := storetest.Fault(p.st, storetest.Step{Call: n, How: how})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := w.run(t, ctx, s, p.snap, dir, p.data)
		cancel()
		if s.Hit() == 0 {
			if err != nil {
				t.Errorf("without a fault: %v", err)
			}
			break
		}
		calls++
		checkFault(t, how, n, err)
	}
	if calls < least {
		t.Errorf("only %d calls", calls)
	}
}

// checkFault checks that the error of a call that went wrong came through.
func checkFault(t *testing.T, how storetest.How, n int, err error) {
	t.Helper()
	want := storetest.ErrFault
	switch how {
	case storetest.Stall, storetest.CutStall:
		want = context.DeadlineExceeded
	case storetest.Cut:
		want = io.ErrUnexpectedEOF
	}
	if !errors.Is(err, want) {
		t.Errorf("call %d: got %v, want %v", n, err, want)
	}
}

// TestFaultsInParallel does the same with several ranges under way, where chance decides which
// call goes wrong.
func TestFaultsInParallel(t *testing.T) {
	p := pushNew(t, 4096, memimage.Noise(2, 4096, 40<<20/4096))
	for _, how := range storetest.Hows {
		for n := 1; n <= 8; n++ {
			synctest.Test(t, func(t *testing.T) {
				s := storetest.Fault(p.st, storetest.Step{Call: n, How: how})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := restore.Verify(ctx, s, p.snap, restore.Options{})
				if s.Hit() != 1 {
					t.Errorf("%d calls hit", s.Hit())
				}
				checkFault(t, how, n, err)
			})
		}
	}
}

// TestCancel cancels at every read of the store, before and in the middle of it.
func TestCancel(t *testing.T) {
	p := pushNew(t, 4096, memimage.Noise(3, 4096, 2500))
	cause := errors.New("the user has had enough")
	dir := t.TempDir()
	for _, w := range ways {
		for n := 1; ; n++ {
			ctx, cancel := context.WithCancelCause(t.Context())
			st := &cancelAt{Store: p.st, read: n, cancel: func() { cancel(cause) }}
			err := w.run(t, ctx, st, p.snap, dir, p.data)
			cancel(nil)
			if st.reads < n {
				if err != nil {
					t.Errorf("%s, not cancelled: %v", w.name, err)
				}
				break
			}
			// The last read may be cancelled too late to matter.
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, cause) {
				t.Errorf("%s, cancelled at read %d: %v", w.name, n, err)
			}
			n += n / 8
		}
	}
}

// cancelAt calls cancel at one read of a body.
type cancelAt struct {
	store.Store
	read, reads int
	cancel      func()
}

func (c *cancelAt) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	r, err := c.Store.Open(ctx, o, off, n)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{readerFunc(func(b []byte) (int, error) {
		if c.reads++; c.reads == c.read {
			c.cancel()
		}
		return r.Read(b)
	}), r}, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestGone restores a snapshot that is deleted after it was listed.
func TestGone(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	push(t, st, "other.db", 0, nil) // or the directory goes with its last object
	r := push(t, st, "app.db", 512, memimage.Text(4, 512, 10))
	if err := st.Delete(t.Context(), r.Snapshot.Object.Key); err != nil {
		t.Fatal(err)
	}
	for _, w := range ways {
		err := w.run(t, t.Context(), st, r.Snapshot, t.TempDir(), nil)
		if hole, ok := errors.AsType[*chain.HoleError](err); !ok || hole.Missing != r.Snapshot.Key {
			t.Errorf("%s: %v", w.name, err)
		}
	}
}

// TestStreamToBrokenPipe checks that an error of the stream's writer comes through.
func TestStreamToBrokenPipe(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(5, 4096, 300))
	r, w := io.Pipe()
	r.Close()
	dir := t.TempDir()
	_, err := restore.Stream(t.Context(), p.st, p.snap, w, restore.Options{TempDir: dir})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want %v", err, io.ErrClosedPipe)
	}
	checkNames(t, dir)
}

// TestCheck checks that the database is shown to the check whole and before anything is done with
// it, and that its verdict holds.
func TestCheck(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(6, 4096, 300))
	unsound := errors.New("unsound")
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	opts := restore.Options{TempDir: t.TempDir(), Check: func(_ context.Context, temp string) error {
		checkFile(t, temp, p.data)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the target is there while it is checked: %v", err)
		}
		return unsound
	}}
	if _, err := restore.File(t.Context(), p.st, p.snap, path, restore.FileOptions{Options: opts}); !errors.Is(err, unsound) {
		t.Errorf("file: %v", err)
	}
	checkNames(t, dir)
	var out bytes.Buffer
	if _, err := restore.Stream(t.Context(), p.st, p.snap, &out, opts); !errors.Is(err, unsound) || out.Len() > 0 {
		t.Errorf("stream: %v after %d bytes", err, out.Len())
	}
	checkNames(t, opts.TempDir)
}

// TestRoot checks that only the root that is insisted on will do.
func TestRoot(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(7, 4096, 3))
	if _, err := restore.Verify(t.Context(), p.st, p.snap, restore.Options{Root: &p.root}); err != nil {
		t.Error(err)
	}
	other := p.root
	other[31] ^= 1
	dir := t.TempDir()
	_, err := restore.File(t.Context(), p.st, p.snap, filepath.Join(dir, "app.db"), restore.FileOptions{Options: restore.Options{Root: &other}})
	want, ok := errors.AsType[*restore.RootError](err)
	if !ok || want.Want != other || want.Got != p.root {
		t.Errorf("got %v", err)
	}
	checkNames(t, dir)
}
