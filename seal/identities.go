package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
)

// An Identity is a secret that opens what is encrypted for its recipient.
type Identity = age.Identity

// Identities are the secrets that open what is encrypted, each for itself. They may be used concurrently,
// and remember the keys of the objects that they have opened, so that none is worked out twice. Nil has
// no identities.
type Identities struct {
	list []age.Identity

	mu   sync.Mutex // also so that not several passphrases at once take their memory
	keys map[[sha256.Size]byte][]byte
}

// NewIdentities returns identities.
func NewIdentities(list ...Identity) *Identities {
	return &Identities{list: slices.Clone(list), keys: map[[sha256.Size]byte][]byte{}}
}

// maxWorkFactor is the most that the header of an object may make us spend on trying a passphrase: 256 MiB
// and a second, which the age tool's own take.
const maxWorkFactor = 18

// PassphraseIdentity returns the identity that opens what was encrypted with a passphrase.
func PassphraseIdentity(secret string) (Identity, error) {
	i, err := age.NewScryptIdentity(secret)
	if err != nil {
		return nil, err
	}
	i.SetMaxWorkFactor(maxWorkFactor)
	return i, nil
}

// ParseIdentities reads a file of secrets: of age, as age-keygen writes them, or a private key of SSH. Should
// it be protected by a passphrase, that is asked for; if it is another one the error is [ErrPassphrase].
func ParseIdentities(text []byte, ask func() (string, error)) ([]Identity, error) {
	const armored = armor.Header
	switch {
	case bytes.HasPrefix(text, []byte(intro)):
		return parseProtected(bytes.NewReader(text), ask)
	case bytes.HasPrefix(text, []byte(armored)):
		return parseProtected(armor.NewReader(bytes.NewReader(text)), ask)
	case bytes.HasPrefix(text, []byte("-----BEGIN")):
		return parseSSH(text, ask)
	}
	list, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		// The error might quote what is a secret, if misspelt.
		return nil, errors.New("it holds neither identities of age, one a line, nor a private key of SSH")
	}
	return list, nil
}

// parseProtected reads a file of identities that is encrypted with a passphrase.
func parseProtected(r io.Reader, ask func() (string, error)) ([]Identity, error) {
	secret, err := ask()
	if err != nil {
		return nil, err
	}
	i, err := age.NewScryptIdentity(secret)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(r, i)
	if errors.As(err, new(*age.NoIdentityMatchError)) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("open it with the passphrase: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(plain, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("open it with the passphrase: %w", err)
	}
	return ParseIdentities(text, func() (string, error) { return "", errors.New("it is protected twice") })
}

func parseSSH(text []byte, ask func() (string, error)) ([]Identity, error) {
	i, err := agessh.ParseIdentity(text)
	if !errors.As(err, new(*ssh.PassphraseMissingError)) {
		return []Identity{i}, err
	}
	secret, err := ask()
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParseRawPrivateKeyWithPassphrase(text, []byte(secret))
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("open it with the passphrase: %w", err)
	}
	if i, err = sshIdentity(key); err != nil {
		return nil, err
	}
	return []Identity{i}, nil
}

// sshIdentity returns the identity that a private key of SSH is.
func sshIdentity(key any) (Identity, error) {
	switch k := key.(type) {
	case *ed25519.PrivateKey:
		return agessh.NewEd25519Identity(*k)
	case *rsa.PrivateKey:
		return agessh.NewRSAIdentity(k)
	}
	return nil, errors.New("a key of SSH of this kind cannot decrypt: only ed25519 and rsa can")
}

// unwrap returns the key of the object that begins with header, and for whom that is. If none of
// the identities fits it is a [LockedError], without the object's key.
func (ids *Identities) unwrap(header []byte) ([]byte, Readers, error) {
	stanzas := new(peek)
	_, err := age.DecryptHeader(header, stanzas)
	readers := readersOf(stanzas.list)
	if !errors.As(err, new(*age.NoIdentityMatchError)) {
		return nil, nil, damaged("%v", err)
	}
	if ids == nil || len(ids.list) == 0 {
		return nil, readers, &LockedError{Readers: readers}
	}
	sum := sha256.Sum256(header)
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if key := ids.keys[sum]; key != nil {
		return key, readers, nil
	}
	key, err := age.DecryptHeader(header, slices.Clone(ids.list)...) // it sorts what it is given
	switch {
	case errors.As(err, new(*age.NoIdentityMatchError)):
		return nil, readers, &LockedError{Readers: readers, Tried: len(ids.list)}
	case err != nil:
		return nil, nil, damaged("%v", err)
	}
	ids.keys[sum] = key
	return key, readers, nil
}

// A peek is an identity that fits nothing and keeps what it was tried on.
type peek struct{ list []*age.Stanza }

func (p *peek) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	p.list = stanzas
	return nil, age.ErrIncorrectIdentity
}
