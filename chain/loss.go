package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// A Loss says what it means for the snapshots of a database that one of them is gone.
type Loss struct {
	Missing       format.ID
	Lost          []catalog.Snapshot // what rests on it, oldest first
	Before, After *catalog.Snapshot  // the nearest to these that can be restored, as far as a listing tells; nil if there is none
}

// Losses returns what is missing in a listing of all the snapshots of a database, in the order of time,
// that others rest on. What is deleted as it should be leaves none.
func Losses(all []catalog.Snapshot) []Loss {
	paths := catalog.Paths(all)
	var losses []Loss
	known := map[format.ID]int{}
	for i, p := range paths {
		if p.State != catalog.Broken {
			continue
		}
		n, ok := known[p.Missing]
		if !ok {
			n = len(losses)
			known[p.Missing] = n
			losses = append(losses, Loss{Missing: p.Missing, Before: nearest(all[:i], paths[:i], true)})
		}
		losses[n].Lost = append(losses[n].Lost, all[i])
	}
	for n := range losses {
		lost := losses[n].Lost
		after := indexAfter(all, lost[len(lost)-1].Name)
		losses[n].After = nearest(all[after:], paths[after:], false)
	}
	return losses
}

// lossOf returns what it means that an object is gone for the snapshots of a database, of which all were
// listed, in the order of time. Before and After are the nearest to the snapshot asked.
func lossOf(all []catalog.Snapshot, missing format.Key, asked format.Name) *Loss {
	there := slices.Clone(all)
	there = slices.DeleteFunc(there, func(s catalog.Snapshot) bool { return s.Name == missing.Name })
	loss := &Loss{Missing: missing.Name.ID}
	for _, l := range Losses(there) {
		if l.Missing == loss.Missing {
			loss.Lost = l.Lost
		}
	}
	if i, _ := slices.BinarySearchFunc(there, asked, compareName); i < len(there) && there[i].Name == asked {
		// It may rest on more than one that is gone, of which a listing shows only the last.
		if j, found := slices.BinarySearchFunc(loss.Lost, asked, compareName); !found {
			loss.Lost = slices.Insert(loss.Lost, j, there[i])
		}
	}
	paths, after := catalog.Paths(there), indexAfter(there, asked)
	loss.Before = nearest(there[:after], paths[:after], true)
	loss.After = nearest(there[after:], paths[after:], false)
	return loss
}

// indexAfter returns the index of the first snapshot that is later than name.
func indexAfter(all []catalog.Snapshot, name format.Name) int {
	i, found := slices.BinarySearchFunc(all, name, compareName)
	if found {
		i++
	}
	return i
}

func compareName(s catalog.Snapshot, n format.Name) int { return s.Name.Compare(n) }

// nearest returns the last or the first snapshot whose path is whole.
func nearest(all []catalog.Snapshot, paths []catalog.Path, last bool) *catalog.Snapshot {
	whole := func(p catalog.Path) bool { return p.State == catalog.Whole }
	if !last {
		if i := slices.IndexFunc(paths, whole); i >= 0 {
			return &all[i]
		}
		return nil
	}
	for i := len(paths) - 1; i >= 0; i-- {
		if whole(paths[i]) {
			return &all[i]
		}
	}
	return nil
}

// named is how many snapshots are named one by one before the rest is counted.
const named = 8

// String says which snapshots are lost and which are not.
func (l *Loss) String() string {
	var b strings.Builder
	switch n := len(l.Lost); {
	case n == 0:
		b.WriteString("nothing else rests on it")
	case n <= named:
		b.WriteString("lost with it: ")
		for i, s := range l.Lost {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(s.Name.String())
		}
	default:
		fmt.Fprintf(&b, "lost with it: %d snapshots from %v to %v", n, l.Lost[0].Name, l.Lost[n-1].Name)
	}
	switch {
	case l.Before != nil && l.After != nil:
		fmt.Fprintf(&b, "; the nearest that can be restored: %v before, %v after", l.Before.Name, l.After.Name)
	case l.Before != nil:
		fmt.Fprintf(&b, "; the nearest that can be restored: %v before", l.Before.Name)
	case l.After != nil:
		fmt.Fprintf(&b, "; the nearest that can be restored: %v after", l.After.Name)
	default:
		b.WriteString("; none can be restored")
	}
	return b.String()
}

// A LossError says that a snapshot is gone on which others of the database rest. It matches
// [format.ErrDamaged]: missing data is damage.
type LossError struct {
	Database string
	Loss
}

func (e *LossError) Error() string {
	return fmt.Sprintf("%s: the snapshot with the id %v is gone; %v", e.Database, e.Missing, &e.Loss)
}

// Is makes the error match [format.ErrDamaged].
func (e *LossError) Is(target error) bool { return target == format.ErrDamaged }

// Explain adds to an error that is a [HoleError] what the hole means for the other snapshots of the
// database, which it lists. Other errors it returns as they are.
func Explain(ctx context.Context, st store.Store, err error) error {
	var hole *HoleError
	if !errors.As(err, &hole) || hole.Loss != nil {
		return err
	}
	all, lerr := catalog.List(ctx, st, hole.Snapshot.Database)
	if lerr != nil && !errors.As(lerr, new(*catalog.NotFoundError)) {
		return errors.Join(err, fmt.Errorf("find what else is lost: %w", lerr))
	}
	hole.Loss = lossOf(all, hole.Missing, hole.Snapshot.Name)
	return err
}
