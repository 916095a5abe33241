package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/agetool"
	"github.com/litestash/litestash/seal"
)

// newAgeKey makes an identity with age-keygen in dir, and returns the file that it is in and the public key.
func newAgeKey(t *testing.T, dir string) (identity, recipient string) {
	t.Helper()
	if err := agetool.Build(dir); err != nil {
		t.Fatal(err)
	}
	identity = filepath.Join(dir, "key.txt")
	if out, err := exec.Command(filepath.Join(dir, "age-keygen"), "-o", identity).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := exec.Command(filepath.Join(dir, "age-keygen"), "-y", identity).Output()
	if err != nil {
		t.Fatal(err)
	}
	return identity, strings.TrimSpace(string(public))
}

// forge makes up a full snapshot that holds the database in a file, and is in all else as its maker says, and
// encrypts it. That takes a public key, and nothing of what it is to pass for.
func forge(t *testing.T, recipient, path string, x format.Index) []byte {
	t.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x.PageSize, x.Salt = 4096, format.NewSalt()
	x.Pages = uint32(len(image) / x.PageSize)
	x.Carried = x.Pages
	if len(image) > format.FrameSize || int(x.Pages) > format.SegmentPages {
		t.Fatalf("%d bytes are too many for one frame", len(image))
	}
	hasher, root := format.NewPageHasher(x.Salt), format.NewRootHasher(x.PageSize, x.Pages, x.Salt)
	var hashes []format.PageHash
	for off := 0; off < len(image); off += x.PageSize {
		h := hasher.Hash(image[off : off+x.PageSize])
		hashes = append(hashes, h)
		root.Write(h[:])
	}
	x.Root = root.Sum()
	r, err := seal.ParseRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := seal.NewRecipients(r)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	sealed, err := rs.Encrypt(&b)
	if err != nil {
		t.Fatal(err)
	}
	w, err := format.NewWriter(sealed, &x)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		w.Frame(format.NewCompressor().Compress(nil, image), len(image)),
		w.Segment([]format.Run{{First: 1, Count: x.Pages}}, hashes),
		w.Close(),
		sealed.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestForged has somebody who knows the public key and may write to the store put another database in the place of the
// newest snapshot. It opens and its hashes fit; who noted down the root, and the host that pushed, notice.
func TestForged(t *testing.T) {
	dir := t.TempDir()
	db, target := filepath.Join(dir, "app.db"), filepath.Join(dir, "out.db")
	identity, recipient := newAgeKey(t, dir)
	t.Setenv("LITESTASH_STORE", filepath.Join(dir, "store"))
	t.Setenv("LITESTASH_IDENTITY_FILE", "")
	state := filepath.Join(dir, "state")
	sh(t, db, fill("true", 500))
	one := pushJSON(t, db, "--recipient", recipient, "--state-dir", state)
	sh(t, db, "UPDATE words SET word = 'truer'")
	two := pushJSON(t, db, "--recipient", recipient, "--state-dir", state, "--full")

	evil := filepath.Join(dir, "evil.db")
	sh(t, evil, fill("forged", 400))
	name, err := format.ParseName(two.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	object := forge(t, recipient, evil, format.Index{
		Header:  format.Header{Database: "app.db", Snapshot: name},
		Source:  format.Source{Host: "a host", Path: "/a/path"},
		Creator: "a forger",
	})
	if err := os.WriteFile(filepath.Join(dir, "store", two.Key), object, 0o600); err != nil {
		t.Fatal(err)
	}

	// A host that remembers nothing, and has the identity alone, takes it for what was pushed.
	restore := func(args ...string) (int, string) {
		t.Helper()
		code, _, errs := lite(t, append([]string{"restore", "app.db", "-o", target, "--identity", identity, "--state-dir", filepath.Join(dir, "none")}, args...)...)
		return code, errs
	}
	if code, errs := restore(); code != 0 || strings.TrimSpace(sh(t, target, "SELECT word FROM words")) != "forged" {
		t.Fatalf("what is forged does not pass: exit code %d: %s", code, errs)
	}
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if code, errs := restore("--root", two.Root.String()); code != exitDamaged || !strings.Contains(errs, two.Root.String()) {
		t.Errorf("restore --root exits with %d: %s", code, errs)
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("restore --root restored what was forged")
	}
	if code, _, errs := lite(t, "verify", "app.db", "--root", two.Root.String(), "--identity", identity); code != exitDamaged {
		t.Errorf("verify --root exits with %d: %s", code, errs)
	}
	if code, errs := restore("--at", one.Snapshot, "--root", one.Root.String()); code != 0 {
		t.Errorf("restore of the true one exits with %d: %s", code, errs)
	}

	// The host that pushed remembers, without an identity, and with nothing changed in the database.
	code, out, errs := lite(t, "push", db, "--recipient", recipient, "--state-dir", state)
	if code != exitDamaged || !strings.Contains(errs, two.Key) || !strings.Contains(out, "full") {
		t.Errorf("push exits with %d: %s%s", code, out, errs)
	}
	code, _, errs = lite(t, "push", db, "--recipient", recipient, "--state-dir", state)
	if code != 0 {
		t.Errorf("the next push exits with %d: %s", code, errs)
	}
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if code, errs := restore(); code != 0 || strings.TrimSpace(sh(t, target, "SELECT word FROM words")) != "truer" {
		t.Errorf("the newest is not what was pushed: exit code %d: %s", code, errs)
	}
}
