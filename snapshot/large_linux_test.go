package snapshot

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
)

// TestLarge takes a database that is larger than the offset of the lock byte, whose page is never
// written, in a process of its own, which must not grow with it.
func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("writes gigabytes")
	}
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, "PRAGMA journal_mode=off; PRAGMA synchronous=off; CREATE TABLE t(a); INSERT INTO t SELECT zeroblob(550000000) FROM generate_series(1, 2); CREATE TABLE u(a); INSERT INTO u VALUES('after')")
	out, err := child{path: path, temp: t.TempDir(), compare: true}.run(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var rss int64 // KiB
	if _, err := fmt.Sscanf(out[strings.Index(out, "most resident:"):], "most resident: %d", &rss); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("at most %d KiB resident", rss)
	if rss > 60<<10 && !race.Enabled {
		t.Errorf("at most %d KiB were resident, want no more than 60 MiB", rss)
	}
}

// TestLockPage puts pages around the lock byte into a spool.
func TestLockPage(t *testing.T) {
	for _, size := range []int{512, 4096, 65536} {
		for _, beyond := range []uint32{0, 1} {
			pages := lockPage(size) - 1 + 2*beyond
			sp, err := newSpool(&Options{TempDir: t.TempDir(), Salt: format.Salt{1}, Logger: Options{}.withDefaults().Logger})
			if err != nil {
				t.Fatal(err)
			}
			sp.pageSize, sp.size = size, int64(pages)*int64(size)
			// As if all others had been written.
			one := format.PageHash{7}
			for n := uint32(1); n <= pages; n += 1 << 16 {
				run := make([]byte, 0, 1<<20)
				for i := n; i < min(n+1<<16, pages+1); i++ {
					h := one
					if i == lockPage(size) {
						h = format.PageHash{}
					}
					run = append(append(run, h[:]...), make([]byte, entrySize-len(h))...)
				}
				if _, err := sp.table.WriteAt(run, int64(n-1)*entrySize); err != nil {
					t.Fatal(err)
				}
			}
			head := make([]byte, headerSize)
			copy(head, magic)
			head[16], head[17] = byte(size>>8), byte(size>>16)
			for i := range 4 {
				head[28+i] = byte(pages >> (24 - 8*i))
			}
			if _, err := sp.data.WriteAt(head, 0); err != nil {
				t.Fatal(err)
			}
			m, err := sp.finish()
			if err != nil {
				t.Fatal(err)
			}
			if beyond > 0 {
				var got [1]format.PageHash
				if err := m.ReadHashes(lockPage(size), got[:]); err != nil {
					t.Fatal(err)
				}
				if want := format.NewPageHasher(format.Salt{1}).Hash(make([]byte, size)); got[0] != want {
					t.Errorf("page size %d: the lock page has the hash %x, want %x", size, got[0], want)
				}
			}
			if m.Size() != int64(pages)*int64(size) {
				t.Errorf("page size %d: %d bytes", size, m.Size())
			}
			m.Close()
			sp.close()
		}
	}
}

// TestMissingPage leaves a page out: the image must not come into being.
func TestMissingPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	run(t, path, fill)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pages := len(file) / 4096
	never := "internal error: page %d of %d was never copied"
	for _, c := range []struct {
		missing int // the first is page 1
		want    string
	}{
		{0, ""},
		{1, "the image: not an SQLite database"}, // its header is in it
		{2, fmt.Sprintf(never, 2, pages)},
		{8, fmt.Sprintf(never, 8, pages)},
		{pages, fmt.Sprintf("internal error: an image of %d pages of 4096 bytes says that it has %d of 4096", pages-1, pages)},
	} {
		sp, err := newSpool(&Options{TempDir: t.TempDir(), Salt: format.Salt{}, Logger: Options{}.withDefaults().Logger})
		if err != nil {
			t.Fatal(err)
		}
		if err := sp.reset(); err != nil {
			t.Fatal(err)
		}
		for n := pages; n > 0; n-- {
			if n == c.missing {
				continue
			}
			if err := sp.add(file[(n-1)*4096:][:4096], int64(n-1)*4096); err != nil {
				t.Fatal(err)
			}
		}
		m, err := sp.finish()
		if got := fmt.Sprint(err); err == nil && c.want != "" || err != nil && got != c.want {
			t.Errorf("without page %d: %v, want %s", c.missing, err, c.want)
		}
		if err == nil {
			checkImage(t, m)
			m.Close()
		}
		sp.close()
	}
}

// TestRewrite writes pages again and again, read between, and cuts the end off.
func TestRewrite(t *testing.T) {
	const size = 4096
	sp, err := newSpool(&Options{TempDir: t.TempDir(), Salt: format.Salt{}, Logger: Options{}.withDefaults().Logger})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.close()
	page := make([]byte, size)
	got := make([]byte, size)
	for round := range byte(20) {
		for _, n := range []int64{0, 1, 2, 3, 300, 301, 2, 1, 700, 0} {
			page[100], page[200] = round, byte(n)
			copy(page, magic)
			page[16], page[17], page[30], page[31] = size>>8, 0, 1, 1 // 257 pages
			if err := sp.add(page, n*size); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sp.read(got, 300*size); err != nil || got[100] != round || got[200] != 300-256 {
			t.Fatalf("round %d: page 301 reads %d, %v", round, got[100], err)
		}
		if n, err := sp.read(got, 500*size); n != size || err != nil || got[100] != 0 {
			t.Fatalf("a page that was never written reads %d, %d, %v", n, got[100], err)
		}
		if n, err := sp.read(got, 701*size); n != 0 || err != io.EOF {
			t.Fatalf("beyond the end: %d, %v", n, err)
		}
	}
	for n := int64(0); n < 400; n++ {
		page[200] = byte(n)
		if err := sp.add(page, n*size); err != nil {
			t.Fatal(err)
		}
	}
	if err := sp.truncate(257 * size); err != nil {
		t.Fatal(err)
	}
	m, err := sp.finish()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Pages() != 257 {
		t.Errorf("%d pages", m.Pages())
	}
	checkImage(t, m)
}
