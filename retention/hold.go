package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A GoingError says that a snapshot cannot be held any more: it, or one that it rests on, is gone or has
// been announced to be deleted.
type GoingError struct {
	Snapshot, Going format.Name // Going has no time if only its id is known
	Gone            bool
}

func (e *GoingError) Error() string {
	what := "is about to be deleted"
	if e.Gone {
		what = "is gone"
	}
	if e.Going == e.Snapshot {
		return fmt.Sprintf("the snapshot %v %s", e.Snapshot, what)
	}
	return fmt.Sprintf("what the snapshot %v rests on, %v, %s", e.Snapshot, e.Going.ID, what)
}

// removeTimeout is how long the removal of a hold that came too late may take.
const removeTimeout = time.Minute

// Hold keeps a snapshot, and what it rests on, from being deleted until [Unhold]. When it returns nil no
// deletion, also none that has begun, will delete any of it. A snapshot that does not exist is a
// [catalog.NotFoundError], one for which the hold comes too late a [GoingError].
func Hold(ctx context.Context, st store.Store, database string, name format.Name) error {
	if _, err := catalog.Get(ctx, st, database, name); err != nil {
		return err
	}
	h, err := catalog.PlaceHold(ctx, st, database, name)
	if err == nil {
		err = lookAgain(ctx, st, database, name)
	}
	if err == nil {
		return nil
	}
	// It may have been too late, or it is not known: nobody is to believe in it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	return errors.Join(err, catalog.RemoveHold(ctx, st, h))
}

// lookAgain returns a [GoingError] if a snapshot, or any of what it rests on, was announced to be deleted before it was
// held, or is gone.
func lookAgain(ctx context.Context, st store.Store, database string, name format.Name) error {
	troubled, err := catalog.Stays(ctx, st, database, name)
	if err != nil {
		return err
	}
	if t, ok := troubled[name]; ok {
		return &GoingError{name, t.Snapshot, t.Gone}
	}
	return nil
}

// Unhold removes every hold on a snapshot and returns how many there were.
func Unhold(ctx context.Context, st store.Store, database string, name format.Name) (int, error) {
	holds, err := catalog.Holds(ctx, st, database)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, h := range holds {
		if h.Snapshot != name {
			continue
		}
		if err := catalog.RemoveHold(ctx, st, h); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
