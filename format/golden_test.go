package format_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litestash/litestash/format"
)

// The golden store was written when version 1 was released, and every later version reads it. Its
// file SUMS holds a line for each snapshot: key, root, size and SHA-256 of the image.
const (
	goldenStore = "testdata/golden/v1"
	goldenSums  = goldenStore + "/SUMS"
)

var update = flag.Bool("update", false, "add the snapshots that the golden store lacks; those it has never change")

// goldenChains are what the golden store was made from.
func goldenChains(t *testing.T) map[string]*chain {
	small := newImage(4096, 12)
	grown := resize(changeSome(small, 5, 2), 17)
	shrunk := resize(changeSome(grown, 6, 1), 9)
	regrown := image{4096, slices.Concat(shrunk.data, small.data[9*4096:11*4096])}
	zeros := image{65536, make([]byte, 2*format.FrameSize+3*65536)} // three data frames
	fill(zeros.page(20), 20)
	return map[string]*chain{
		"empty.db":           newChainOf(t, "empty.db", image{}),
		"page.db":            newChainOf(t, "page.db", newImage(512, 1)),
		"frames.db":          newChainOf(t, "frames.db", zeros),
		"chain.db":           newChainOf(t, "chain.db", small, grown, grown, shrunk, regrown),
		"tenants/42/data.db": newChainOf(t, "tenants/42/data.db", newImage(1024, 7)),
	}
}

func TestGoldenUpdate(t *testing.T) {
	if !*update {
		return
	}
	sums, err := os.OpenFile(goldenSums, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer sums.Close()
	all := goldenChains(t)
	for _, database := range []string{"chain.db", "empty.db", "frames.db", "page.db", "tenants/42/data.db"} {
		c := all[database]
		for i, k := range c.keys {
			path := filepath.Join(goldenStore, filepath.FromSlash(k.String()))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Write(c.objects[k.Base()])
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			data := c.images[i].data
			if _, err := fmt.Fprintf(sums, "%s %v %d %x\n", k, c.indexes[i].Root, len(data), sha256.Sum256(data)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestGolden(t *testing.T) {
	objects := make(map[string]map[string][]byte) // by database and last part of the key
	total := 0
	err := filepath.WalkDir(goldenStore, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == filepath.FromSlash(goldenSums) {
			return err
		}
		rel, err := filepath.Rel(goldenStore, path)
		if err != nil {
			return err
		}
		k, ok := format.ParseKey(filepath.ToSlash(rel))
		if !ok {
			return fmt.Errorf("%s is no snapshot's", path)
		}
		if objects[k.Database] == nil {
			objects[k.Database] = make(map[string][]byte)
		}
		objects[k.Database][k.Base()], err = os.ReadFile(path)
		total++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.Open(goldenSums)
	if err != nil {
		t.Fatal(err)
	}
	defer sums.Close()
	kinds := make(map[format.Kind]int)
	lines := bufio.NewScanner(sums)
	for lines.Scan() {
		line := strings.Fields(lines.Text())
		if len(line) != 4 {
			t.Fatalf("SUMS: %q", lines.Text())
		}
		k, ok := format.ParseKey(line[0])
		if !ok {
			t.Fatalf("%s is no key", line[0])
		}
		kinds[k.Kind]++
		m, err := read(objects[k.Database], k)
		if err != nil {
			t.Errorf("%v: %v", k, err)
			continue
		}
		sum := sha256.Sum256(m.data)
		if got := fmt.Sprint(len(m.data), " ", hex.EncodeToString(sum[:])); got != line[2]+" "+line[3] {
			t.Errorf("%v: image of %s, want %s", k, got, line[2:])
		}
		tail, err := readTail(objects[k.Database][k.Base()])
		if err != nil {
			t.Fatal(err)
		}
		if got := tail.Index.Root.String(); got != line[1] || rootOf(m, tail.Index.Salt, hashesOf(m, tail.Index.Salt)) != tail.Index.Root {
			t.Errorf("%v: root %s, want %s", k, got, line[1])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if kinds[format.Full] < 5 || kinds[format.Delta] < 4 || kinds[format.Full]+kinds[format.Delta] != total {
		t.Errorf("SUMS names %v; there are %d objects", kinds, total)
	}
}
