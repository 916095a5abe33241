package upload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

var here = format.Source{Host: "here", Path: "/srv/app.db"}

// push uploads data as it was at the given time.
func push(ctx context.Context, st store.Store, opts upload.Options, pageSize int, data []byte, taken time.Time) (*upload.Result, error) {
	if opts.Database == "" {
		opts.Database = "app.db"
	}
	if opts.Source == (format.Source{}) {
		opts.Source = here
	}
	opts.Full = true // deltas have tests of their own
	return told(uploadtest.Push(ctx, st, opts, pageSize, data, taken))
}

// told returns damage that is told with a result as an error beside it.
func told(r *upload.Result, err error) (*upload.Result, error) {
	if err == nil {
		err = r.Damage
	}
	return r, err
}

// mustPush uploads a small database and expects no error.
func mustPush(t *testing.T, st store.Store, opts upload.Options, taken time.Time) *upload.Result {
	t.Helper()
	r, err := push(t.Context(), st, opts, 512, memimage.Text(uint64(taken.UnixNano()), 512, 5), taken)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pushOnDamage is mustPush onto a newest snapshot that is damaged, if so it is: that is told with the
// result.
func pushOnDamage(t *testing.T, st store.Store, opts upload.Options, taken time.Time, damaged bool) *upload.Result {
	t.Helper()
	r, err := push(t.Context(), st, opts, 512, memimage.Text(uint64(taken.UnixNano()), 512, 5), taken)
	if _, told := errors.AsType[*upload.DecayError](err); r == nil || told != damaged || (err != nil) != damaged {
		t.Fatalf("%v, %v", r, err)
	}
	return r
}

// checkStored checks that the store holds a snapshot that is data.
func checkStored(t *testing.T, st store.Store, snap catalog.Snapshot, data []byte) {
	t.Helper()
	var out bytes.Buffer
	_, err := restore.Stream(t.Context(), st, snap, &out, restore.Options{})
	if err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("%v is not what was pushed (%v)", snap.Name, err)
	}
}

// list returns the snapshots of the database, if there are any.
func list(t *testing.T, st store.Store, database string) []catalog.Snapshot {
	t.Helper()
	found, err := catalog.List(t.Context(), st, database)
	if _, none := errors.AsType[*catalog.NotFoundError](err); err != nil && !none && !errors.Is(err, store.ErrNoBucket) {
		t.Fatal(err)
	}
	return found
}

func TestResult(t *testing.T) {
	for _, c := range []struct{ pageSize, pages int }{{0, 0}, {512, 1}, {4096, 257}, {65536, 17}} {
		st := storetest.OpenDir(t, t.TempDir())
		data := memimage.Text(1, c.pageSize, c.pages)
		taken := time.Now().Add(-time.Minute)
		meter := new(progress.Meter)
		opts := upload.Options{
			Database: "dir/app.db",
			Source:   format.Source{Host: "here", Path: "/srv/\xff"},
			Tags:     map[string]string{"release": "7"},
			Creator:  "upload test",
			Meter:    meter,
		}
		r, err := push(t.Context(), st, opts, c.pageSize, data, taken)
		if err != nil {
			t.Fatal(err)
		}
		found := list(t, st, "dir/app.db")
		if len(found) != 1 || found[0].Key != r.Snapshot.Key || found[0].Object.Size != r.Snapshot.Object.Size {
			t.Fatalf("listed: %+v, pushed: %+v", found, r.Snapshot)
		}
		tail, err := catalog.ReadTail(t.Context(), st, found[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		x := tail.Index
		if x.Root != r.Index.Root || x.Snapshot.Time != format.TimeOf(taken) || x.Creator != opts.Creator || !maps.Equal(x.Tags, opts.Tags) {
			t.Errorf("the index says %+v", x)
		}
		if !x.Source.Same(opts.Source) || x.Source.Path != "/srv/\uFFFD" {
			t.Errorf("the source is %+q", x.Source)
		}
		if done, total := meter.Read(); done != int64(len(data)) || total != done {
			t.Errorf("%d of %d bytes counted of %d", done, total, len(data))
		}
		checkStored(t, st, found[0], data)
	}
}

// TestStockTool decompresses objects with the zstd program.
func TestStockTool(t *testing.T) {
	for _, c := range []struct{ pageSize, pages int }{{0, 0}, {512, 3}, {4096, 700}, {65536, 33}} {
		st := storetest.OpenDir(t, t.TempDir())
		data := memimage.Text(2, c.pageSize, c.pages)
		r, err := push(t.Context(), st, upload.Options{}, c.pageSize, data, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(st.String(), r.Snapshot.Object.Key)
		got, err := exec.Command("zstd", "-d", "-c", path).Output()
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%+v: zstd -d yields %d bytes that are not the %d pushed (%v)", c, len(got), len(data), err)
		}
		if out, err := exec.Command("zstd", "-t", path).CombinedOutput(); err != nil {
			t.Errorf("%+v: zstd -t: %v\n%s", c, err, out)
		}
	}
}

func TestLineage(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	start := time.Now()
	first := mustPush(t, st, upload.Options{}, start)
	second := mustPush(t, st, upload.Options{}, start.Add(time.Second))
	if a, b := first.Snapshot.Name.ID, second.Snapshot.Name.ID; a.Lineage() != b.Lineage() || a == b {
		t.Errorf("ids %v and %v of one source", a, b)
	}
	for _, theirs := range []format.Source{{Host: "there", Path: here.Path}, {Host: here.Host, Path: "/srv/other.db"}} {
		_, err := push(t.Context(), st, upload.Options{Source: theirs}, 0, nil, start)
		e, ok := errors.AsType[*upload.SourceError](err)
		if !ok || e.Theirs != here || e.Ours != theirs || e.Newest.Name != second.Snapshot.Name {
			t.Errorf("%v: got %v", theirs, err)
		}
	}
	there := format.Source{Host: "there", Path: here.Path}
	adopted := mustPush(t, st, upload.Options{Source: there, Adopt: true}, start.Add(2*time.Second))
	if adopted.Snapshot.Name.ID.Lineage() == first.Snapshot.Name.ID.Lineage() {
		t.Error("an adopted name has its old lineage")
	}
	again := mustPush(t, st, upload.Options{Source: there, Adopt: true}, start.Add(3*time.Second))
	if again.Snapshot.Name.ID.Lineage() != adopted.Snapshot.Name.ID.Lineage() {
		t.Error("adopting what is its own already begins a new lineage")
	}
	if _, err := push(t.Context(), st, upload.Options{}, 0, nil, start); err == nil {
		t.Error("the old owner is not refused")
	}
	// Another name, below this one, is none of its business.
	mustPush(t, st, upload.Options{Database: "app.db/app.db"}, start)
	if n := len(list(t, st, "app.db")); n != 4 {
		t.Errorf("%d snapshots", n)
	}
}

// damage spoils an object in its file.
func damage(t *testing.T, st *store.Dir, snap catalog.Snapshot, spoil func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(st.String(), snap.Object.Key)
	b, err := os.ReadFile(path)
	if err == nil {
		err = errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, spoil(b), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func cut(b []byte) []byte { return b[:len(b)-1] }

// laterVersion makes an object one of a format that is not known yet.
func laterVersion(b []byte) []byte {
	b[8+8]++
	return cut(b)
}

// TestUnreadable pushes after snapshots that cannot be read. The newest that can be decides,
// however long ago it was.
func TestUnreadable(t *testing.T) {
	now := time.Now()
	for name, spoil := range map[string]func([]byte) []byte{"damaged": cut, "later": laterVersion, "empty": func([]byte) []byte { return nil }} {
		for _, before := range []time.Duration{time.Minute, 2 * time.Hour, 100 * 24 * time.Hour} {
			t.Run(fmt.Sprint(name, " ", before), func(t *testing.T) {
				st := storetest.OpenDir(t, t.TempDir())
				old := mustPush(t, st, upload.Options{}, now.Add(-before))
				for i := range 3 {
					r := pushOnDamage(t, st, upload.Options{}, now.Add(time.Duration(i-10)*time.Second), i > 0 && name != "later")
					damage(t, st, r.Snapshot, spoil)
				}
				var log strings.Builder
				opts := upload.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
				next := pushOnDamage(t, st, opts, now, name != "later")
				if next.Snapshot.Name.ID.Lineage() != old.Snapshot.Name.ID.Lineage() {
					t.Error("the lineage is lost")
				}
				if n := strings.Count(log.String(), "level=WARN"); n != 3 {
					t.Errorf("%d warnings:\n%s", n, log.String())
				}
				damage(t, st, next.Snapshot, spoil)
				_, err := push(t.Context(), st, upload.Options{Source: format.Source{Host: "there", Path: "/x"}}, 0, nil, now)
				if _, ok := errors.AsType[*upload.SourceError](err); !ok {
					t.Errorf("another source: %v", err)
				}
			})
		}
	}
}

// TestAllUnreadable pushes where nothing that is there can be read.
func TestAllUnreadable(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	now := time.Now()
	r := mustPush(t, st, upload.Options{}, now)
	damage(t, st, r.Snapshot, cut)
	next := pushOnDamage(t, st, upload.Options{}, now, true)
	if next.Snapshot.Name.Time != r.Snapshot.Name.Time+1 {
		t.Errorf("pushed %v after %v", next.Snapshot.Name, r.Snapshot.Name)
	}
}

// A fleeting store deletes an object when it is first opened.
type fleeting struct{ store.Store }

func (f fleeting) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	if err := f.Delete(ctx, o.Key); err != nil {
		return nil, err
	}
	return f.Store.Open(ctx, o, off, n)
}

// TestDeletedMeanwhile deletes what a push has listed before it is read.
func TestDeletedMeanwhile(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	now := time.Now()
	mustPush(t, st, upload.Options{Database: "other.db"}, now) // or the directory goes with its last object
	mustPush(t, st, upload.Options{}, now)
	next := mustPush(t, fleeting{st}, upload.Options{}, now)
	if found := list(t, st, "app.db"); len(found) != 1 || found[0].Name != next.Snapshot.Name {
		t.Errorf("listed: %v", found)
	}
}

// TestNames checks that each name is later than all before, whatever the clock does.
func TestNames(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	now := time.Now()
	var newest format.Time
	for _, d := range []time.Duration{0, 0, -time.Hour, -1000 * time.Hour, time.Millisecond, 2 * time.Hour, time.Hour, -time.Second} {
		r := mustPush(t, st, upload.Options{}, now.Add(d))
		want := max(newest+1, format.TimeOf(now.Add(d)))
		if r.Snapshot.Name.Time != want {
			t.Errorf("taken %v from now: named %v, want %v", d, r.Snapshot.Name.Time, want)
		}
		newest = want
	}
	found := list(t, st, "app.db")
	for i := range found[1:] {
		if found[i].Name.Time >= found[i+1].Name.Time {
			t.Errorf("%v is listed before %v", found[i].Name, found[i+1].Name)
		}
	}
}

// A skewed store has a clock of its own, or none.
type skewed struct {
	store.Store
	skew time.Duration
	err  error
}

func (s skewed) Skew(context.Context) (time.Duration, error) { return s.skew, s.err }

func TestSkew(t *testing.T) {
	for _, skew := range []time.Duration{0, catalog.MaxSkew, -catalog.MaxSkew} {
		mustPush(t, skewed{storetest.OpenDir(t, t.TempDir()), skew, nil}, upload.Options{}, time.Now())
	}
	for _, skew := range []time.Duration{catalog.MaxSkew + time.Second, -catalog.MaxSkew - time.Second, 10000 * time.Hour} {
		_, err := push(t.Context(), skewed{storetest.OpenDir(t, t.TempDir()), skew, nil}, upload.Options{}, 0, nil, time.Now())
		e, ok := errors.AsType[*catalog.SkewError](err)
		if !ok || e.Store.Sub(e.Here) != skew || time.Since(e.Here) > time.Minute {
			t.Errorf("%v: got %v", skew, err)
		}
	}
	broken := errors.New("no clock")
	if _, err := push(t.Context(), skewed{storetest.OpenDir(t, t.TempDir()), 0, broken}, upload.Options{}, 0, nil, time.Now()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// A brokenImage cannot be read from some place on.
type brokenImage struct {
	*memimage.Image
	err          error
	bytes, pages int64
}

func (b brokenImage) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.bytes {
		return 0, b.err
	}
	return b.Image.ReadAt(p, off)
}

func (b brokenImage) ReadHashes(first uint32, dst []format.PageHash) error {
	if int64(first)+int64(len(dst)) > b.pages+1 {
		return b.err
	}
	return b.Image.ReadHashes(first, dst)
}

// TestBrokenImage checks that nothing is stored of an image that cannot be read.
func TestBrokenImage(t *testing.T) {
	const pageSize, pages = 512, 1<<16 + 9
	data := memimage.Text(3, pageSize, pages)
	const all = pageSize * pages
	broken := errors.New("broken disk")
	for _, c := range []struct{ bytes, pages int64 }{{0, pages}, {1 << 20, pages}, {20 << 20, pages}, {all - 1, pages}, {all, 0}, {all, 1 << 16}} {
		st := storetest.OpenDir(t, t.TempDir())
		p, err := upload.Begin(t.Context(), st, upload.Options{Database: "app.db", Source: here, Memory: newMemory(t)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Commit(t.Context(), func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
			return brokenImage{memimage.New(salt, pageSize, data, time.Now()), broken, c.bytes, c.pages}, nil
		})
		if !errors.Is(err, broken) {
			t.Errorf("readable up to byte %d and hash %d: got %v", c.bytes, c.pages, err)
		}
		checkEmpty(t, st)
	}
}

// checkEmpty checks that a store has no object and no leftover.
func checkEmpty(t *testing.T, st *store.Dir) {
	t.Helper()
	err := filepath.WalkDir(st.String(), func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A liar says that another number of bytes was stored.
type liar struct {
	store.Store
	more int64
}

func (l liar) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	o, err := l.Store.Create(ctx, key, body, most)
	o.Size += l.more
	return o, err
}

func TestWrongSizeStored(t *testing.T) {
	for _, more := range []int64{1, -1} {
		if _, err := push(t.Context(), liar{storetest.OpenDir(t, t.TempDir()), more}, upload.Options{}, 512, memimage.Text(4, 512, 9), time.Now()); !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%+d byte: got %v", more, err)
		}
	}
}

// A lazy store claims success without having read what it was given.
type lazy struct{ store.Store }

func (lazy) Create(_ context.Context, key string, body io.Reader, _ int64) (store.Object, error) {
	n, err := io.CopyN(io.Discard, body, 100)
	return store.Object{Key: key, Size: n}, err
}

func TestNotAllRead(t *testing.T) {
	if _, err := push(t.Context(), lazy{storetest.OpenDir(t, t.TempDir())}, upload.Options{}, 4096, memimage.Noise(5, 4096, 3000), time.Now()); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// A bounded store checks the bound that Create was given.
type bounded struct {
	store.Store
	t *testing.T
}

func (b bounded) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	o, err := b.Store.Create(ctx, key, body, most)
	if err == nil && (most < o.Size || most > o.Size+o.Size/10+4<<20) {
		b.t.Errorf("at most %d bytes were announced, and %d stored", most, o.Size)
	}
	return o, err
}

// TestBound pushes what does not compress.
func TestBound(t *testing.T) {
	for _, c := range []struct{ pageSize, pages int }{{0, 0}, {512, 1}, {512, 1<<16 + 1}, {4096, 256}, {4096, 257}, {65536, 100}} {
		data := memimage.Noise(6, c.pageSize, c.pages)
		if _, err := push(t.Context(), bounded{storetest.OpenDir(t, t.TempDir()), t}, upload.Options{}, c.pageSize, data, time.Now()); err != nil {
			t.Error(err)
		}
	}
}
