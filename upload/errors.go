package upload

import (
	"fmt"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
)

// A SourceError says that the newest snapshot under a name was taken of another file.
type SourceError struct {
	Newest       catalog.Snapshot
	Theirs, Ours format.Source
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("database %q belongs to %s on host %s (newest snapshot %v), not to %s on host %s",
		e.Newest.Database, e.Theirs.Path, e.Theirs.Host, e.Newest.Name, e.Ours.Path, e.Ours.Host)
}

// An UnknownSourceError says that the newest snapshot under a name is encrypted, so that it does not tell
// which file it was taken of, and that its lineage is not the one that the file to be pushed gives.
type UnknownSourceError struct {
	Newest catalog.Snapshot
	Ours   format.Source
	Err    *seal.LockedError
}

func (e *UnknownSourceError) Error() string {
	return fmt.Sprintf("database %q may belong to another file than %s on host %s: its newest snapshot has another lineage, and %v",
		e.Newest.Database, e.Ours.Path, e.Ours.Host, e.Err)
}

// A PlaintextError says that the newest snapshot under a name is encrypted, and that the one to be pushed
// would not be.
type PlaintextError struct{ Newest format.Key }

func (e *PlaintextError) Error() string {
	return fmt.Sprintf("database %q is kept encrypted (newest snapshot %v), and this snapshot would not be", e.Newest.Database, e.Newest.Name)
}

// A DecayError says that the newest snapshot, or something that it rests on, is damaged, so that
// nothing could be built on it. It matches [format.ErrDamaged].
type DecayError struct {
	Database string
	Err      error // what is damaged and how
}

func (e *DecayError) Error() string {
	return fmt.Sprintf("the newest snapshot of %s is damaged: %v", e.Database, e.Err)
}

// Unwrap returns what is damaged and how.
func (e *DecayError) Unwrap() error { return e.Err }

// A LostError says that the store no longer holds the newest snapshot that this host remembers to
// have pushed. It matches [format.ErrDamaged]: missing data is damage.
type LostError struct {
	Database string
	Key      string // the last part of its key
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the store has lost %s/%s, the newest snapshot that was pushed from here", e.Database, e.Key)
}

// Is makes the error match [format.ErrDamaged].
func (e *LostError) Is(target error) bool { return target == format.ErrDamaged }
