package upload_test

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
)

// A largeImage is an image of which nothing is in memory: every page begins with its number.
type largeImage struct{ pages uint32 }

func (m largeImage) PageSize() int     { return 4096 }
func (m largeImage) Pages() uint32     { return m.pages }
func (m largeImage) Taken() time.Time  { return time.Now() }
func (m largeImage) Look() string      { return "" }
func (m largeImage) Whole() bool       { return true }
func (m largeImage) Root() format.Root { return format.Root{} }

func (m largeImage) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for i := 0; i < len(p); i += m.PageSize() {
		copy(p[i:], fmt.Sprint("page ", (off+int64(i))/int64(m.PageSize())+1))
	}
	return len(p), nil
}

func (m largeImage) ReadHashes(first uint32, dst []format.PageHash) error {
	for i := range dst {
		copy(dst[i][:], fmt.Sprint(first+uint32(i)))
	}
	return nil
}

// A sink is a store that keeps nothing.
type sink struct{ store.Store }

func (sink) Create(_ context.Context, key string, body io.Reader, _ int64) (store.Object, error) {
	n, err := io.Copy(io.Discard, body)
	return store.Object{Key: key, Size: n}, err
}

// TestMemory checks that memory does not grow with the database.
func TestMemory(t *testing.T) {
	large := uint32(3 << 30 / 4096)
	if testing.Short() || race.Enabled {
		large /= 8
	}
	const most = 48 << 20
	// The collector lets garbage grow with what is alive, be it that other tests have left it.
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	var peaks []uint64
	for _, pages := range []uint32{100 << 20 / 4096, large} {
		p, err := upload.Begin(t.Context(), sink{storetest.OpenDir(t, t.TempDir())}, upload.Options{Database: "app.db", Source: here, Memory: newMemory(t)})
		if err != nil {
			t.Fatal(err)
		}
		stop := watchHeap()
		_, err = p.Commit(t.Context(), func(format.Salt, *upload.Base) (upload.Image, error) { return largeImage{pages}, nil })
		peak := stop()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d MiB: at most %d MiB of heap", int64(pages)*4096>>20, peak>>20)
		peaks = append(peaks, peak)
	}
	for _, peak := range peaks {
		if peak > most {
			t.Errorf("%d MiB of heap", peak>>20)
		}
	}
}

// watchHeap samples how much memory the heap takes, until it is told to stop, and returns by how much it has grown at most:
// other tests may have left something in it.
func watchHeap() (stop func() uint64) {
	done, result := make(chan struct{}), make(chan uint64)
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	debug.FreeOSMemory()
	metrics.Read(s)
	start := s[0].Value.Uint64() + s[1].Value.Uint64()
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var most uint64
		for {
			metrics.Read(s)
			most = max(most, s[0].Value.Uint64()+s[1].Value.Uint64())
			select {
			case <-tick.C:
			case <-done:
				result <- most - min(start, most)
				return
			}
		}
	}()
	return func() uint64 {
		close(done)
		return <-result
	}
}
