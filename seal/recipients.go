package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// A Recipient can read what is encrypted for it.
type Recipient = age.Recipient

// Recipients are those who can read what is encrypted for them. They may be used concurrently.
type Recipients struct {
	list    []age.Recipient
	readers Readers
}

// NewRecipients returns recipients of which each alone can read. Post-quantum keys do not go together with
// others, nor does a passphrase with anything.
func NewRecipients(list ...Recipient) (*Recipients, error) {
	rs := &Recipients{}
	for _, r := range list {
		reader, err := readerOf(r)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(rs.readers, reader) {
			rs.list, rs.readers = append(rs.list, r), append(rs.readers, reader)
		}
	}
	slices.Sort(rs.readers)
	switch {
	case len(rs.list) == 0:
		return nil, errors.New("no recipients")
	case !slices.Contains(rs.readers, passphrase):
	case len(rs.list) > 1:
		return nil, errors.New("a passphrase cannot be one of several recipients")
	default:
		return rs, nil // there is nothing to try, and it would take time
	}
	var header bytes.Buffer
	if _, err := age.Encrypt(&header, rs.list...); err != nil {
		return nil, err
	}
	if header.Len() > maxHeader {
		return nil, fmt.Errorf("%d recipients are too many: a header of %d bytes", len(rs.list), header.Len())
	}
	return rs, nil
}

// Encrypt returns a writer that encrypts to w. It has to be closed, which does not close w.
func (rs *Recipients) Encrypt(w io.Writer) (io.WriteCloser, error) { return age.Encrypt(w, rs.list...) }

// Readers returns what tells the recipients from others. It holds nothing secret.
func (rs *Recipients) Readers() Readers { return slices.Clone(rs.readers) }

// Most returns an upper bound for the size of n bytes when they are encrypted.
func Most(n int64) int64 { return n + (n/chunkSize+1)*overhead + nonceSize + maxHeader }

// ParseRecipient reads a public key: age1.., age1pq1.., or one of SSH, as in authorized_keys.
func ParseRecipient(s string) (Recipient, error) {
	switch {
	case strings.HasPrefix(strings.ToUpper(s), "AGE-SECRET-KEY-"), strings.HasPrefix(s, "-----BEGIN"):
		return nil, errors.New("that is a secret key: a recipient is the public one")
	case strings.HasPrefix(s, "age1pq1"):
		return age.ParseHybridRecipient(s)
	case strings.HasPrefix(s, "age1") && strings.Count(s, "1") > 1:
		return nil, fmt.Errorf("recipient %q: plugins of age are not supported", s)
	case strings.HasPrefix(s, "age1"):
		return age.ParseX25519Recipient(s)
	case strings.HasPrefix(s, "ssh-"):
		return agessh.ParseRecipient(s)
	}
	return nil, errors.New("a recipient begins with age1, age1pq1, ssh-ed25519 or ssh-rsa")
}

// ParseRecipients reads a list of public keys, one a line. Empty lines and those that begin with # are left
// out. There must be one.
func ParseRecipients(text []byte) ([]Recipient, error) {
	var all []Recipient
	n := 0
	for line := range bytes.Lines(text) {
		n++
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		r, err := ParseRecipient(s)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no recipients")
	}
	return all, nil
}

// workFactor is what trying a passphrase on an object costs: 64 MiB of memory and some 0.2 seconds, as a
// power of two. It is less than that of the age tool, because each object of a chain takes it anew.
const workFactor = 16

// PassphraseRecipient returns the recipient that whoever has the passphrase is.
func PassphraseRecipient(secret string) (Recipient, error) {
	r, err := age.NewScryptRecipient(secret)
	if err != nil {
		return nil, err
	}
	r.SetWorkFactor(workFactor)
	return r, nil
}

// Readers tell sets of recipients apart, by the kind of each and what is known of it besides: the tag of
// an SSH key, and, if the public key was at hand, a part of the hash of one of age's. They are sorted.
type Readers []string

// String returns the readers in one line, as [ParseReaders] takes it.
func (a Readers) String() string { return strings.Join(a, " ") }

// ParseReaders is the reverse of [Readers.String].
func ParseReaders(s string) Readers { return strings.Fields(s) }

// passphrase is the reader that a passphrase is.
const passphrase = "scrypt"

// readerOf returns what tells a recipient from others.
func readerOf(r age.Recipient) (string, error) {
	if _, ok := r.(*age.ScryptRecipient); ok {
		return passphrase, nil
	}
	stanzas, err := r.Wrap(make([]byte, 16))
	if err != nil {
		return "", err
	}
	reader := readersOf(stanzas)[0]
	if s, ok := r.(fmt.Stringer); ok {
		sum := sha256.Sum256([]byte(s.String()))
		reader += ":" + hex.EncodeToString(sum[:8])
	}
	return reader, nil
}

// readersOf returns what the header of an object tells of its recipients.
func readersOf(stanzas []*age.Stanza) Readers {
	var all Readers
	for _, s := range stanzas {
		reader := s.Type
		if strings.HasPrefix(s.Type, "ssh-") && len(s.Args) > 0 {
			reader += ":" + s.Args[0]
		}
		all = append(all, reader)
	}
	slices.Sort(all)
	return all
}

// Differ reports whether two sets of readers are not the same, as far as can be told.
func (a Readers) Differ(b Readers) bool { return !slices.Equal(a.known(b), b.known(a)) }

// known returns a without what is not known of the readers in b.
func (a Readers) known(b Readers) Readers {
	all := slices.Clone(a)
	for i, r := range all {
		kind, _, _ := strings.Cut(r, ":")
		if slices.Contains(b, kind) {
			all[i] = kind
		}
	}
	slices.Sort(all)
	return all
}
