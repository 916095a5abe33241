package transfer_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/transfer"
)

// newSealedHistory is newHistory, encrypted.
func newSealedHistory(t *testing.T, n, pages int) (*history, *seal.Recipients) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	rs, err := seal.NewRecipients(key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	return pushHistory(t, n, pages, rs, seal.NewIdentities(key)), rs
}

// TestSealedChain copies encrypted snapshots, with their identity, with another and without one.
func TestSealedChain(t *testing.T) {
	h, _ := newSealedHistory(t, 5, 300)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ids    *seal.Identities
		sealed int
	}{"none": {nil, 5}, "another": {seal.NewIdentities(other), 5}, "its own": {h.ids, 0}} {
		dir := storetest.FastDir(t)
		to := storetest.OpenDir(t, dir)
		opts := transfer.Options{Identities: c.ids}
		r, err := transfer.Database(t.Context(), h.st, to, database, opts)
		if err != nil || r.Copied != 5 || r.Sealed != c.sealed || len(r.Failed) > 0 {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		if want, got := filesIn(t, h.dir), filesIn(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: the copy is another", name)
		}
		if n := h.checkCopy(t, to); n != 5 {
			t.Errorf("%s: %d in the copy", name, n)
		}
		r, err = transfer.Database(t.Context(), h.st, to, database, opts)
		if err != nil || r.There != 5 || r.Copied != 0 || len(r.Failed) > 0 {
			t.Errorf("%s, the second time: %+v, %v", name, r, err)
		}
	}
}

// TestSealedDamage encrypts what is damaged, as somebody may who has the public key, or a host with a bad memory: from
// outside nothing is seen of it.
func TestSealedDamage(t *testing.T) {
	plain := newHistory(t, 2, 40)
	h, rs := newSealedHistory(t, 2, 40)
	path := func(h *history, i int) string { return filepath.Join(h.dir, filepath.FromSlash(h.all[i].Object.Key)) }
	put := func(i int, text []byte) {
		t.Helper()
		var b bytes.Buffer
		w, err := rs.Encrypt(&b)
		if err == nil {
			_, err = w.Write(text)
		}
		if err == nil {
			err = w.Close()
		}
		if err == nil {
			err = os.WriteFile(path(h, i), b.Bytes(), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text := func(i int) []byte {
		t.Helper()
		object, err := seal.Open(t.Context(), h.st, h.all[i].Object, true, 0, h.ids)
		if err != nil {
			t.Fatal(err)
		}
		b, err := object.Read(t.Context(), format.Span{Len: object.Size()})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	foreign, err := os.ReadFile(path(plain, 0))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path(h, 0))
	if err != nil {
		t.Fatal(err)
	}
	full := text(0)
	page := bytes.Clone(full)
	page[len(page)/3] ^= 1 // of what does not compress
	for name, forged := range map[string][]byte{"a page": page, "another snapshot": foreign, "no snapshot": []byte("anything")} {
		put(0, forged)
		to := storetest.OpenDir(t, storetest.FastDir(t))
		r, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{Identities: h.ids})
		if err != nil || r.Copied != 0 || r.Behind != 1 || len(r.Failed) != 1 || !errors.Is(r.Failed[0], format.ErrDamaged) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if files := filesIn(t, fmt.Sprint(to)); len(files) != 0 {
			t.Errorf("%s: %d files in the copy", name, len(files))
		}
		if r, err := transfer.Database(t.Context(), h.st, to, database, transfer.Options{}); err != nil || r.Copied != 2 || r.Sealed != 2 {
			t.Errorf("%s, without an identity: %+v, %v", name, r, err)
		}
	}
	if err := os.WriteFile(path(h, 0), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := transfer.Database(t.Context(), h.st, storetest.OpenDir(t, storetest.FastDir(t)), database, transfer.Options{Identities: h.ids}); err != nil || r.Copied != 2 {
		t.Errorf("put back: %+v, %v", r, err)
	}
}

// TestSealedUnderWay has the way to the copy change bytes, and calls fail: with the identity that is seen, and the
// second time all is well.
func TestSealedUnderWay(t *testing.T) {
	h, _ := newSealedHistory(t, 1, 1)
	opts := transfer.Options{Identities: h.ids}
	to := storetest.OpenDir(t, storetest.FastDir(t))
	for off := int64(0); off < h.all[0].Object.Size; off += 13 {
		r, err := transfer.Database(t.Context(), &changesUnderWay{h.st, 2, off}, to, database, opts)
		if err != nil || r.Copied+r.There != 0 || len(r.Failed) != 1 {
			t.Fatalf("byte %d: %+v, %v", off, r, err)
		}
	}
	for _, side := range []string{"from", "to"} {
		for n := 1; ; n++ {
			to := storetest.Fault(storetest.OpenDir(t, storetest.FastDir(t)))
			from := storetest.Fault(h.st)
			faulty := map[string]*storetest.Faulty{"from": from, "to": to}[side]
			faulty.Plan(storetest.Step{Call: n, How: storetest.Cut})
			_, err := transfer.Database(t.Context(), from, to, database, opts)
			if faulty.Hit() == 0 {
				if n < 4 || err != nil {
					t.Errorf("%s: %d calls, %v", side, n, err)
				}
				break
			}
			faulty.Plan()
			if r, err := transfer.Database(t.Context(), from, to, database, opts); err != nil || r.Copied+r.There != 1 || h.checkCopy(t, to) != 1 {
				t.Fatalf("%s, call %d, the second time: %+v, %v", side, n, r, err)
			}
			to.Check(t)
		}
	}
}
