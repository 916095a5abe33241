// Package uploadtest pushes databases that are in memory, for tests of what is done with snapshots.
package uploadtest

import (
	"context"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/upload"
)

// Push stores data, whole pages of pageSize bytes, as it is said to be at the time taken. Without a memory in
// opts nothing is remembered of it.
func Push(ctx context.Context, st store.Store, opts upload.Options, pageSize int, data []byte, taken time.Time) (*upload.Result, error) {
	if opts.Memory == nil {
		m, err := state.New(opts.TempDir)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		opts.Memory = m
	}
	p, err := upload.Begin(ctx, st, opts)
	if err != nil {
		return nil, err
	}
	return p.Commit(ctx, Take(pageSize, data, taken))
}

// Take returns what takes images of data for [upload.Push.Commit].
func Take(pageSize int, data []byte, taken time.Time) func(format.Salt, *upload.Base) (upload.Image, error) {
	return func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
		return memimage.New(salt, pageSize, data, taken), nil
	}
}
