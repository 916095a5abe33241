package seal

import (
	"errors"
	"fmt"
	"strings"

	"github.com/litestash/litestash/format"
)

// ErrPassphrase says that identities are protected by another passphrase than the one that was given.
var ErrPassphrase = errors.New("the passphrase does not open them")

// A LockedError says that no identity opens an object.
type LockedError struct {
	Key     string  // of the object
	Readers Readers // for whom its header says it is
	Tried   int     // identities
}

func (e *LockedError) Error() string {
	var names []string
	for _, r := range e.Readers {
		names = append(names, describe(r))
	}
	what := e.Key + " is encrypted, for " + strings.Join(names, " or ")
	if e.Tried == 0 {
		return what + ", and no identity was given"
	}
	return what + ", and is not opened by what was given"
}

// describe returns a reader in words. It may be anything that somebody wrote into a header.
func describe(reader string) string {
	kind, tag, _ := strings.Cut(reader, ":")
	switch kind {
	case passphrase:
		return "a passphrase (scrypt)"
	case "X25519":
		return "a key of age (X25519)"
	case "mlkem768x25519":
		return "a post-quantum key of age (mlkem768x25519)"
	case "ssh-ed25519", "ssh-rsa":
		return fmt.Sprintf("the SSH key with the tag %q (%s)", tag, kind)
	}
	return fmt.Sprintf("a recipient of the unknown kind %q", kind)
}

func damaged(msg string, args ...any) error {
	return fmt.Errorf("%w: %s", format.ErrDamaged, fmt.Sprintf(msg, args...))
}
