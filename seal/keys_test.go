package seal_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/litestash/litestash/seal"
)

// sshKey makes a key of SSH and returns both halves, as ssh-keygen writes them.
func sshKey(t *testing.T, kind, passphrase string) (secret, public []byte) {
	t.Helper()
	var key crypto.Signer
	var err error
	if kind == "rsa" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "me@here")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "me@here", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	half, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(half)
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func noPassphrase() (string, error) { return "", errors.New("nobody is there to ask") }

// TestKinds encrypts for each kind of recipient, and opens with its identity and no other.
func TestKinds(t *testing.T) {
	native, hybrid := newKey(t), must[*age.HybridIdentity](t)(age.GenerateHybridIdentity())
	ed, edPublic := sshKey(t, "ed25519", "")
	rs, rsPublic := sshKey(t, "rsa", "")
	locked, lockedPublic := sshKey(t, "ed25519", "open sesame")
	parse := func(secret []byte) seal.Identity {
		t.Helper()
		return must[[]seal.Identity](t)(seal.ParseIdentities(secret, func() (string, error) { return "open sesame", nil }))[0]
	}
	kinds := []struct {
		public, says string
		recipient    seal.Recipient
		identity     seal.Identity
	}{
		{native.Recipient().String(), "a key of age (X25519)", nil, parse([]byte(native.String()))},
		{hybrid.Recipient().String(), "a post-quantum key of age (mlkem768x25519)", nil, parse([]byte("# made today\n" + hybrid.String() + "\n"))},
		{string(edPublic), "the SSH key with the tag ", nil, parse(ed)},
		{string(rsPublic), "(ssh-rsa)", nil, parse(rs)},
		{string(lockedPublic), "(ssh-ed25519)", nil, parse(locked)},
		{"", "a passphrase (scrypt)", must[seal.Recipient](t)(seal.PassphraseRecipient("horse")), must[seal.Identity](t)(seal.PassphraseIdentity("horse"))},
	}
	text := []byte("what nobody else should know")
	for i, k := range kinds {
		if k.recipient == nil {
			k.recipient = must[seal.Recipient](t)(seal.ParseRecipient(strings.TrimSpace(k.public)))
		}
		object := encrypt(t, text, recipients(t, k.recipient))
		for j, other := range kinds {
			got, err := readAll(t, object, seal.NewIdentities(other.identity))
			locked, ok := errors.AsType[*seal.LockedError](err)
			switch {
			case i == j && err == nil && bytes.Equal(got, text):
			case i != j && ok && locked.Tried == 1 && strings.Contains(err.Error(), k.says):
			default:
				t.Errorf("kind %d with identity %d: %q, %v", i, j, got, err)
			}
		}
		var all []seal.Identity
		for _, other := range kinds {
			all = append(all, other.identity)
		}
		if got, err := readAll(t, object, seal.NewIdentities(all...)); err != nil || !bytes.Equal(got, text) {
			t.Errorf("kind %d with all identities: %q, %v", i, got, err)
		}
		if _, err := readAll(t, object, nil); err == nil || !strings.Contains(err.Error(), "a.age is encrypted, for ") || !strings.Contains(err.Error(), k.says) || !strings.Contains(err.Error(), "no identity was given") {
			t.Errorf("kind %d without an identity: %v", i, err)
		}
	}
	if _, err := seal.ParseIdentities(locked, noPassphrase); err == nil || !strings.Contains(err.Error(), "nobody is there") {
		t.Errorf("a protected key: %v", err)
	}
	if _, err := seal.ParseIdentities(locked, func() (string, error) { return "wrong", nil }); !errors.Is(err, seal.ErrPassphrase) {
		t.Errorf("a protected key, with a wrong passphrase: %v", err)
	}
}

// TestSeveral encrypts for several at once, of which each alone opens.
func TestSeveral(t *testing.T) {
	one, two := newKey(t), newKey(t)
	ssh, public := sshKey(t, "ed25519", "")
	list := must[[]seal.Recipient](t)(seal.ParseRecipients([]byte("# the office\n" + one.Recipient().String() + "\n\n" + two.Recipient().String() + "\r\n" + string(public))))
	object := encrypt(t, []byte("text"), recipients(t, list...))
	ids := must[[]seal.Identity](t)(seal.ParseIdentities(ssh, noPassphrase))
	for i, id := range []seal.Identity{one, two, ids[0]} {
		if got, err := readAll(t, object, seal.NewIdentities(id)); err != nil || string(got) != "text" {
			t.Errorf("identity %d: %q, %v", i, got, err)
		}
	}
}

// TestProtectedIdentities reads a file of identities that is encrypted itself.
func TestProtectedIdentities(t *testing.T) {
	key := newKey(t)
	rs := recipients(t, must[seal.Recipient](t)(seal.PassphraseRecipient("horse")))
	file := encrypt(t, []byte(key.String()+"\n"), rs)
	ids := must[[]seal.Identity](t)(seal.ParseIdentities(file, func() (string, error) { return "horse", nil }))
	object := encrypt(t, []byte("text"), recipients(t, key.Recipient()))
	if got, err := readAll(t, object, seal.NewIdentities(ids...)); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	for _, ask := range []func() (string, error){noPassphrase, func() (string, error) { return "cow", nil }, func() (string, error) { return "", nil }} {
		if _, err := seal.ParseIdentities(file, ask); err == nil {
			t.Error("it was opened without the passphrase")
		}
	}
	if _, err := seal.ParseIdentities(file, func() (string, error) { return "cow", nil }); !errors.Is(err, seal.ErrPassphrase) {
		t.Errorf("with a wrong passphrase: %v", err)
	}
	twice := encrypt(t, file, rs)
	if _, err := seal.ParseIdentities(twice, func() (string, error) { return "horse", nil }); err == nil {
		t.Error("it was protected twice, and opened")
	}
}

// TestRefused gives what is no recipient or no identity, or does not go together.
func TestRefused(t *testing.T) {
	key := newKey(t)
	for _, s := range []string{"", "age1", "age1nonsense", key.Recipient().String() + "x", "age1yubikey1qwerty", key.String(),
		strings.ToLower(key.String()), "ssh-ed25519 AAAA", "ssh-dss AAAA", "github:me", "-----BEGIN OPENSSH PRIVATE KEY-----"} {
		_, err := seal.ParseRecipient(s)
		if err == nil || strings.Contains(strings.ToUpper(err.Error()), "AGE-SECRET-KEY") {
			t.Errorf("recipient %q: %v", s, err)
		}
		if _, err := seal.ParseRecipients([]byte("# one\n" + s + "\n")); err == nil || s != "" && !strings.Contains(err.Error(), "line 2") {
			t.Errorf("recipients %q: %v", s, err)
		}
	}
	broken := key.String()[:40]
	for _, s := range []string{"", "# nothing\n", key.Recipient().String(), broken, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "age-encryption.org/v1\n"} {
		_, err := seal.ParseIdentities([]byte(s), func() (string, error) { return "x", nil })
		if err == nil || strings.Contains(err.Error(), broken) {
			t.Errorf("identities %q: %v", s, err)
		}
	}
	hybrid := must[*age.HybridIdentity](t)(age.GenerateHybridIdentity())
	phrase := must[seal.Recipient](t)(seal.PassphraseRecipient("horse"))
	for name, list := range map[string][]seal.Recipient{
		"none":                       nil,
		"a passphrase and a key":     {phrase, key.Recipient()},
		"a post-quantum key and one": {hybrid.Recipient(), key.Recipient()},
	} {
		if _, err := seal.NewRecipients(list...); err == nil {
			t.Errorf("%s: they go together", name)
		}
	}
	if rs := recipients(t, key.Recipient(), key.Recipient()); len(rs.Readers()) != 1 {
		t.Errorf("one recipient named twice: %q", rs.Readers())
	}
	if _, err := seal.PassphraseRecipient(""); err == nil {
		t.Error("an empty passphrase")
	}
}

// TestReaders compares who can read, as far as it is known.
func TestReaders(t *testing.T) {
	one, two := newKey(t), newKey(t)
	ssh := must[seal.Recipient](t)(seal.ParseRecipient(strings.TrimSpace(string(second(sshKey(t, "ed25519", ""))))))
	of := func(list ...seal.Recipient) seal.Readers { return recipients(t, list...).Readers() }
	read := func(list ...seal.Recipient) seal.Readers {
		m := &memory{object: encrypt(t, []byte("text"), recipients(t, list...))}
		var e *seal.LockedError
		if _, err := seal.Open(t.Context(), m, m.entry(), true, 10, nil); !errors.As(err, &e) {
			t.Fatal(err)
		}
		return e.Readers
	}
	r1, r2 := one.Recipient(), two.Recipient()
	for i, c := range []struct {
		a, b   seal.Readers
		differ bool
	}{
		{of(r1), of(r1), false},
		{of(r1, r2, ssh), of(ssh, r2, r1), false},
		{of(r1), of(r2), true},
		{of(r1), of(r1, r2), true},
		{of(r1), read(r1), false},
		{of(r1), read(r2), false}, // which cannot be told
		{of(r1, ssh), read(r2, ssh), false},
		{of(r1), read(r1, r2), true},
		{of(r1), read(ssh), true},
		{of(ssh), read(ssh), false},
		{of(r1), nil, true},
	} {
		if got := seal.ParseReaders(c.a.String()); got.Differ(c.a) {
			t.Errorf("%q is read as %q", c.a, got)
		}
		if c.a.Differ(c.b) != c.differ || c.b.Differ(c.a) != c.differ {
			t.Errorf("%d: %q and %q", i, c.a, c.b)
		}
	}
}

func second[A, B any](_ A, b B) B { return b }

// TestOncePerObject checks that an object's key is worked out once.
func TestOncePerObject(t *testing.T) {
	key := &counting{Identity: newKey(t)}
	ids := seal.NewIdentities(key)
	object := encrypt(t, []byte("text"), recipients(t, key.Identity.(*age.X25519Identity).Recipient()))
	for range 3 {
		if _, err := readAll(t, object, ids); err != nil {
			t.Fatal(err)
		}
	}
	if key.n != 1 {
		t.Errorf("the identity was asked %d times", key.n)
	}
}

type counting struct {
	age.Identity
	n int
}

func (c *counting) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	c.n++
	return c.Identity.Unwrap(stanzas)
}
