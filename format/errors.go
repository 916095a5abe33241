package format

import (
	"errors"
	"fmt"
)

// ErrDamaged is wrapped by every error that says that bytes are not what a snapshot's object
// holds at that place.
var ErrDamaged = errors.New("damaged")

// A VersionError says that an object is of a format version that this package cannot read.
type VersionError struct{ Version uint32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("format version %d; this program reads version %d", e.Version, Version)
}
