package upload_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/internal/seed"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
)

// A walk changes a database at random, under a clock that jumps, and pushes it after each step.
type walk struct {
	t        *testing.T
	rnd      *rand.Rand
	st       store.Store
	dir      string // of the memory
	now      time.Time
	pageSize int
	data     []byte
	images   map[format.Name][]byte
	kinds    map[format.Kind]int
	whys     map[string]int
	still    int // pushes that found nothing changed
	unread   int // those that found it without an image
	last     *catalog.Snapshot
}

// change makes the next version of the database.
func (w *walk) change() {
	pages := len(w.data) / w.pageSize
	next := bytes.Clone(w.data)
	switch n := w.rnd.IntN(20); {
	case n < 11: // some pages
		for range 1 + w.rnd.IntN(4) {
			w.fill(next, w.rnd.IntN(pages))
		}
	case n < 13: // back to what some pages were at an earlier time
		for _, old := range w.images {
			for i := range min(pages, len(old)/w.pageSize) {
				if w.rnd.IntN(8) == 0 {
					copy(next[i*w.pageSize:(i+1)*w.pageSize], old[i*w.pageSize:])
				}
			}
			break
		}
	case n < 15: // growth
		grown := 1 + w.rnd.IntN(30)
		next = append(next, make([]byte, grown*w.pageSize)...)
		for i := range grown {
			w.fill(next, pages+i)
		}
	case n < 17: // shrinking
		next = next[:w.pageSize*(1+w.rnd.IntN(pages))]
	case n < 18: // most of it, as VACUUM does
		for i := range pages {
			w.fill(next, i)
		}
	case n < 19 && w.rnd.IntN(4) == 0: // another page size
		w.pageSize = 512 << w.rnd.IntN(3)
		next = memimage.Noise(w.rnd.Uint64(), w.pageSize, 1+w.rnd.IntN(60))
	default: // nothing
	}
	w.data = next
}

func (w *walk) fill(data []byte, page int) {
	copy(data[page*w.pageSize:(page+1)*w.pageSize], memimage.Text(w.rnd.Uint64(), w.pageSize, 1))
}

// tick lets time pass, sometimes much, and sometimes backwards.
func (w *walk) tick() {
	switch n := w.rnd.IntN(40); {
	case n < 25:
		w.now = w.now.Add(time.Duration(w.rnd.IntN(20_000)) * time.Millisecond)
	case n < 33:
		w.now = w.now.Add(time.Duration(w.rnd.IntN(300)) * time.Second)
	case n < 37:
		w.now = w.now.Add(time.Duration(w.rnd.IntN(300)) * time.Minute)
	case n < 38:
		w.now = w.now.Add(time.Duration(w.rnd.IntN(50)) * time.Hour)
	default:
		w.now = w.now.Add(-time.Duration(w.rnd.IntN(3600)) * time.Second)
	}
}

// spoil loses or damages the memory now and then.
func (w *walk) spoil() {
	if w.rnd.IntN(12) > 0 {
		return
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil || len(files) == 0 {
		return
	}
	name := files[w.rnd.IntN(len(files))]
	b, err := os.ReadFile(name)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(b) > 0 && w.rnd.IntN(2) == 0 {
		b[w.rnd.IntN(len(b))] ^= 1 << w.rnd.IntN(8)
	} else {
		b = b[:w.rnd.IntN(len(b)+1)]
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *walk) push() {
	opts := upload.Options{
		Database: "app.db",
		Source:   here,
		Full:     w.rnd.IntN(100) == 0,
		Now:      func() time.Time { return w.now },
		TempDir:  w.t.TempDir(),
		Look:     w.look(),
	}
	dir := w.dir
	if w.rnd.IntN(10) == 0 {
		dir = w.t.TempDir() // nothing is remembered
	}
	var err error
	opts.Memory, err = state.Open(dir, state.Key{Store: "test", Database: "app.db", Source: here}, "", slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	defer opts.Memory.Close()
	if w.rnd.IntN(2) == 0 {
		opts.Confirmed = w.last
	}
	p, err := upload.Begin(w.t.Context(), w.st, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := p.Unchanged(w.t.Context())
	if r != nil {
		w.unread++
	}
	if r == nil && err == nil {
		r, err = told(p.Commit(w.t.Context(), func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
			img := memimage.New(salt, w.pageSize, w.data, w.now)
			img.Looks = w.look()
			return img, nil
		}))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.last = &r.Snapshot
	if r.Index == nil {
		w.still++
		if !bytes.Equal(w.images[r.Snapshot.Name], w.data) {
			w.t.Fatalf("%v is said to be unchanged and is not", r.Snapshot.Name)
		}
		return
	}
	w.kinds[r.Snapshot.Kind]++
	w.whys[r.Why]++
	if _, twice := w.images[r.Snapshot.Name]; twice {
		w.t.Fatalf("%v was stored twice", r.Snapshot.Name)
	}
	w.images[r.Snapshot.Name] = w.data
}

// look returns what the database looks like, if that can be told.
func (w *walk) look() string {
	if w.rnd.IntN(4) == 0 {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(w.data))
}

// check restores every snapshot in random order and compares it with what was pushed.
func (w *walk) check() {
	all, err := catalog.List(w.t.Context(), w.st, "app.db")
	if err != nil {
		w.t.Fatal(err)
	}
	if len(all) != len(w.images) {
		w.t.Fatalf("%d snapshots are listed of %d that were pushed", len(all), len(w.images))
	}
	w.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	longest := 0
	for _, s := range all {
		var out bytes.Buffer
		r, err := restore.Stream(w.t.Context(), w.st, s, &out, restore.Options{TempDir: w.t.TempDir()})
		if err != nil {
			w.t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), w.images[s.Name]) {
			w.t.Errorf("%v is not what was pushed", s.Name)
		}
		longest = max(longest, r.Links)
	}
	w.t.Logf("%d snapshots, %v, %d times nothing had changed, %d of them without an image; longest chain %d; fulls because %v", len(all), w.kinds, w.still, w.unread, longest, w.whys)
}

// TestWalk pushes a database through a random history and restores all of it.
func TestWalk(t *testing.T) {
	steps := 1500
	if testing.Short() || race.Enabled {
		steps = 300
	}
	s := seed.New(t)
	w := &walk{
		t: t, rnd: rand.New(rand.NewPCG(s, 0)), st: storetest.OpenDir(t, t.TempDir()), dir: t.TempDir(),
		now: time.Date(2026, 11, 22, 23, 50, 0, 0, time.UTC), pageSize: 512,
		data: memimage.Text(s, 512, 150), images: map[format.Name][]byte{}, kinds: map[format.Kind]int{}, whys: map[string]int{},
	}
	for range steps {
		w.change()
		w.tick()
		w.spoil()
		w.push()
	}
	w.check()
	for _, k := range []format.Kind{format.Full, format.Delta} {
		if w.kinds[k] < 10 {
			t.Errorf("%d snapshots are %vs: the walk shows nothing", w.kinds[k], k)
		}
	}
	if w.unread == 0 || w.still == w.unread {
		t.Error("no push found the database unchanged, with an image and without: the walk shows nothing")
	}
}
