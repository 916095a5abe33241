package restore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

const golden = "../format/testdata/golden"

// TestGolden restores every snapshot of every golden store.
func TestGolden(t *testing.T) {
	sums, err := filepath.Glob(golden + "/*/SUMS")
	if err != nil || len(sums) < 2 {
		t.Fatalf("no golden stores: %v", err)
	}
	for _, name := range sums {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		st, err := store.OpenDir(filepath.Dir(name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			restoreGolden(t, st, strings.Fields(line))
		}
	}
}

// goldenIdentities returns those that the golden stores are encrypted for.
func goldenIdentities(t *testing.T) *seal.Identities {
	t.Helper()
	text, err := os.ReadFile(golden + "/identity.txt")
	if err != nil {
		t.Fatal(err)
	}
	list, err := seal.ParseIdentities(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return seal.NewIdentities(list...)
}

// restoreGolden restores a snapshot. Its facts are its key, its root, and the size and the SHA-256
// of the database.
func restoreGolden(t *testing.T, st store.Store, facts []string) {
	t.Helper()
	k, ok := format.ParseKey(facts[0])
	if !ok {
		t.Fatalf("no key: %s", facts[0])
	}
	snap, err := catalog.Get(t.Context(), st, k.Database, k.Name)
	if err != nil {
		t.Fatal(err)
	}
	root, err := format.ParseRoot(facts[1])
	if err != nil {
		t.Fatal(err)
	}
	opts := restore.Options{Root: &root, Identities: goldenIdentities(t)}
	var out bytes.Buffer
	if _, err := restore.Stream(t.Context(), st, snap, &out, opts); err != nil {
		t.Errorf("%v: %v", k, err)
	}
	sum := sha256.Sum256(out.Bytes())
	if strconv.Itoa(out.Len()) != facts[2] || hex.EncodeToString(sum[:]) != facts[3] {
		t.Errorf("%v: %d bytes that are not the %s of the golden database", k, out.Len(), facts[2])
	}
	path := filepath.Join(t.TempDir(), "restored.db")
	if _, err := restore.File(t.Context(), st, snap, path, restore.FileOptions{Options: opts}); err != nil {
		t.Errorf("%v: %v", k, err)
	}
	checkFile(t, path, out.Bytes())
}

// copyChain copies the golden database that has a chain, and returns its snapshots.
func copyChain(t *testing.T) (*store.Dir, []catalog.Snapshot) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden+"/v1")); err != nil {
		t.Fatal(err)
	}
	st, err := store.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := catalog.List(t.Context(), st, "chain.db")
	if err != nil || len(snaps) < 3 {
		t.Fatalf("%d snapshots, %v", len(snaps), err)
	}
	return st, snaps
}

// TestHole deletes each object of a chain: what rests on it cannot be restored, and all else can.
func TestHole(t *testing.T) {
	for missing := range 5 {
		st, snaps := copyChain(t)
		if err := st.Delete(t.Context(), snaps[missing].Object.Key); err != nil {
			t.Fatal(err)
		}
		for i, snap := range snaps {
			for _, w := range ways {
				dir := t.TempDir()
				if i < missing && w.name == "verify" {
					if _, err := restore.Verify(t.Context(), st, snap, restore.Options{}); err != nil {
						t.Errorf("%v, before what is missing: %v", snap.Name, err)
					}
				}
				if i < missing {
					continue
				}
				err := w.run(t, t.Context(), st, snap, dir, nil)
				hole, ok := errors.AsType[*chain.HoleError](err)
				if !ok || hole.Missing != snaps[missing].Key || !errors.Is(err, format.ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s of %v, which rests on %v: %v", w.name, snap.Name, snaps[missing].Name, err)
				}
			}
		}
	}
}

// TestDamagedChain damages bytes of objects that the newest snapshot rests on. Data of pages that
// have been overwritten since do not matter to it, and headers not to a restore; whatever else does.
func TestDamagedChain(t *testing.T) {
	st, snaps := copyChain(t)
	last := snaps[len(snaps)-1]
	var want bytes.Buffer
	if _, err := restore.Stream(t.Context(), st, last, &want, restore.Options{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, snap := range snaps {
		tail, err := catalog.ReadTail(t.Context(), st, snap, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := &pushed{st: st, snap: snap}
		object := readObject(t, p)
		rs := regionsOf(t, tail, int64(len(object)))
		turn := 0
		for _, r := range rs {
			for _, at := range offsets(r.Span, 8) {
				b := bytes.Clone(object)
				b[at] ^= 1 << (at % 8)
				if err := os.WriteFile(fileOf(p), b, 0o600); err != nil {
					t.Fatal(err)
				}
				found, err := catalog.Get(t.Context(), st, last.Database, last.Name)
				if err != nil {
					t.Fatal(err)
				}
				turn++
				w := ways[turn%len(ways)]
				err = w.run(t, t.Context(), st, found, dir, want.Bytes())
				_, version := errors.AsType[*format.VersionError](err)
				needless := err == nil &&
					(strings.HasPrefix(r.name, "data") && snap.Name != last.Name || r.name == "header" && w.name != "verify" && w.name != "rebuild")
				if !needless && !errors.Is(err, format.ErrDamaged) && !(version && hasVersion(rs, int64(at))) {
					t.Errorf("%v, %s at %d: %s: %v", snap.Name, r.name, at, w.name, err)
				}
			}
		}
		if err := os.WriteFile(fileOf(p), object, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
