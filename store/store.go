// Package store keeps objects by key: in an S3-compatible bucket or in a directory.
//
// It knows nothing of snapshots. Start with [Open], which takes the URL a user typed, or with
// [OpenDir] and [OpenS3]. Package storetest holds the suite that every implementation and every
// wrapper must pass.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// A Store holds objects by key. Keys are relative, slash-separated UTF-8 without control
// characters, empty, "." or ".." parts. An object never changes once it is written.
//
// Methods may be called concurrently. They retry what is transient, with pauses that end when the
// context does, so an error they return is final for now. Errors match, with [errors.Is],
// [fs.ErrNotExist], [fs.ErrExist], [ErrChanged], [ErrNoBucket], [ErrDenied] or [ErrUnreachable]
// where these apply, or are the context's own.
type Store interface {
	// Create stores what body yields, whatever its length, under a new key. When it returns nil
	// the object is durable, whole and readable. On error nothing is visible under key, or the
	// error is [ErrUnknown] and Create has already looked. An error from body is returned
	// wrapped, and nothing is stored. A key that is taken is [fs.ErrExist]; where a server cannot
	// promise that, Create makes sure as well as it can, so callers choose keys that are unique.
	//
	// most is an upper bound for the length in bytes, or 0 when there is none: it sizes the parts.
	// A body that exceeds it may fail.
	Create(ctx context.Context, key string, body io.Reader, most int64) (Object, error)

	// Open reads n bytes of o from off on; n < 0 reads to the end. It reads exactly the version
	// that o names: [fs.ErrNotExist] if that is gone, [ErrChanged] if the key holds another. A
	// body that ends early returns [io.ErrUnexpectedEOF], never io.EOF. The caller closes it.
	Open(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error)

	// List yields what q selects in the byte order of the keys, and stops after the first error.
	List(ctx context.Context, q Query) iter.Seq2[Object, error]

	// Delete removes the key. An absent key is not an error.
	Delete(ctx context.Context, key string) error

	// Skew returns how far the store's clock is ahead of this host's (negative: behind), good to
	// about a second, from the latest answer that told the time, asking if there was none yet.
	Skew(ctx context.Context) (time.Duration, error)
}

// A Query selects keys.
type Query struct {
	Prefix  string // only keys that begin with it; empty selects all
	After   string // only keys greater than it; empty starts at the first
	Shallow bool   // only keys without a slash after Prefix
}

// An Object is one stored version of a key, as [Store.List] and [Store.Create] report it.
type Object struct {
	Key    string
	Size   int64     // bytes
	Stored time.Time // by the store's clock
	ETag   string    // opaque; changes with the content. Empty pins nothing.
}

var (
	// ErrChanged says that a key holds another object than the one that was asked for.
	ErrChanged = errors.New("the object was replaced")
	// ErrUnknown says that a Create may or may not have taken effect and looking did not tell.
	ErrUnknown = errors.New("it is not known whether the object was stored")
	// ErrNoBucket says that the bucket or directory that should hold the objects is not there.
	ErrNoBucket = errors.New("the bucket or directory does not exist")
	// ErrDenied says that there were no credentials, or that the store refused them.
	ErrDenied = errors.New("access denied")
	// ErrForbidden is the [ErrDenied] of a server that says why: it is not the credentials, they lack a right.
	ErrForbidden = fmt.Errorf("%w", ErrDenied)
	// ErrCannotLock says that the store cannot lock objects, or that its bucket was not made for it.
	ErrCannotLock = errors.New("the store cannot lock objects")
	// ErrLockMode says that an object is locked in a laxer mode, and that the store does not change that.
	ErrLockMode = errors.New("the object is locked in another mode")
	// ErrUnreachable says that the store did not answer, or only with passing failures.
	ErrUnreachable = errors.New("the store cannot be reached")
)
