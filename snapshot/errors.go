package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/litestash/litestash/internal/disk"
)

// Errors that [Take], [Check] and [Hold] return, wrapped in what they name. A path that does not
// exist is [io/fs.ErrNotExist], one that may not be read [io/fs.ErrPermission], and a temporary directory without
// room for the image [syscall.ENOSPC], see [SpaceError].
var (
	// ErrNotFile means that the path names a directory or anything else that is no regular file.
	ErrNotFile = errors.New("not a regular file")
	// ErrNotDatabase means that the file does not begin like an SQLite database. See
	// [NotDatabaseError].
	ErrNotDatabase = errors.New("not an SQLite database")
	// ErrDamaged means that the file could not be read as a database, or at all. See
	// [DamagedError] and [TruncatedError].
	ErrDamaged = errors.New("database is damaged")
	// ErrHotJournal means that a transaction crashed and its rollback journal is still to be
	// played back, which would write to the source. Opening the database once with its
	// application does it.
	ErrHotJournal = errors.New("a crashed transaction is pending in the rollback journal")
	// ErrBusy means that another process kept the database locked for the whole busy timeout.
	// See [BusyError].
	ErrBusy = errors.New("database is locked")
	// ErrNetworkFS means that the database is in WAL mode on a network file system, where the
	// shared memory that WAL mode rests on does not work (https://sqlite.org/wal.html, section 1).
	ErrNetworkFS = errors.New("WAL mode on a network file system")
	// ErrUnstable means that other processes kept opening and closing the database, or changing its
	// journal mode, so that no attempt at a snapshot could be completed.
	ErrUnstable = errors.New("database kept changing its state")
	// ErrInUse means that another process has the database open. See [InUseError].
	ErrInUse = errors.New("database is open in another process")
)

// errTruncated is what a [TruncatedError] is, and no other damage.
var errTruncated = errors.New("database is truncated")

// A NotDatabaseError names a file that does not begin like an SQLite database.
type NotDatabaseError struct {
	Path string
	// Encrypted is set if the file looks like an encrypted database: whole pages of noise.
	Encrypted bool
}

func (e *NotDatabaseError) Error() string {
	if e.Encrypted {
		return e.Path + ": not an SQLite database, perhaps an encrypted one"
	}
	return e.Path + ": not an SQLite database"
}

// Is reports whether target is [ErrNotDatabase].
func (e *NotDatabaseError) Is(target error) bool { return target == ErrNotDatabase }

// A TruncatedError names a database file that is shorter than it should be.
type TruncatedError struct {
	Path       string
	Size, Want int64 // bytes; Want is 0 if not even the header is whole
}

func (e *TruncatedError) Error() string {
	if e.Want == 0 {
		return fmt.Sprintf("%s: database is truncated to %d bytes", e.Path, e.Size)
	}
	return fmt.Sprintf("%s: database is truncated: %d bytes of %d", e.Path, e.Size, e.Want)
}

// Is reports whether target is [ErrDamaged].
func (e *TruncatedError) Is(target error) bool { return target == errTruncated || target == ErrDamaged }

// A DamagedError names a database that could not be read.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s: database is damaged: %v", e.Path, e.Err)
}

// Is reports whether target is [ErrDamaged].
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns what SQLite or the operating system said.
func (e *DamagedError) Unwrap() error { return e.Err }

// A BusyError names a database that stayed locked.
type BusyError struct {
	Path   string
	Waited time.Duration
	// Exclusive is set if the lock shuts out readers too: a commit that does not end, a transaction
	// begun as exclusive, or PRAGMA locking_mode=EXCLUSIVE.
	Exclusive bool
	PIDs      []int // who holds it, as far as could be found out
}

func (e *BusyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: database is locked", e.Path)
	if e.Exclusive {
		b.WriteString(" exclusively")
	}
	writePIDs(&b, " by", e.PIDs)
	fmt.Fprintf(&b, ", waited %v", e.Waited.Round(time.Millisecond))
	return b.String()
}

// Is reports whether target is [ErrBusy].
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// A SpaceError names a directory without room for what should go there.
type SpaceError = disk.SpaceError

// A SpoiltError says that a temporary file does not hold what was written to it.
type SpoiltError struct{ Page uint32 }

func (e *SpoiltError) Error() string {
	return fmt.Sprintf("page %d in the temporary file is not what was written there", e.Page)
}

// An InUseError names a database that another process has open.
type InUseError struct {
	Path string
	PIDs []int // who has it open, as far as could be found out
}

func (e *InUseError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: database is open in another process", e.Path)
	writePIDs(&b, ":", e.PIDs)
	return b.String()
}

// Is reports whether target is [ErrInUse].
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

func writePIDs(b *strings.Builder, lead string, pids []int) {
	if len(pids) == 0 {
		return
	}
	b.WriteString(lead)
	for i, pid := range pids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, " process %d", pid)
	}
}
