package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Versioner is a [Store] that can keep what was deleted or overwritten. Below each key it has
// versions, of which ordinary reads see the newest, and markers, which hide what is below them:
// [Store.Delete] puts one on top. A store that keeps no versions has the one that ordinary reads see.
//
// Keys of this program are used once, so the oldest version of a key is what its Create stored. All
// that is above it, somebody else has put there.
type Versioner interface {
	Store

	// Versioned says whether the store keeps versions of what is deleted from now on. Where it did so
	// earlier there may still be some.
	Versioned(ctx context.Context) (bool, error)

	// Versions yields all versions and markers of the keys that q selects, in the byte order of the
	// keys and of each key the newest first, and stops after the first error. A marker may come before
	// versions that were put above it within the same second.
	Versions(ctx context.Context, q Query) iter.Seq2[Version, error]

	// OpenVersion is [Store.Open] for a version, whether ordinary reads see it or not. A marker has
	// nothing to read: [fs.ErrNotExist].
	OpenVersion(ctx context.Context, v Version, off, n int64) (io.ReadCloser, error)

	// DeleteVersion removes a version or a marker for good: what is below it comes to light. One that
	// is not there is not an error. What is locked is a [LockedError].
	DeleteVersion(ctx context.Context, v Version) error

	// CopyVersion puts a copy of v on top of its key, so that ordinary reads see its content. Nothing is
	// removed, so it works where what lies above v is locked. The copy is not locked, and its ETag may
	// be another than v's.
	CopyVersion(ctx context.Context, v Version) (Object, error)
}

// A Version is one of those that a key has, as [Versioner.Versions] reports it.
type Version struct {
	Object        // of a marker only Key and Stored
	ID     string // opaque, and unique below the key
	Marker bool   // it holds nothing and hides what is below
	Newest bool   // it is what ordinary reads see, or do not see for a marker
}

// Oldest returns the oldest version of a key, which is what was created under it, whatever has been put
// above it since. If there is none the error is [fs.ErrNotExist]. It costs one listing.
func Oldest(ctx context.Context, st Versioner, key string) (Version, error) {
	var oldest Version
	found := false
	for v, err := range st.Versions(ctx, Query{Prefix: key, Shallow: true}) {
		if err != nil {
			return Version{}, err
		}
		if v.Key != key {
			break // a longer one: all of this key came before
		}
		if !v.Marker {
			oldest, found = v, true
		}
	}
	if !found {
		return Version{}, fmt.Errorf("%s has no version: %w", key, fs.ErrNotExist)
	}
	return oldest, nil
}

// A Locker is a [Store] that can keep objects from being deleted, by anyone, until a time. What is
// locked can still be hidden or overwritten where the store is a [Versioner], as every known one is.
type Locker interface {
	Store

	// CanLock returns nil if the store can lock objects, and [ErrCannotLock] if not. Once it could, it
	// is not asked again.
	CanLock(ctx context.Context) error

	// CreateLocked is [Store.Create] of an object that is locked from its first moment on. A store that
	// cannot lock, see CanLock, stores nothing.
	CreateLocked(ctx context.Context, key string, body io.Reader, most int64, lock Lock) (Object, error)

	// ExtendLock makes sure that the object under key, which may not be locked yet, is locked at
	// least as lock says, and never shortens or weakens a lock. It is [ErrLockMode] if it would have to
	// be stricter and the store does not allow that, and [fs.ErrNotExist] if there is no object.
	ExtendLock(ctx context.Context, key string, lock Lock) error

	// LockOf returns the lock of the object under key, or, if id is not empty, of that version. It is
	// zero if it never had one, and may have ended. If there is no object the error is [fs.ErrNotExist].
	LockOf(ctx context.Context, key, id string) (Lock, error)
}

// A VersionLocker is a [Store] that keeps versions and can lock them.
type VersionLocker interface {
	Versioner
	Locker
}

// locksAtOnce is how many locks are asked for at once: small requests.
const locksAtOnce = 16

// CreatedLocks returns the locks of what was created under keys, which lie in one folder: of the oldest version of
// each, whatever lies above it. A key that has no version has none. It costs a listing of the versions from the
// first key to the last, and one request for each.
func CreatedLocks(ctx context.Context, st VersionLocker, keys []string) ([]Lock, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	oldest, err := oldestVersions(ctx, st, keys)
	if err != nil {
		return nil, err
	}
	locks := make([]Lock, len(keys))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(locksAtOnce)
	for i, key := range keys {
		id, ok := oldest[key]
		if !ok {
			continue
		}
		g.Go(func() (err error) {
			if locks[i], err = st.LockOf(ctx, key, id); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return err
		})
	}
	return locks, g.Wait()
}

// oldestVersions returns the ids of the oldest versions of keys, which lie in one folder, of those that have any.
func oldestVersions(ctx context.Context, st Versioner, keys []string) (map[string]string, error) {
	first, last := slices.Min(keys), slices.Max(keys)
	q := Query{Prefix: first, Shallow: true}
	for !strings.HasPrefix(last, q.Prefix) {
		q.Prefix = q.Prefix[:len(q.Prefix)-1]
	}
	if first != q.Prefix {
		q.After = first[:len(first)-1] // the first key is after that, and nearly nothing in between
	}
	oldest := map[string]string{}
	for v, err := range st.Versions(ctx, q) {
		if err != nil {
			return nil, err
		}
		if v.Key > last {
			break
		}
		if !v.Marker {
			oldest[v.Key] = v.ID
		}
	}
	return oldest, nil
}

// A Lock keeps an object from being deleted until a time by the store's clock, which all servers keep
// to the second. Zero is none.
type Lock struct {
	Mode  LockMode
	Until time.Time
}

// A LockMode says who can end a lock early.
type LockMode string

// The modes of S3 Object Lock.
const (
	Governance LockMode = "governance" // those with a right of their own for that
	Compliance LockMode = "compliance" // nobody
)

// Covers says whether l keeps an object for as long and as strictly as other.
func (l Lock) Covers(other Lock) bool {
	return !l.Until.Before(other.Until) && (l.Mode == other.Mode || l.Mode == Compliance)
}

// A LockedError says that an object cannot be deleted yet.
type LockedError struct {
	Key  string
	Lock Lock
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is locked until %s, in %s mode", e.Key, e.Lock.Until.UTC().Format(time.RFC3339), e.Lock.Mode)
}
