package format_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
)

// smallChains are chains whose newest object is small enough to damage it in every place.
func smallChains(t testing.TB) map[string]*chain {
	zeros := image{65536, make([]byte, format.FrameSize+65536)} // two data frames
	small := newImage(512, 9)
	return map[string]*chain{
		"empty":      newChain(t, image{}),
		"full":       newChain(t, small),
		"two frames": newChain(t, zeros),
		"delta":      newChain(t, newImage(512, 20), changeSome(resize(newImage(512, 20), 23), 5, 2)),
		"no change":  newChain(t, small, small),
	}
}

// checkDetected reads the newest snapshot of c as if its object held the given bytes.
func checkDetected(c *chain, object []byte) error {
	objects := maps.Clone(c.objects)
	objects[c.last().Base()] = object
	_, err := read(objects, c.last())
	switch {
	case err == nil:
		return errors.New("it is not detected")
	case !isDamage(err):
		return fmt.Errorf("the error is %w", err)
	}
	return nil
}

func isDamage(err error) bool {
	_, version := errors.AsType[*format.VersionError](err)
	return version || errors.Is(err, format.ErrDamaged)
}

// bits yields the number of each bit of an object. Beside the race detector, which one goroutine gives nothing to
// find, it is one of each byte.
func bits(object []byte) iter.Seq[int] {
	return func(yield func(int) bool) {
		for bit := 0; bit < 8*len(object); bit++ {
			if (!race.Enabled || bit%8 == bit/8%8) && !yield(bit) {
				return
			}
		}
	}
}

func TestEveryFlippedBitIsDetected(t *testing.T) {
	for name, c := range smallChains(t) {
		t.Run(name, func(t *testing.T) {
			checkRead(t, c)
			object := c.objects[c.last().Base()]
			for bit := range bits(object) {
				object[bit/8] ^= 1 << (bit % 8)
				if err := checkDetected(c, object); err != nil {
					t.Errorf("bit %d of byte %d of %d: %v", bit%8, bit/8, len(object), err)
				}
				object[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
}

func TestEveryMissingOrExtraByteIsDetected(t *testing.T) {
	for name, c := range smallChains(t) {
		t.Run(name, func(t *testing.T) {
			object := c.objects[c.last().Base()]
			for at := range len(object) + 1 {
				damaged := map[string][]byte{"a byte more": slices.Insert(slices.Clone(object), at, 0)}
				if at < len(object) {
					damaged["cut off here"] = object[:at:at]
					damaged["the end only"] = object[at+1:]
					damaged["without the byte"] = slices.Delete(slices.Clone(object), at, at+1)
					damaged["the byte twice"] = slices.Insert(slices.Clone(object), at, object[at])
				}
				for how, b := range damaged {
					if err := checkDetected(c, b); err != nil {
						t.Errorf("%s at %d of %d: %v", how, at, len(object), err)
					}
				}
			}
			if err := checkDetected(c, slices.Concat(object, object)); err != nil {
				t.Errorf("twice: %v", err)
			}
		})
	}
}

// A damaged parent is as bad as a damaged delta.
func TestDamageInTheChainIsDetected(t *testing.T) {
	c := smallChains(t)["delta"]
	parent := c.objects[c.keys[0].Base()]
	for bit := range bits(parent) {
		parent[bit/8] ^= 1 << (bit % 8)
		if _, err := read(c.objects, c.last()); !isDamage(err) {
			t.Errorf("bit %d of byte %d of the full: %v", bit%8, bit/8, err)
		}
		parent[bit/8] ^= 1 << (bit % 8)
	}
}

// Whole parts that are right by themselves are in a wrong place.
func TestSwappedPartsAreDetected(t *testing.T) {
	m := newImage(65536, 32)
	rand.NewChaCha8([32]byte{}).Read(m.data) // so that both frames are of one size
	c := newChain(t, m)
	object := c.objects[c.last().Base()]
	tail, err := readTail(object)
	if err != nil {
		t.Fatal(err)
	}
	a, b := tail.Data[0], tail.Data[1]
	if a.Len != b.Len {
		t.Fatalf("data frames of %d and %d bytes", a.Len, b.Len)
	}
	swapped := slices.Concat(object[:a.Off], object[b.Off:b.End()], object[a.Off:a.End()], object[b.End():])
	if err := checkDetected(c, swapped); err != nil {
		t.Errorf("swapped data frames: %v", err)
	}
	header := bytes.Replace(object[tail.Header.Off:tail.Header.End()], []byte("app.db"), []byte("bpp.db"), 1)
	if err := checkDetected(c, slices.Concat(header, object[tail.Header.End():])); err != nil {
		t.Errorf("another header: %v", err)
	}
	x := *tail.Index
	x.Database = "tenants/42/bpp.db"
	foreign, err := format.AppendHeader(nil, &x.Header)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkDetected(c, slices.Concat(foreign, object[tail.Header.End():])); err != nil {
		t.Errorf("the header of another database: %v", err)
	}
}

func TestIdentify(t *testing.T) {
	object := smallChains(t)["full"].objects[nameText+".full.db.zst"]
	for n := range len(object) {
		if err := format.Identify(object[:n]); (err == nil) != (n >= 20) || err != nil && !errors.Is(err, format.ErrDamaged) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	object[16]++
	err := format.Identify(object)
	if v, ok := errors.AsType[*format.VersionError](err); !ok || v.Version != 2 {
		t.Errorf("version 2: %v", err)
	}
	if err := format.Identify([]byte("SQLite format 3\x00 and more")); !errors.Is(err, format.ErrDamaged) {
		t.Errorf("a database: %v", err)
	}
}
