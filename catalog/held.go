package catalog

import (
	"context"
	"fmt"
	"iter"
	"path"
	"strings"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// HoldPrefix is what the keys of holds begin with.
const HoldPrefix = format.Reserved + "/held/"

// A Hold is an object that keeps a snapshot, and what that rests on, from being deleted, whoever asks for
// it. Each is an object of its own, so that of two who hold the same snapshot neither undoes what the
// other has claimed.
type Hold struct {
	Database string
	Snapshot format.Name
	Key      string
}

// Holds returns the holds on snapshots of a database, in the order of these. Whatever is kept in their
// place under the name of a snapshot counts as one, also in a later version's form: it is better to keep
// too much.
func Holds(ctx context.Context, st store.Store, database string) ([]Hold, error) {
	var all []Hold
	for h, err := range listHolds(ctx, st, store.Query{Prefix: HoldPrefix + database + "/", Shallow: true}) {
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// AllHolds yields the holds of all databases, those of each in the order of [Holds], and stops after the first error.
func AllHolds(ctx context.Context, st store.Store) iter.Seq2[Hold, error] {
	return listHolds(ctx, st, store.Query{Prefix: HoldPrefix})
}

func listHolds(ctx context.Context, st store.Store, q store.Query) iter.Seq2[Hold, error] {
	return func(yield func(Hold, error) bool) {
		for o, err := range st.List(ctx, q) {
			if err != nil {
				yield(Hold{}, fmt.Errorf("list holds: %w", err))
				return
			}
			database, derr := format.ParseDatabase(path.Dir(strings.TrimPrefix(o.Key, HoldPrefix)))
			if n, ok := leadingName(o.Key); ok && derr == nil && !yield(Hold{database, n, o.Key}, nil) {
				return
			}
		}
	}
}

// PlaceHold stores a hold on a snapshot. Whether it came in time is for the caller to find out, who
// looks afterwards: if the snapshot was announced to be deleted by then, it did not.
//
// After an error there may be a hold nevertheless, the one that is returned.
func PlaceHold(ctx context.Context, st store.Store, database string, snapshot format.Name) (Hold, error) {
	made := NewName()
	h := Hold{database, snapshot, HoldPrefix + database + "/" + snapshot.String() + "." + made.String() + ".json"}
	detail := map[string]string{"snapshot": snapshot.String(), "held": made.Time.String()}
	if err := createJSON(ctx, st, h.Key, detail); err != nil {
		return h, fmt.Errorf("hold %v: %w", snapshot, err)
	}
	return h, nil
}

// RemoveHold removes a hold, if it is still there.
func RemoveHold(ctx context.Context, st store.Store, h Hold) error {
	if !strings.HasPrefix(h.Key, HoldPrefix) {
		return fmt.Errorf("%q is no hold", h.Key)
	}
	if err := st.Delete(ctx, h.Key); err != nil {
		return fmt.Errorf("remove the hold on %v: %w", h.Snapshot, err)
	}
	return nil
}
