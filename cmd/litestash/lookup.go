package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
)

// A lookup finds what people ask for in a store, and tells if that is less than this host has pushed there.
type lookup struct {
	st       store.Store
	stateDir string
	pushed   map[string]format.Name // the newest that was remembered at first, by database
}

// openLookup opens the store that the command line names.
func (p *program) openLookup(ctx context.Context) (*lookup, error) {
	st, err := p.openStore(ctx)
	if err != nil {
		return nil, err
	}
	pushed, err := state.Remembered(p.stateDir, fmt.Sprint(st))
	return &lookup{st, p.stateDir, pushed}, err
}

// find returns the snapshot that m asks for, and, newest first, what else was seen on the way. It is a
// [staleError] if this host has pushed a newer one that is not after m: what is there is an older database. One that is
// asked for by its name is found all the same.
func (l *lookup) find(ctx context.Context, database string, m moment) (catalog.Snapshot, []catalog.Snapshot, error) {
	snap, seen, err := m.find(ctx, l.st, database)
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		return snap, seen, err
	}
	if lost := l.lost(database, m, snap.Name, l.remembered); lost != nil {
		return snap, seen, lost
	}
	return snap, seen, err
}

// remembered returns what is remembered now.
func (l *lookup) remembered() (map[string]format.Name, error) {
	return state.Remembered(l.stateDir, fmt.Sprint(l.st))
}

// lost returns a [staleError] if this host has pushed a snapshot that m asks for and found, which may be zero, is older.
// remembered tells what is remembered since that was found.
func (l *lookup) lost(database string, m moment, found format.Name, remembered func() (map[string]format.Name, error)) error {
	stale := func(pushed format.Name) bool {
		return !pushed.IsZero() && m.name.IsZero() && (m.latest || pushed.Time <= format.TimeOf(m.time)) && found.Compare(pushed) < 0
	}
	pushed := l.pushed[database]
	if !stale(pushed) {
		return nil
	}
	// Who deletes forgets before. What has been pushed since that was read is in no listing that was made before.
	now, err := remembered()
	if err != nil {
		return err
	}
	if still := now[database]; still.Compare(pushed) < 0 && !stale(still) {
		return nil
	}
	return &staleError{database, pushed, found}
}

// losses returns what is lost, see lost, of all databases of which this host has pushed any, or of the one that is named.
// newest are the newest that were found for m.
func (l *lookup) losses(name string, m moment, newest []catalog.Snapshot) []error {
	found := map[string]format.Name{}
	for _, s := range newest {
		found[s.Database] = s.Name
	}
	remembered := sync.OnceValues(l.remembered) // not for each of thousands
	var all []error
	for _, database := range slices.Sorted(maps.Keys(l.pushed)) {
		if name != "" && name != database {
			continue
		}
		if err := l.lost(database, m, found[database], remembered); err != nil {
			all = append(all, err)
		}
	}
	return all
}

// A staleError says that the store has nothing as new as what this host has pushed. It matches
// [format.ErrDamaged]: missing data is damage.
type staleError struct {
	database      string
	pushed, found format.Name // found may be zero
}

func (e *staleError) Error() string {
	if e.found.IsZero() {
		return fmt.Sprintf("the store has lost %v of %s, which was pushed from here, and holds none that was asked for", e.pushed, e.database)
	}
	return fmt.Sprintf("the store has lost %v of %s, which was pushed from here: the newest that was asked for and is there is %v",
		e.pushed, e.database, e.found)
}

func (e *staleError) Is(target error) bool { return target == format.ErrDamaged }
