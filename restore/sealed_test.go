package restore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// newKey returns both halves of a key.
func newKey(t testing.TB) (*seal.Recipients, *seal.Identities) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	rs, err := seal.NewRecipients(key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	return rs, seal.NewIdentities(key)
}

// pushChain stores versions of a database, one on the other; encrypted, unless rs is nil.
func pushChain(t testing.TB, st store.Store, database string, rs *seal.Recipients, ids *seal.Identities, versions [][]byte) []catalog.Snapshot {
	t.Helper()
	var all []catalog.Snapshot
	for i, data := range versions {
		opts := upload.Options{
			Database:   database,
			Source:     format.Source{Host: "test", Path: "/" + database},
			Recipients: rs,
			Identities: ids,
		}
		r, err := uploadtest.Push(t.Context(), st, opts, 4096, data, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if want := format.Kind(min(i, 1)); r.Index.Kind() != want {
			t.Fatalf("version %d is a %v: %s", i, r.Index.Kind(), r.Why)
		}
		all = append(all, r.Snapshot)
	}
	return all
}

// changed returns versions of a database of so many pages, in each of which a tenth has changed.
func changed(pages, versions int) [][]byte {
	all := [][]byte{memimage.Noise(1, 4096, pages)}
	for v := range versions - 1 {
		next := bytes.Clone(all[v])
		for page := v; page < pages; page += 10 {
			copy(next[page*4096:], memimage.Noise(uint64(100*v+page), 4096, 1))
		}
		all = append(all, next)
	}
	return all
}

// TestSealedRequests restores chains of databases, small and large, plain and encrypted: what is encrypted takes
// one request more for each object at most, for the header of age, and about as many bytes.
func TestSealedRequests(t *testing.T) {
	rs, ids := newKey(t)
	for _, pages := range []int{3, 40, 600, 5000} {
		versions := changed(pages, 3)
		st := storetest.OpenDir(t, t.TempDir())
		plain := pushChain(t, st, "plain.db", nil, nil, versions)
		sealed := pushChain(t, st, "sealed.db", rs, ids, versions)
		for i := range versions {
			t.Run(fmt.Sprintf("%d pages, version %d", pages, i), func(t *testing.T) {
				var results []*restore.Result
				for _, snap := range []catalog.Snapshot{plain[i], sealed[i]} {
					var out bytes.Buffer
					r, err := restore.Stream(t.Context(), st, snap, &out, restore.Options{Identities: ids, TempDir: t.TempDir()})
					if err != nil || !bytes.Equal(out.Bytes(), versions[i]) {
						t.Fatalf("%s is not what was pushed (%v)", snap.Object.Key, err)
					}
					results = append(results, r)
					plan, err := restore.Plan(t.Context(), st, snap, restore.Options{Identities: ids, TempDir: t.TempDir()})
					if err != nil || plan.Requests != r.Requests || plan.Bytes != r.Fetched {
						t.Errorf("planned was %+v (%v), but it took %d requests and %d bytes", plan, err, r.Requests, r.Fetched)
					}
				}
				p, s := results[0], results[1]
				if s.Requests > p.Requests+int64(s.Links) {
					t.Errorf("%d requests for what takes %d plain", s.Requests, p.Requests)
				}
				if most := p.Fetched*105/100 + s.Requests*2*(64<<10); s.Fetched > most {
					t.Errorf("%d bytes for what are %d plain", s.Fetched, p.Fetched)
				}
				t.Logf("plain %d requests and %d bytes, encrypted %d and %d", p.Requests, p.Fetched, s.Requests, s.Fetched)
			})
		}
	}
}

// TestSealedReuse restores what is encrypted over an older copy.
func TestSealedReuse(t *testing.T) {
	rs, ids := newKey(t)
	versions, st := changed(2000, 2), storetest.OpenDir(t, t.TempDir())
	snaps := pushChain(t, st, "app.db", rs, ids, versions)
	path := filepath.Join(t.TempDir(), "old.db")
	if err := os.WriteFile(path, versions[0], 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r, err := restore.Stream(t.Context(), st, snaps[1], &out, restore.Options{Identities: ids, Reuse: path})
	if err != nil || !bytes.Equal(out.Bytes(), versions[1]) || r.Reused < int64(len(versions[0]))/10*8 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestSealedSwapped puts other objects in the place of encrypted ones of which each is sound: renamed to another
// time, name or database, two exchanged, an old one put back under the key of one that rests on it, or one
// of another history of the same pages. All are noticed, in the snapshot itself and in what rests on it.
func TestSealedSwapped(t *testing.T) {
	rs, ids := newKey(t)
	for name, sealed := range map[string]bool{"plain": false, "encrypted": true} {
		t.Run(name, func(t *testing.T) {
			keys, identities := rs, ids
			if !sealed {
				keys, identities = nil, nil
			}
			versions := changed(40, 3)
			st, other := storetest.OpenDir(t, t.TempDir()), storetest.OpenDir(t, t.TempDir())
			snaps := pushChain(t, st, "app.db", keys, identities, versions)
			again := pushChain(t, other, "app.db", keys, identities, versions)
			elsewhere := pushChain(t, st, "other.db", keys, identities, versions)
			object := func(st *store.Dir, s catalog.Snapshot) []byte {
				b, err := os.ReadFile(filepath.Join(st.String(), s.Object.Key))
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			for what, put := range map[string]map[int][]byte{
				"the full's deltas exchanged": {1: object(st, snaps[2]), 2: object(st, snaps[1])},
				"an older one":                {2: object(st, snaps[1])},
				"a later one":                 {1: object(st, snaps[2])},
				"the full":                    {1: object(st, snaps[0])},
				"a full of other history":     {0: object(other, again[0])},
				"a delta of other history":    {1: object(other, again[1])},
				"another database's full":     {0: object(st, elsewhere[0])},
				"another database's delta":    {1: object(st, elsewhere[1])},
			} {
				swapped := storetest.OpenDir(t, t.TempDir())
				for i, s := range snaps {
					b, other := put[i]
					if !other {
						b = object(st, s)
					}
					if _, err := swapped.Create(t.Context(), s.Object.Key, bytes.NewReader(b), 0); err != nil {
						t.Fatal(err)
					}
				}
				all, err := catalog.List(t.Context(), swapped, "app.db")
				if err != nil || len(all) != 3 {
					t.Fatalf("%d snapshots (%v)", len(all), err)
				}
				for i, s := range all {
					_, err := restore.Verify(t.Context(), swapped, s, restore.Options{Identities: identities})
					spoilt := false
					for at := range put {
						spoilt = spoilt || at <= i
					}
					if spoilt != errors.Is(err, format.ErrDamaged) || !spoilt && err != nil {
						t.Errorf("%s, snapshot %d: %v", what, i, err)
					}
				}
			}
			renamed := storetest.OpenDir(t, t.TempDir())
			for _, to := range []struct {
				what string
				key  format.Key
			}{
				{"another time", withName(snaps[0].Key, format.Name{Time: snaps[0].Name.Time + 1, ID: snaps[0].Name.ID})},
				{"another name", withName(snaps[0].Key, format.Name{Time: snaps[0].Name.Time, ID: snaps[0].Name.ID + 1})},
				{"another database", withDatabase(snaps[0].Key, "renamed.db")},
			} {
				o, err := renamed.Create(t.Context(), to.key.String(), bytes.NewReader(object(st, snaps[0])), 0)
				if err != nil {
					t.Fatal(err)
				}
				_, err = restore.Verify(t.Context(), renamed, catalog.Snapshot{Key: to.key, Object: o}, restore.Options{Identities: identities})
				if !errors.Is(err, format.ErrDamaged) {
					t.Errorf("renamed to %s: %v", to.what, err)
				}
			}
		})
	}
}

func withName(k format.Key, n format.Name) format.Key {
	k.Name = n
	return k
}

func withDatabase(k format.Key, database string) format.Key {
	k.Database = database
	return k
}

// TestSealedDamage damages an encrypted object by chance, everywhere.
func TestSealedDamage(t *testing.T) {
	rs, ids := newKey(t)
	versions, st := changed(300, 2), storetest.OpenDir(t, t.TempDir())
	snaps := pushChain(t, st, "app.db", rs, ids, versions)
	for i, s := range snaps {
		path := filepath.Join(st.String(), s.Object.Key)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := bytes.Index(whole, []byte("\n--- ")) + 5 // before that a flipped bit looks like another's key
		for at := text; at < len(whole); at += 1 + len(whole)/60 {
			for _, d := range damages {
				if err := os.WriteFile(path, d.to(slices.Clone(whole), at), 0o600); err != nil {
					t.Fatal(err)
				}
				newest, err := catalog.Get(t.Context(), st, "app.db", snaps[1].Name)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := restore.Verify(t.Context(), st, newest, restore.Options{Identities: ids}); !errors.Is(err, format.ErrDamaged) {
					t.Errorf("object %d, %s at %d: %v", i, d.name, at, err)
				}
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
