package transfer_test

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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/transfer"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

const database = "tenants/42/app.db"

// A history is a store in a directory and the snapshots of one database in it, with their images.
type history struct {
	dir    string
	st     *store.Dir
	all    []catalog.Snapshot
	images [][]byte
	ids    *seal.Identities // that open them; nil if they are not encrypted
}

// newHistory pushes n snapshots, a millisecond apart and in one minute: each builds on the one before.
func newHistory(t *testing.T, n, pages int) *history {
	t.Helper()
	return pushHistory(t, n, pages, nil, nil)
}

// pushHistory is newHistory, encrypted for rs, which ids open.
func pushHistory(t *testing.T, n, pages int, rs *seal.Recipients, ids *seal.Identities) *history {
	t.Helper()
	const pageSize = 512
	h := &history{dir: storetest.FastDir(t), ids: ids}
	h.st = storetest.OpenDir(t, h.dir)
	data := memimage.Noise(1, pageSize, pages)
	now := time.Now().Truncate(time.Minute)
	for i := range n {
		now = now.Add(time.Millisecond)
		if i > 0 {
			copy(data[(i%pages)*pageSize:], memimage.Noise(uint64(100+i), pageSize, 1))
		}
		opts := upload.Options{
			Database:   database,
			Source:     format.Source{Host: "h", Path: "/app.db"},
			Recipients: rs,
			Identities: ids,
			Now:        func() time.Time { return now },
		}
		r, err := uploadtest.Push(t.Context(), h.st, opts, pageSize, bytes.Clone(data), now)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && r.Snapshot.Parent != h.all[i-1].Name.ID {
			t.Fatalf("the snapshot %d builds on another than the one before", i)
		}
		h.all = append(h.all, r.Snapshot)
		h.images = append(h.images, bytes.Clone(data))
	}
	return h
}

// filesIn returns the contents of all files below a directory.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// checkCopy restores every snapshot that is in the copy and returns how many there are.
func (h *history) checkCopy(t *testing.T, to store.Store) int {
	t.Helper()
	there, err := catalog.List(t.Context(), to, database)
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		t.Fatal(err)
	}
	for _, s := range there {
		i := slices.IndexFunc(h.all, func(o catalog.Snapshot) bool { return o.Name == s.Name })
		if i < 0 {
			t.Fatalf("%v is in the copy alone", s.Name)
		}
		var b bytes.Buffer
		if _, err := restore.Stream(t.Context(), to, s, &b, restore.Options{TempDir: t.TempDir(), Identities: h.ids}); err != nil {
			t.Fatalf("%v in the copy: %v", s.Name, err)
		}
		if !bytes.Equal(b.Bytes(), h.images[i]) {
			t.Fatalf("%v is another in the copy", s.Name)
		}
	}
	return len(there)
}

func TestCopy(t *testing.T) {
	h := newHistory(t, 8, 300)
	for _, s := range []catalog.Snapshot{h.all[0], h.all[5]} {
		if err := catalog.RecordProof(t.Context(), h.st, &catalog.Proof{Database: database, Snapshot: s.Name, Level: catalog.LevelQuick, Outcome: catalog.Unmet}, catalog.ProofDetail{}); err != nil {
			t.Fatal(err)
		}
	}
	hold := ".litestash/held/" + database + "/" + h.all[3].Name.String() + ".json"
	if _, err := h.st.Create(t.Context(), hold, strings.NewReader("{}\n"), 3); err != nil {
		t.Fatal(err)
	}
	dir := storetest.FastDir(t)
	to := storetest.OpenDir(t, dir)
	r, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
	if err != nil || r.Copied != 8 || r.There != 0 || r.Records != 3 || len(r.Failed) > 0 {
		t.Fatalf("got %+v, %v", r, err)
	}
	want, got := filesIn(t, h.dir), filesIn(t, dir)
	if len(got) != 8+3 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the copy has %d files, and not the same %d", len(got), len(want))
	}
	h.checkCopy(t, to)
	r, err = transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
	if err != nil || r.Copied != 0 || r.There != 8 || r.Records != 0 || len(r.Failed) > 0 {
		t.Errorf("the second time: %+v, %v", r, err)
	}
	if _, err := transfer.Database(t.Context(), h.st, to, "none.db", transfer.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none.db: %v", err)
	}
}

// TestFindings copies of what drills of the source found only what is true of the copy as well.
func TestFindings(t *testing.T) {
	const pages, quick, full = catalog.LevelPages, catalog.LevelQuick, catalog.LevelFull
	type proof struct {
		level   catalog.Level
		outcome catalog.Outcome
	}
	for _, c := range []struct {
		proofs []proof
		want   string // of those that are copied
	}{
		{[]proof{{pages, catalog.Damaged}}, "[]"},
		{[]proof{{full, catalog.Sound}}, "[]"},
		{[]proof{{quick, catalog.Unchecked}}, "[]"},
		{[]proof{{quick, catalog.Damaged}}, "[quick damaged]"},
		{[]proof{{full, catalog.Damaged}, {quick, catalog.Sound}, {pages, catalog.Damaged}}, "[full damaged]"},
		{[]proof{{full, catalog.Damaged}, {full, catalog.Sound}}, "[]"},
		{[]proof{{quick, catalog.Unmet}, {pages, catalog.Damaged}}, "[quick unmet]"},
	} {
		h := newHistory(t, 3, 300)
		to := storetest.OpenDir(t, storetest.FastDir(t))
		if _, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{}); err != nil {
			t.Fatal(err)
		}
		for _, p := range c.proofs {
			if err := catalog.RecordProof(t.Context(), h.st, &catalog.Proof{Database: database, Snapshot: h.all[1].Name, Level: p.level, Outcome: p.outcome}, catalog.ProofDetail{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond) // their names have a millisecond each
		}
		if _, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{}); err != nil {
			t.Fatal(err)
		}
		proofs, err := catalog.Proofs(t.Context(), to, database)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, p := range proofs {
			got = append(got, p.Level.String()+" "+string(p.Outcome))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("of %v the copy has %v, want %s", c.proofs, got, c.want)
		}
	}
}

// TestLarge copies an object of several frames, page table segments and ranges.
func TestLarge(t *testing.T) {
	h := newHistory(t, 2, 70_000)
	to := storetest.OpenDir(t, storetest.FastDir(t))
	r, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
	if err != nil || r.Copied != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	h.checkCopy(t, to)
}

// TestInterrupted lets every call of either store go wrong in every way: what is in the copy can always be
// restored, and the next time completes it.
func TestInterrupted(t *testing.T) {
	h := newHistory(t, 4, 16)
	if err := catalog.RecordProof(t.Context(), h.st, &catalog.Proof{Database: database, Snapshot: h.all[1].Name, Level: catalog.LevelQuick, Outcome: catalog.Damaged}, catalog.ProofDetail{}); err != nil {
		t.Fatal(err)
	}
	for _, side := range []string{"from", "to"} {
		for _, how := range []storetest.How{storetest.Before, storetest.After, storetest.Cut} {
			partial := 0
			for n := 1; ; n++ {
				to := storetest.Fault(storetest.OpenDir(t, storetest.FastDir(t)))
				from := storetest.Fault(h.st)
				faulty := map[string]*storetest.Faulty{"from": from, "to": to}[side]
				faulty.Plan(storetest.Step{Call: n, How: how})
				r, err := transfer.Database(t.Context(), from, to, database, transfer.Options{Concurrency: 1 + n%3})
				hit := faulty.Hit() > 0
				if !hit && (err != nil || r.Copied != 4 || len(r.Failed) > 0) {
					t.Fatalf("%s %v %d: %+v, %v", side, how, n, r, err)
				}
				if !hit {
					if n < 10 || partial < 2 {
						t.Errorf("%s %v: only %d calls, and %d times a part was copied", side, how, n-1, partial)
					}
					break
				}
				if there := h.checkCopy(t, to); there > 0 && there < 4 {
					partial++
				}
				faulty.Plan()
				r, err = transfer.Database(t.Context(), from, to, database, transfer.Options{})
				if err != nil || r.Copied+r.There != 4 || len(r.Failed) > 0 {
					t.Fatalf("%s %v %d, the second time: %+v, %v", side, how, n, r, err)
				}
				if there := h.checkCopy(t, to); there != 4 {
					t.Fatalf("%s %v %d: %d snapshots", side, how, n, there)
				}
				to.Check(t)
			}
		}
	}
}

// TestCancelled ends the context in the middle of each Create.
func TestCancelled(t *testing.T) {
	h := newHistory(t, 5, 40)
	to := storetest.OpenDir(t, storetest.FastDir(t))
	for n := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		during := &happens{Store: to, before: 2, do: cancel}
		r, err := transfer.Database(ctx, h.st, during, database, transfer.Options{Concurrency: 1})
		last := n == 4
		if last != (err == nil) || err != nil && !errors.Is(err, context.Canceled) || r.Copied != 1 || r.There != n {
			t.Fatalf("the time %d: %+v, %v", n, r, err)
		}
		if there := h.checkCopy(t, to); there != n+1 {
			t.Fatalf("%d snapshots in the copy, want %d", there, n+1)
		}
		cancel()
	}
}

// TestDamaged changes every byte of a full and of a delta, one after the other: it is not copied, nor what rests
// on it, and the rest is.
func TestDamaged(t *testing.T) {
	h := newHistory(t, 3, 8)
	to := storetest.OpenDir(t, storetest.FastDir(t))
	for victim := range 2 {
		path := filepath.Join(h.dir, filepath.FromSlash(h.all[victim].Object.Key))
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 0x10
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
			if err != nil || len(r.Failed) != 1 || r.Copied+r.There != victim || r.Behind != 2-victim {
				t.Fatalf("byte %d of snapshot %d: %+v, %v", i, victim, r, err)
			}
		}
		if there := h.checkCopy(t, to); there != victim {
			t.Fatalf("after those of snapshot %d: %d in the copy", victim, there)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// changesUnderWay damages what is read of an object after its end and its page table were.
type changesUnderWay struct {
	store.Store
	times int // that it still does
	off   int64
}

func (c *changesUnderWay) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	r, err := c.Store.Open(ctx, o, off, n)
	if err != nil || n >= 0 || c.times == 0 {
		return r, err
	}
	defer r.Close()
	c.times--
	b, err := io.ReadAll(r)
	b[c.off] ^= 1
	return io.NopCloser(bytes.NewReader(b)), err
}

// TestDamagedUnderWay has the way to the copy change every byte, once or always.
func TestDamagedUnderWay(t *testing.T) {
	h := newHistory(t, 1, 1)
	to := storetest.OpenDir(t, storetest.FastDir(t))
	for off := range h.all[0].Object.Size {
		r, err := transfer.Database(t.Context(), &changesUnderWay{h.st, 2, off}, to, database, transfer.Options{})
		if err != nil || r.Copied+r.There != 0 || len(r.Failed) != 1 {
			t.Fatalf("byte %d always: %+v, %v", off, r, err)
		}
		if off%16 != 0 {
			continue
		}
		r, err = transfer.Database(t.Context(), &changesUnderWay{h.st, 1, off}, to, database, transfer.Options{})
		if err != nil || r.Copied != 1 || len(r.Failed) != 0 || h.checkCopy(t, to) != 1 {
			t.Fatalf("byte %d once: %+v, %v", off, r, err)
		}
		os.RemoveAll(filepath.Join(fmt.Sprint(to), "tenants")) // not Delete, which takes its time to be durable
	}
}

// TestOtherInCopy has something else in the copy under a key.
func TestOtherInCopy(t *testing.T) {
	h := newHistory(t, 3, 40)
	for name, change := range map[string]func([]byte) []byte{
		"shorter":       func(b []byte) []byte { return b[:len(b)-1] },
		"another start": func(b []byte) []byte { b[20] ^= 1; return b },
		"another end":   func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	} {
		dir := storetest.FastDir(t)
		to := storetest.OpenDir(t, dir)
		if _, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.all[1].Object.Key))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
		if err != nil || r.There != 1 || r.Behind != 1 || len(r.Failed) != 1 || !errors.Is(r.Failed[0], format.ErrDamaged) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestHole copies what is whole and names the rest.
func TestHole(t *testing.T) {
	h := newHistory(t, 3, 40)
	if err := h.st.Delete(t.Context(), h.all[1].Object.Key); err != nil {
		t.Fatal(err)
	}
	to := storetest.OpenDir(t, storetest.FastDir(t))
	r, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
	var loss *chain.LossError
	if err != nil || r.Copied != 1 || r.Behind != 1 || len(r.Failed) != 1 || !errors.As(r.Failed[0], &loss) || loss.Missing != h.all[1].Name.ID {
		t.Errorf("got %+v, %v", r, err)
	}
	// A snapshot of a later version is not copied without being understood.
	later := database + "/" + format.Name{Time: h.all[2].Name.Time + 1, ID: 5}.String() + ".on-" + h.all[0].Name.ID.String() + ".patch.v9"
	if _, err := h.st.Create(t.Context(), later, strings.NewReader("later"), 5); err != nil {
		t.Fatal(err)
	}
	r, err = transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
	if err != nil || r.There != 1 || len(r.Failed) != 2 || !errors.As(r.Failed[1], new(*chain.UnknownError)) {
		t.Errorf("got %+v, %v", r, err)
	}
}

func announce(t *testing.T, st store.Store, names ...format.Name) {
	t.Helper()
	if err := catalog.Announce(t.Context(), st, database, format.Name{Time: 1, ID: 1}, names); err != nil {
		t.Fatal(err)
	}
}

// TestAnnounced leaves out what is about to be deleted, unless something that stays rests on it.
func TestAnnounced(t *testing.T) {
	h := newHistory(t, 3, 40)
	newest := h.all[2]
	announce(t, h.st, newest.Name, h.all[0].Name)
	to := storetest.OpenDir(t, storetest.FastDir(t))
	r, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
	if err != nil || r.Copied != 2 || r.Leaving != 1 || len(r.Failed) > 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	h.checkCopy(t, to)
	// In the copy: neither that nor what rests on it comes there.
	h = newHistory(t, 3, 40)
	to = storetest.OpenDir(t, storetest.FastDir(t))
	announce(t, to, h.all[1].Name)
	r, err = transfer.Database(t.Context(), h.st, to, database, transfer.Options{})
	if err != nil || r.Copied != 1 || r.Leaving != 2 || len(r.Failed) > 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// happens lets something happen before or after one of the objects is created, counted from 1.
type happens struct {
	store.Store
	before, after int
	do            func()
}

func (h *happens) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	if h.before--; h.before == 0 {
		h.do()
	}
	o, err := h.Store.Create(ctx, key, body, most)
	if h.after--; h.after == 0 {
		h.do()
	}
	return o, err
}

// withdrawn refuses to create, as a server does that has dropped an upload which is under way.
type withdrawn struct{ store.Store }

func (w withdrawn) Create(_ context.Context, key string, body io.Reader, _ int64) (store.Object, error) {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return store.Object{}, err
	}
	return store.Object{}, fmt.Errorf("create %s: NoSuchUpload: %w", key, fs.ErrNotExist)
}

// TestNotWritten copies to where nothing can be written: that something does not exist there is no reason to believe
// that the snapshots have been deleted.
func TestNotWritten(t *testing.T) {
	h := newHistory(t, 3, 40)
	r, err := transfer.Database(t.Context(), h.st, withdrawn{storetest.OpenDir(t, storetest.FastDir(t))}, database, transfer.Options{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestGone loses the full while it is copied: what rests on it and is still there is lost, unless it was deleted before.
func TestGone(t *testing.T) {
	for _, c := range []struct {
		deleted int // of the snapshots, the last first
		failed  int
	}{{1, 1}, {3, 0}} {
		h := newHistory(t, 3, 40)
		from := &vanishes{Store: h.st, do: func() {
			for _, s := range slices.Backward(h.all[:c.deleted]) {
				if err := h.st.Delete(t.Context(), s.Object.Key); err != nil {
					t.Error(err)
				}
			}
		}}
		r, err := transfer.Database(t.Context(), from, storetest.OpenDir(t, storetest.FastDir(t)), database, transfer.Options{})
		if err != nil || r.Copied != 0 || r.Behind != 2 || len(r.Failed) != c.failed {
			t.Errorf("%d deleted: %+v, %v", c.deleted, r, err)
		}
		if c.failed > 0 && (len(r.Failed) == 0 || !errors.As(r.Failed[0], new(*chain.LossError))) {
			t.Errorf("%d deleted: %v", c.deleted, r.Failed)
		}
	}
}

// vanishes lets something happen before the first object is opened.
type vanishes struct {
	store.Store
	once sync.Once
	do   func()
}

func (v *vanishes) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	v.once.Do(v.do)
	return v.Store.Open(ctx, o, off, n)
}

// TestOvertaken deletes from the copy, or announces it, while the copy is made.
func TestOvertaken(t *testing.T) {
	h := newHistory(t, 3, 40)
	for name, do := range map[string]func(store.Store){
		"deleted":   func(st store.Store) { st.Delete(t.Context(), h.all[0].Object.Key) },
		"announced": func(st store.Store) { announce(t, st, h.all[0].Name) },
	} {
		to := storetest.OpenDir(t, storetest.FastDir(t))
		during := &happens{Store: to, after: 2, do: func() { do(to) }}
		r, err := transfer.Database(t.Context(), h.st, during, database, transfer.Options{Concurrency: 1})
		if err != nil || r.Copied != 3 || len(r.Failed) != 3 || !errors.Is(r.Failed[0], transfer.ErrOvertaken) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestSealed copies what only looks like age's.
func TestSealed(t *testing.T) {
	st := storetest.OpenDir(t, storetest.FastDir(t))
	header := "age-encryption.org/v1\n-> X25519 abc\nxyz\n--- mac\n"
	put := func(i int, content string) string {
		key := "sealed.db/" + format.Name{Time: format.Time(1000 + i), ID: format.ID(i)}.String() + ".full.db.zst.age"
		if _, err := st.Create(t.Context(), key, strings.NewReader(content), int64(len(content))); err != nil {
			t.Fatal(err)
		}
		return key
	}
	nonce := strings.Repeat("n", 16)
	good := []string{
		put(1, header+nonce+strings.Repeat("x", 17)),
		put(2, header+nonce+strings.Repeat("x", 64<<10+16)),
		put(3, header+nonce+strings.Repeat("x", 64<<10+16+17)),
		put(9, strings.Replace(header, "xyz", strings.Repeat("xyz", 100_000), 1)+nonce+strings.Repeat("x", 17)), // for many
	}
	put(4, header+nonce+strings.Repeat("x", 16))
	put(5, header+nonce+strings.Repeat("x", 64<<10+16+16))
	put(6, header+nonce)
	put(7, "not age"+header+nonce+strings.Repeat("x", 100))
	put(8, strings.TrimSuffix(header, "--- mac\n")+nonce+strings.Repeat("x", 100))
	dir := storetest.FastDir(t)
	to := storetest.OpenDir(t, dir)
	r, err := transfer.Database(t.Context(), st, to, "sealed.db", transfer.Options{})
	if err != nil || r.Copied != len(good) || r.Sealed != len(good) || len(r.Failed) != 5 {
		t.Errorf("got %+v, %v", r, err)
	}
	files := filesIn(t, dir)
	for _, key := range good {
		if files[key] == "" {
			t.Errorf("%s was not copied", key)
		}
	}
	if len(files) != len(good) {
		t.Errorf("%d objects in the copy", len(files))
	}
	r, err = transfer.Database(t.Context(), st, to, "sealed.db", transfer.Options{})
	if err != nil || r.There != len(good) || r.Copied != 0 {
		t.Errorf("the second time: %+v, %v", r, err)
	}
}
