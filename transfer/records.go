package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// maxRecord bounds the size of a hold or a proof in bytes.
const maxRecord = 1 << 20

// copyRecords copies what is recorded of the snapshots that are in the copy, as far as it is true of that as well
// and the copy lacks it.
func (t *transfer) copyRecords(ctx context.Context, database string) error {
	all, err := catalog.Records(ctx, t.from, database)
	if err != nil {
		return err
	}
	if all = catalog.Portable(all); len(all) == 0 {
		return nil
	}
	known, err := catalog.Records(ctx, t.to, database)
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	there := make(map[string]bool, len(known))
	for _, r := range known {
		there[r.Object.Key] = true
	}
	_, snapshots, err := t.listCopy(ctx, database)
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	inCopy := make(map[format.Name]bool, len(snapshots))
	for _, s := range snapshots {
		inCopy[s.Name] = true
	}
	for _, r := range all {
		if there[r.Object.Key] || !inCopy[r.Snapshot] {
			continue
		}
		if err := t.copyRecord(ctx, r); err != nil {
			return fmt.Errorf("copy %s: %w", r.Object.Key, err)
		}
	}
	return nil
}

func (t *transfer) copyRecord(ctx context.Context, r catalog.Record) error {
	if r.Object.Size > maxRecord {
		return fmt.Errorf("%w: a record of %d bytes", format.ErrDamaged, r.Object.Size)
	}
	text, err := store.ReadRange(ctx, t.from, r.Object, 0, r.Object.Size)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // taken back meanwhile
	}
	if err != nil {
		return err
	}
	_, err = t.to.Create(ctx, r.Object.Key, bytes.NewReader(text), r.Object.Size)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		t.result.Records++
	}
	return err
}
