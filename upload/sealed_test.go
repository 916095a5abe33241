package upload_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// A keyring is both halves of a key.
type keyring struct {
	key age.Identity
	rs  *seal.Recipients
	ids *seal.Identities
}

func newKeys(t *testing.T) keyring {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	rs, err := seal.NewRecipients(key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	return keyring{key, rs, seal.NewIdentities(key)}
}

// pushSealed pushes data with opts, and returns what was logged besides.
func pushSealed(t *testing.T, st store.Store, opts upload.Options, data []byte) (*upload.Result, string, error) {
	t.Helper()
	var log bytes.Buffer
	opts.Database, opts.Logger = "app.db", slog.New(slog.NewTextHandler(&log, nil))
	if opts.Source == (format.Source{}) {
		opts.Source = here
	}
	if opts.Memory == nil {
		opts.Memory = newMemory(t)
	}
	p, err := upload.Begin(t.Context(), st, opts)
	if err != nil {
		return nil, log.String(), err
	}
	return commit(t, p, data, time.Now()), log.String(), nil
}

func mustPushSealed(t *testing.T, st store.Store, opts upload.Options, data []byte) (*upload.Result, string) {
	t.Helper()
	r, log, err := pushSealed(t, st, opts, data)
	if err != nil {
		t.Fatal(err)
	}
	return r, log
}

// checkSealed checks that a snapshot is data to whoever has ids, and that nobody else can read it.
func checkSealed(t *testing.T, st store.Store, snap catalog.Snapshot, ids *seal.Identities, data []byte) {
	t.Helper()
	var out bytes.Buffer
	_, err := restore.Stream(t.Context(), st, snap, &out, restore.Options{Identities: ids})
	if err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("%v is not what was pushed (%v)", snap.Name, err)
	}
	if !snap.Encrypted || !strings.HasSuffix(snap.Object.Key, ".age") {
		t.Errorf("%s is not encrypted", snap.Object.Key)
	}
	_, err = restore.Verify(t.Context(), st, snap, restore.Options{})
	if locked, ok := errors.AsType[*seal.LockedError](err); !ok || !strings.HasPrefix(locked.Key, "app.db/") {
		t.Errorf("without an identity: %v", err)
	}
}

// TestSealed pushes with state and with public keys alone, and restores.
func TestSealed(t *testing.T) {
	k, data := newKeys(t), versions(3)
	st, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
	opts := upload.Options{Recipients: k.rs, Memory: m}
	for i := range data {
		r, log := mustPushSealed(t, st, opts, data[i])
		if want := format.Kind(min(i, 1)); r.Index.Kind() != want {
			t.Errorf("push %d: a %v: %s", i, r.Index.Kind(), r.Why)
		}
		if log != "" {
			t.Errorf("push %d logged: %s", i, log)
		}
		if got := m.Facts().Newest(); got.Size != r.Snapshot.Object.Size || !strings.HasSuffix(got.Key, ".age") {
			t.Errorf("remembered is %+v", got)
		}
	}
	if r, _ := mustPushSealed(t, st, opts, data[3]); r.Index != nil {
		t.Error("an unchanged database was stored")
	}
	for i, s := range list(t, st, "app.db") {
		checkSealed(t, st, s, k.ids, data[i])
	}
	hidden(t, st.String(), data)
}

// hidden checks that no file below dir shows anything of the databases in it but their names.
func hidden(t *testing.T, dir string, data [][]byte) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, secret := range [][]byte{data[0][5000:5020], []byte("LITESTSH"), []byte("LSTPAGES"), []byte("LSTINDEX"), []byte("page_size"), []byte(here.Path)} {
			if bytes.Contains(b, secret) {
				t.Errorf("%s shows %q", path, secret)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files: %v", files, err)
	}
}

// TestSealedStateless pushes from a host that remembers nothing: with public keys alone it makes fulls and
// says why, with an identity it makes deltas. Whose history it is only the lineage tells.
func TestSealedStateless(t *testing.T) {
	k, data := newKeys(t), versions(3)
	st := storetest.OpenDir(t, t.TempDir())
	first, _ := mustPushSealed(t, st, upload.Options{Recipients: k.rs}, data[0])
	r, log := mustPushSealed(t, st, upload.Options{Recipients: k.rs}, data[1])
	if r.Index.Kind() != format.Full || r.Why != "there is no identity to read the newest snapshot with" || !strings.Contains(log, "lineage alone") {
		t.Errorf("a %v because %q, log %q", r.Index.Kind(), r.Why, log)
	}
	if r.Snapshot.Name.ID.Lineage() != first.Snapshot.Name.ID.Lineage() {
		t.Error("it began another history")
	}
	r, _ = mustPushSealed(t, st, upload.Options{Recipients: k.rs, Identities: newKeys(t).ids}, data[1])
	if r.Index.Kind() != format.Full || r.Why != "the newest snapshot is encrypted for other identities than those given" {
		t.Errorf("a %v because %q", r.Index.Kind(), r.Why)
	}
	r, _ = mustPushSealed(t, st, upload.Options{Recipients: k.rs, Identities: k.ids}, data[2])
	if r.Index.Kind() != format.Delta {
		t.Errorf("a %v because %q", r.Index.Kind(), r.Why)
	}
	checkSealed(t, st, r.Snapshot, k.ids, data[2])

	other := upload.Options{Recipients: k.rs, Source: format.Source{Host: "there", Path: "/srv/app.db"}}
	_, _, err := pushSealed(t, st, other, data[2])
	if e, ok := errors.AsType[*upload.UnknownSourceError](err); !ok || e.Newest.Name != r.Snapshot.Name {
		t.Errorf("another source: %v", err)
	}
	other.Identities = k.ids
	if _, _, err := pushSealed(t, st, other, data[2]); !errors.As(err, new(*upload.SourceError)) {
		t.Errorf("another source, with an identity: %v", err)
	}
	other.Identities, other.Adopt = nil, true
	r, _ = mustPushSealed(t, st, other, data[3])
	if r.Why != "the name was taken over from another source" || r.Snapshot.Name.ID.Lineage() == first.Snapshot.Name.ID.Lineage() {
		t.Errorf("taken over because %q as %v", r.Why, r.Snapshot.Name)
	}
	checkSealed(t, st, r.Snapshot, k.ids, data[3])
}

// TestPlaintextRefused pushes onto a history that is encrypted without the recipients.
func TestPlaintextRefused(t *testing.T) {
	k, data := newKeys(t), versions(3)
	refused := func(name string, st store.Store, opts upload.Options) {
		t.Helper()
		_, _, err := pushSealed(t, st, opts, data[1])
		if !errors.As(err, new(*upload.PlaintextError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	st, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
	first, _ := mustPushSealed(t, st, upload.Options{Recipients: k.rs, Memory: m}, data[0])
	refused("stateless", st, upload.Options{})
	refused("a full", st, upload.Options{Full: true})
	refused("with an identity", st, upload.Options{Identities: k.ids})
	refused("adopting", st, upload.Options{Adopt: true, Source: format.Source{Host: "there", Path: "/x"}})
	refused("with state", st, upload.Options{Memory: m})
	refused("confirmed", st, upload.Options{Memory: m, Confirmed: &first.Snapshot})
	refused("lost", storetest.OpenDir(t, t.TempDir()), upload.Options{Memory: m})
	if got := len(list(t, st, "app.db")); got != 1 {
		t.Fatalf("%d snapshots", got)
	}

	r, _ := mustPushSealed(t, st, upload.Options{Plaintext: true, Memory: m}, data[1])
	if r.Snapshot.Encrypted || r.Index.Kind() != format.Full || r.Why != "the snapshots before are encrypted" {
		t.Errorf("a %v because %q: %s", r.Index.Kind(), r.Why, r.Snapshot.Object.Key)
	}
	checkStored(t, st, r.Snapshot, data[1])
	r, _ = mustPushSealed(t, st, upload.Options{Memory: m}, data[2]) // it is a plain history now
	if r.Index.Kind() != format.Delta {
		t.Errorf("a %v because %q", r.Index.Kind(), r.Why)
	}
	checkStored(t, st, r.Snapshot, data[2])
}

// TestMixed begins to encrypt in the midst of a chain, and then for others.
func TestMixed(t *testing.T) {
	k, other, data := newKeys(t), newKeys(t), versions(3)
	for name, m := range map[string]*state.Memory{"stateless": nil, "with state": newMemory(t)} {
		st := storetest.OpenDir(t, t.TempDir())
		mustPushSealed(t, st, upload.Options{Memory: m}, data[0])
		opts := upload.Options{Recipients: k.rs, Memory: m, Identities: k.ids}
		same, log := mustPushSealed(t, st, opts, data[0])
		if same.Index == nil || same.Index.Kind() != format.Delta || !strings.Contains(log, "not encrypted") {
			t.Errorf("%s: the same database, but encrypted: %+v, log %q", name, same, log)
		}
		checkSealed(t, st, same.Snapshot, k.ids, data[0])
		r, _ := mustPushSealed(t, st, opts, data[1])
		checkSealed(t, st, r.Snapshot, k.ids, data[1])

		opts.Full = true
		mustPushSealed(t, st, opts, data[1])
		opts.Full = false
		if _, log := mustPushSealed(t, st, opts, data[2]); log != "" {
			t.Errorf("%s: for the same: %q", name, log)
		}
		opts.Recipients = other.rs
		r, log = mustPushSealed(t, st, opts, data[3])
		if r.Index.Kind() != format.Delta || m != nil && !strings.Contains(log, "other recipients") {
			t.Errorf("%s: for others: a %v, log %q", name, r.Index.Kind(), log)
		}
		var locked *seal.LockedError
		if _, err := restore.Verify(t.Context(), st, r.Snapshot, restore.Options{Identities: other.ids}); !errors.As(err, &locked) || locked.Key == r.Snapshot.Object.Key {
			t.Errorf("%s: what others can read rests on what they cannot: %v", name, err)
		}
	}
}

// TestReplaced puts a snapshot that somebody made up in the place of the newest one: the state of the host that
// pushed that notices, whether it can read it or not.
func TestReplaced(t *testing.T) {
	k, data := newKeys(t), versions(2)
	for name, opts := range map[string]upload.Options{
		"plain":            {},
		"encrypted":        {Recipients: k.rs, Identities: k.ids},
		"public keys only": {Recipients: k.rs},
	} {
		st, m := storetest.OpenDir(t, t.TempDir()), newMemory(t)
		opts.Memory = m
		first, _ := mustPushSealed(t, st, opts, data[0])
		forged, err := os.ReadFile(filepath.Join(st.String(), first.Snapshot.Object.Key))
		if err != nil {
			t.Fatal(err)
		}
		x := *first.Index
		x.Carried, x.Pages, x.Root = 0, 0, format.NewRootHasher(0, 0, x.Salt).Sum()
		x.PageSize = 0
		var b bytes.Buffer
		var w io.Writer = &b
		if opts.Recipients != nil {
			sealed, err := opts.Recipients.Encrypt(&b)
			if err != nil {
				t.Fatal(err)
			}
			w = sealed
		}
		out, err := format.NewWriter(w, &x)
		if err == nil {
			err = out.Close()
		}
		if c, ok := w.(io.Closer); ok && err == nil {
			err = c.Close()
		}
		if err != nil || b.Len() == len(forged) {
			t.Fatalf("%d bytes (%v)", b.Len(), err)
		}
		if err := os.WriteFile(filepath.Join(st.String(), first.Snapshot.Object.Key), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		opts.Database, opts.Source = "app.db", here
		p, err := upload.Begin(t.Context(), st, opts)
		if err != nil {
			t.Fatal(err)
		}
		r, err := told(p.Commit(t.Context(), uploadtest.Take(4096, data[1], time.Now())))
		if _, told := errors.AsType[*upload.DecayError](err); !told || r == nil || r.Index.Kind() != format.Full {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestReplacedBySameSize has somebody put another object of the same size in the place of the newest snapshot, which a
// push that goes by its key and size would take for its own.
func TestReplacedBySameSize(t *testing.T) {
	k, data := newKeys(t), memimage.Noise(5, 4096, 40)
	for name, opts := range map[string]upload.Options{
		"plain":            {},
		"encrypted":        {Recipients: k.rs, Identities: k.ids},
		"public keys only": {Recipients: k.rs},
	} {
		st, elsewhere := storetest.OpenDir(t, t.TempDir()), storetest.OpenDir(t, t.TempDir())
		opts.Database, opts.Source, opts.Full = "app.db", here, true
		memory := newMemory(t)
		opts.Memory = memory
		first, _ := mustPushSealed(t, st, opts, data)
		opts.Memory = nil
		other, _ := mustPushSealed(t, elsewhere, opts, memimage.Noise(6, 4096, 40))
		for seed := uint64(7); first.Snapshot.Object.Size != other.Snapshot.Object.Size; seed++ {
			other, _ = mustPushSealed(t, elsewhere, opts, memimage.Noise(seed, 4096, 40))
		}
		opts.Full = false
		forged, err := os.ReadFile(filepath.Join(elsewhere.String(), other.Snapshot.Object.Key))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(st.String(), first.Snapshot.Object.Key), forged, 0o600); err != nil {
			t.Fatal(err)
		}
		opts.Memory = memory
		p, err := upload.Begin(t.Context(), st, opts)
		if err != nil {
			t.Fatal(err)
		}
		r, err := told(p.Commit(t.Context(), uploadtest.Take(4096, data, time.Now())))
		if r == nil || r.Index == nil || r.Index.Kind() != format.Full {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		_, told := errors.AsType[*upload.DecayError](err)
		if sealed := name == "public keys only"; told == sealed || sealed && !strings.Contains(r.Why, "another object than was pushed") {
			t.Errorf("%s: %q, %v", name, r.Why, err)
		}
	}
}
