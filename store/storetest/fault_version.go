package storetest

import (
	"context"
	"io"
	"iter"

	"github.com/litestash/litestash/store"
)

// A FaultyVersioner is a [Faulty] that is a [store.Versioner] as well. The calls for versions are counted with the
// others: "Versions", "OpenVersion", "DeleteVersion" and "CopyVersion".
type FaultyVersioner struct {
	*Faulty
	store store.Versioner
}

// FaultVersions returns a store that hands every call to s but for those that the plan lets go wrong.
func FaultVersions(s store.Versioner, plan ...Step) *FaultyVersioner {
	return &FaultyVersioner{Fault(s, plan...), s}
}

// Versioned implements [store.Versioner]. It does not fail: it is asked for what to say, not for what to do.
func (f *FaultyVersioner) Versioned(ctx context.Context) (bool, error) { return f.store.Versioned(ctx) }

// Versions implements [store.Versioner]. After yields everything and then the error, Cut every version before the
// middle one.
func (f *FaultyVersioner) Versions(ctx context.Context, q store.Query) iter.Seq2[store.Version, error] {
	return faultList(ctx, f.Faulty, "Versions", q.Prefix, f.store.Versions(ctx, q))
}

// OpenVersion implements [store.Versioner]. Cut ends the body after half of it with [io.ErrUnexpectedEOF].
func (f *FaultyVersioner) OpenVersion(ctx context.Context, v store.Version, off, n int64) (io.ReadCloser, error) {
	return f.open(ctx, "OpenVersion", v.Object, off, n, func() (io.ReadCloser, error) { return f.store.OpenVersion(ctx, v, off, n) })
}

// DeleteVersion implements [store.Versioner]. There is nothing to cut, so that Cut is Before.
func (f *FaultyVersioner) DeleteVersion(ctx context.Context, v store.Version) error {
	return f.whole(ctx, "DeleteVersion", v.Key, func() error { return f.store.DeleteVersion(ctx, v) })
}

// CopyVersion implements [store.Versioner]. There is nothing to cut, so that Cut is Before.
func (f *FaultyVersioner) CopyVersion(ctx context.Context, v store.Version) (o store.Object, err error) {
	err = f.whole(ctx, "CopyVersion", v.Key, func() error {
		o, err = f.store.CopyVersion(ctx, v)
		return err
	})
	if err != nil {
		o = store.Object{}
	}
	return o, err
}
