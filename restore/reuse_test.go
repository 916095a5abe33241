package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// change gives some pages new contents.
func change(data []byte, pageSize int, seed uint64, pages ...int) {
	for _, p := range pages {
		copy(data[(p-1)*pageSize:p*pageSize], memimage.Noise(seed+uint64(p), pageSize, 1))
	}
}

// reusing restores a snapshot with pages from old, in every way that takes some, and checks that the
// result is want to the byte. It returns the result of the last.
func reusing(t *testing.T, st store.Store, snap catalog.Snapshot, old, want []byte) *restore.Result {
	t.Helper()
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "app.db"), filepath.Join(dir, "copy")
	writeFile(t, copied, old)
	opts := restore.Options{Reuse: copied, Meter: new(progress.Meter)}

	var out bytes.Buffer
	streamed, err := restore.Stream(t.Context(), st, snap, &out, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Error("stream: the database differs")
	}
	if done, total := opts.Meter.Read(); done != total || total != int64(len(want)) {
		t.Errorf("the meter stands at %d of %d, want all of %d", done, total, len(want))
	}
	if _, err := restore.File(t.Context(), st, snap, path, restore.FileOptions{Options: opts}); err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, want)
	writeFile(t, path, old)
	r, err := restore.File(t.Context(), st, snap, path, restore.FileOptions{Replace: true, DiscardOld: true, Hold: holdNothing})
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, want)
	checkFile(t, copied, old)
	checkNames(t, dir, "app.db", "copy")
	if r.Reused != streamed.Reused {
		t.Errorf("a stream reused %d bytes and a file %d", streamed.Reused, r.Reused)
	}
	return r
}

// TestReuse restores over older copies of all kinds.
func TestReuse(t *testing.T) {
	for _, size := range []struct{ pageSize, pages int }{
		{512, 5}, {512, 1<<13 + 65}, {4096, 1024}, {4096, 1025}, {65536, 65},
	} {
		pageSize := size.pageSize
		want := memimage.Text(1, pageSize, size.pages)
		first := slices.Clone(want)
		changed := []int{1, size.pages}
		change(first, pageSize, 7, changed...)
		st := storetest.OpenDir(t, t.TempDir())
		full := push(t, st, "app.db", pageSize, first)
		delta := push(t, st, "app.db", pageSize, want)
		all := int64(len(want))
		differ := int64(len(changed) * pageSize)

		for _, c := range []struct {
			name   string
			old    []byte
			reused int64
		}{
			{"the same", want, all},
			{"the parent", first, all - differ},
			{"nothing", nil, 0},
			{"another database", memimage.Noise(5, pageSize, size.pages), 0},
			{"shorter", want[:len(want)-pageSize], all - int64(pageSize)},
			{"cut within a page", want[:len(want)-1], all - int64(pageSize)},
			{"longer", append(slices.Clone(want), memimage.Noise(6, pageSize, 70)...), all},
			{"off by one byte", append([]byte{0}, want...), 0},
		} {
			t.Run(fmt.Sprintf("%d of %d/%s", size.pages, pageSize, c.name), func(t *testing.T) {
				if r := reusing(t, st, delta.Snapshot, c.old, want); r.Reused != c.reused {
					t.Errorf("reused %d bytes, want %d", r.Reused, c.reused)
				}
			})
		}
		// A chain of one link, too.
		if r := reusing(t, st, full.Snapshot, want, first); r.Reused != all-differ {
			t.Errorf("%+v: a full reused %d bytes, want %d", size, r.Reused, all-differ)
		}
	}
}

// TestReuseOtherPageSize restores over a copy whose pages have another size, and to and from nothing.
func TestReuseOtherPageSize(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	data := memimage.Text(1, 4096, 64)
	for _, pageSize := range []int{512, 4096, 65536} {
		r := push(t, st, fmt.Sprint(pageSize), pageSize, data)
		reusing(t, st, r.Snapshot, memimage.Text(1, 65536, 4), data)
		// What an image is made of decides, and not what its header says.
		if r := reusing(t, st, r.Snapshot, data, data); r.Reused != int64(len(data)) {
			t.Errorf("reused %d bytes of %d", r.Reused, len(data))
		}
	}
	empty := push(t, st, "empty", 0, nil)
	reusing(t, st, empty.Snapshot, data, nil)
}

// TestReuseDamaged restores over copies in which bits are flipped.
func TestReuseDamaged(t *testing.T) {
	const pageSize, pages = 1024, 6000
	want := memimage.Text(1, pageSize, pages)
	first := slices.Clone(want)
	change(first, pageSize, 3, 5, 6, 4096, 4097, 5999)
	st := storetest.OpenDir(t, t.TempDir())
	push(t, st, "app.db", pageSize, first)
	r := push(t, st, "app.db", pageSize, want)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, flips := range []int{1, 10, 3000, 100_000} {
		old := slices.Clone(want)
		hit := map[int]bool{}
		for range flips {
			at := rnd.IntN(len(old))
			old[at] ^= 1 << rnd.IntN(8)
			hit[at/pageSize] = true
		}
		for p := range hit { // two flips may meet
			if bytes.Equal(old[p*pageSize:(p+1)*pageSize], want[p*pageSize:(p+1)*pageSize]) {
				delete(hit, p)
			}
		}
		if got, want := reusing(t, st, r.Snapshot, old, want).Reused, int64((pages-len(hit))*pageSize); got != want {
			t.Errorf("%d flips: reused %d bytes, want %d", flips, got, want)
		}
	}
}

// TestReuseLive restores with a copy that is being written to, torn pages and all.
func TestReuseLive(t *testing.T) {
	const pageSize, pages = 4096, 4000
	want := memimage.Text(1, pageSize, pages)
	p := pushNew(t, pageSize, want)
	dir := t.TempDir()
	copied := filepath.Join(dir, "copy")
	writeFile(t, copied, want)
	f, err := os.OpenFile(copied, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		rnd := rand.New(rand.NewPCG(3, 4))
		for ctx.Err() == nil {
			page := rnd.IntN(pages)
			b := want[page*pageSize : (page+1)*pageSize]
			if rnd.IntN(2) == 0 {
				b = memimage.Noise(rnd.Uint64(), pageSize, 1)
			}
			// In pieces, as a reader may see it, and at times shorter and longer again.
			for len(b) > 0 {
				if _, err := f.WriteAt(b[:512], int64((page+1)*pageSize-len(b))); err != nil {
					done <- err
					return
				}
				b = b[512:]
			}
			if rnd.IntN(500) == 0 {
				if err := errors.Join(f.Truncate(int64(rnd.IntN(len(want)))), f.Truncate(int64(len(want)))); err != nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	path := filepath.Join(dir, "app.db")
	var reused int64
	for range 10 {
		r, err := restore.File(t.Context(), p.st, p.snap, path, restore.FileOptions{Options: restore.Options{Reuse: copied}})
		if err != nil {
			t.Fatal(err)
		}
		reused += r.Reused
		checkFile(t, path, want)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if reused == 0 || reused == 10*int64(len(want)) {
		t.Errorf("reused %d bytes of ten times %d: the writer and the restores have not met", reused, len(want))
	}
}

// TestReuseSaves checks that what is reused is not fetched.
func TestReuseSaves(t *testing.T) {
	const pageSize, pages = 4096, 10_000
	first := memimage.Noise(1, pageSize, pages)
	want := slices.Clone(first)
	st := storetest.OpenDir(t, t.TempDir())
	full := push(t, st, "app.db", pageSize, first)
	for i := range 50 {
		change(want, pageSize, 9, 1+i*197)
	}
	r := push(t, st, "app.db", pageSize, want)
	whole, err := restore.Verify(t.Context(), st, r.Snapshot, restore.Options{Reuse: "ignored"})
	if err != nil {
		t.Fatal(err)
	}
	if whole.Reused != 0 || whole.Fetched < int64(len(want)) {
		t.Errorf("verify reused %d bytes and fetched %d", whole.Reused, whole.Fetched)
	}
	same := reusing(t, st, r.Snapshot, want, want)
	// Of each object the end, the header and the page table: 20 bytes a page are more than enough.
	tables := int64(20*pages + 2*(128<<10+4096))
	if same.Fetched > tables || same.Requests > 6 {
		t.Errorf("the same: fetched %d bytes in %d requests, want the indexes alone", same.Fetched, same.Requests)
	}
	if r := reusing(t, st, full.Snapshot, first, first); r.Fetched > tables {
		t.Errorf("the same, of a full: fetched %d bytes, want the index alone", r.Fetched)
	}
	behind := reusing(t, st, r.Snapshot, first, want)
	if behind.Fetched > same.Fetched+51*pageSize || behind.Fetched < same.Fetched+25*pageSize || behind.Requests > same.Requests+2 {
		t.Errorf("50 pages behind: fetched %d bytes in %d requests; the same in %d and %d", behind.Fetched, behind.Requests, same.Fetched, same.Requests)
	}
}

// TestReuseUnreadable names files that cannot be reused. The database at the target need not be readable.
func TestReuseUnreadable(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 10))
	dir := t.TempDir()
	if err := errors.Join(mkdir("directory")(dir), syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600), link("loop", "loop")(dir)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"missing": fs.ErrNotExist, "directory": restore.ErrCopyNotFile, "pipe": restore.ErrCopyNotFile, "loop": syscall.ELOOP,
	} {
		opts := restore.Options{Reuse: filepath.Join(dir, name)}
		for kind, err := range map[string]error{
			"file":   second(restore.File(t.Context(), p.st, p.snap, filepath.Join(dir, "app.db"), restore.FileOptions{Options: opts})),
			"stream": second(restore.Stream(t.Context(), p.st, p.snap, new(bytes.Buffer), opts)),
		} {
			if !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: got %v, want %v", kind, name, err, want)
			}
		}
	}
	checkNames(t, dir, "directory", "loop", "pipe")

	if os.Geteuid() == 0 {
		return // whom permissions do not stop
	}
	var log strings.Builder
	path := filepath.Join(dir, "app.db")
	writeFile(t, path, []byte("older"))
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	opts := restore.FileOptions{Replace: true, DiscardOld: true, Hold: holdNothing}
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if _, err := restore.File(t.Context(), p.st, p.snap, path, opts); err != nil || !strings.Contains(log.String(), "cannot be read") {
		t.Errorf("%v, with the log %q", err, log.String())
	}
}

func second[T any](_ T, err error) error { return err }
