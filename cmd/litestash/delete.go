package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
)

func (p *program) deleteCommand() *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "delete snapshots by their exact names",
		ArgsUsage: "NAME [SNAPSHOT...]",
		Description: "Deletes snapshots of the database NAME. Each is named exactly, and none that is held, or that\n" +
			"another one rests on, is deleted. What is deleted cannot be brought back, but by recover from a\n" +
			"bucket that keeps versions.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all-snapshots", Usage: "delete all that there is of the database, old versions included"},
			&cli.StringFlag{Name: "confirm", Usage: "with --all-snapshots, say the `NAME` once more"},
			&cli.BoolFlag{Name: "even-held", Usage: "with --all-snapshots, delete those that are held as well"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be deleted"},
		},
		Action: p.delete,
	}
}

// A deleted is one line of delete's results.
type deleted struct {
	Database string `json:"database"`
	Snapshot string `json:"snapshot"`
	Freed    int64  `json:"freed"`
	DryRun   bool   `json:"dry_run,omitempty"`
}

func (p *program) delete(c *cli.Context) error {
	if c.Bool("all-snapshots") {
		return p.deleteAll(c)
	}
	if c.IsSet("confirm") || c.IsSet("even-held") {
		return usagef("delete: --confirm and --even-held go with --all-snapshots")
	}
	if err := wantArgs(c, 2, anyNumber); err != nil {
		return err
	}
	name, err := parseName(c.Args().First())
	if err != nil {
		return err
	}
	want := retention.Names{}
	for _, s := range c.Args().Slice()[1:] {
		n, err := format.ParseName(s)
		if err != nil {
			return usagef("delete takes exact names such as 20261122T073500.004Z-7q3dk29f0a1bc, which litestash list %s shows, and not %q", shellQuote(name), s)
		}
		want[n] = true
	}
	st, err := p.openStore(c.Context)
	if err != nil {
		return err
	}
	doomed, err := p.mayGo(c.Context, st, name, want)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return p.printDeleted(doomed, true)
	}
	return p.deleteNamed(c.Context, st, name, want, doomed)
}

// mayGo returns the snapshots in want if all of them can be deleted.
func (p *program) mayGo(ctx context.Context, st store.Store, name string, want retention.Names) ([]catalog.Snapshot, error) {
	survey, err := retention.Look(ctx, st, name)
	if err != nil {
		return nil, err
	}
	doomed, err := named(survey, want)
	if err != nil {
		return nil, err
	}
	if err := survey.CheckFree(want); err != nil {
		return nil, err
	}
	locked, err := p.lockedUntil(ctx, st)
	if err != nil {
		return nil, err
	}
	return doomed, retention.CheckLocks(ctx, doomed, locked)
}

// deleteNamed deletes the snapshots in want, which are doomed, and prints which are gone.
func (p *program) deleteNamed(ctx context.Context, st store.Store, name string, want retention.Names, doomed []catalog.Snapshot) error {
	// Before: if this is killed, a push must not miss what it did delete.
	going := map[format.Name]catalog.Snapshot{}
	for _, s := range doomed {
		going[s.Name] = s
	}
	if err := p.forget(st, name, going); err != nil {
		return err
	}
	gone := map[format.Name]catalog.Snapshot{}
	err := retention.Delete(ctx, st, name, want, retention.Options{Deleted: func(s catalog.Snapshot) { gone[s.Name] = s }})
	var done []catalog.Snapshot
	for _, s := range doomed {
		if _, ok := gone[s.Name]; ok {
			done = append(done, s)
		} else if err == nil {
			// It was pushed on, or held, between the listings.
			err = fmt.Errorf("%v was not deleted: %w", s.Name, errNeeded)
		}
	}
	return errors.Join(p.printDeleted(done, false), p.forget(st, name, gone), err)
}

// An allDeleted is the result of deleting all that there is of a database.
type allDeleted struct {
	Database  string `json:"database"`
	Snapshots int    `json:"snapshots"`
	Freed     int64  `json:"freed"`
	Versions  int    `json:"versions,omitempty"` // old ones and markers that were removed besides
	DryRun    bool   `json:"dry_run,omitempty"`
}

func (p *program) deleteAll(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	name, err := parseName(c.Args().First())
	if err != nil {
		return err
	}
	if confirmed, err := parseName(c.String("confirm")); (err != nil || confirmed != name) && !c.Bool("dry-run") {
		return usagef("delete --all-snapshots deletes all that there is of %s for good: say --confirm %s as well", shellQuote(name), shellQuote(name))
	}
	st, err := p.openStore(c.Context)
	if err != nil {
		return err
	}
	out := &allDeleted{Database: name, DryRun: c.Bool("dry-run")}
	count := func(s catalog.Snapshot) {
		out.Snapshots++
		out.Freed += s.Object.Size
	}
	if out.DryRun {
		all, err := catalog.List(c.Context, st, name)
		if err != nil {
			return err
		}
		for _, s := range all {
			count(s)
		}
		return p.printAllDeleted(out)
	}
	if err := p.checkAllLocks(c.Context, st, name); err != nil {
		return err
	}
	forget := func() error { return state.Forget(p.stateDir, fmt.Sprint(st), name) }
	if err := forget(); err != nil { // as in deleteNamed
		return err
	}
	opts := retention.Options{Deleted: count, EvenHeld: c.Bool("even-held")}
	out.Versions, err = retention.DeleteAll(c.Context, st, name, opts)
	if out.Snapshots == 0 && out.Versions == 0 && err != nil {
		return err
	}
	return errors.Join(p.printAllDeleted(out), forget(), err)
}

func (p *program) printAllDeleted(d *allDeleted) error {
	return p.ui.Result(d, func(w io.Writer) error {
		verb, versions := "deleted", ""
		if d.DryRun {
			verb = "would be deleted"
		}
		if d.Versions > 0 {
			versions = ", and " + counted(d.Versions, "old version")
		}
		_, err := fmt.Fprintf(w, "%s  %s %s, %s freed%s\n", p.ui.Bold(ui.Safe(d.Database)), counted(d.Snapshots, "snapshot"), verb, ui.Bytes(d.Freed), versions)
		return err
	})
}

// checkAllLocks returns an error if one of a database's snapshots is locked.
func (p *program) checkAllLocks(ctx context.Context, st store.Store, name string) error {
	locked, err := p.lockedUntil(ctx, st)
	if locked == nil || err != nil {
		return err
	}
	all, err := catalog.List(ctx, st, name)
	if err != nil && !errors.As(err, new(*catalog.NotFoundError)) {
		return err
	}
	return retention.CheckLocks(ctx, all, locked)
}

// lockedUntil returns what asks a store for its locks, or nil if it has none.
func (p *program) lockedUntil(ctx context.Context, st store.Store) (retention.LockedUntil, error) {
	locker, ok := st.(store.VersionLocker)
	if !ok {
		return nil, nil
	}
	switch err := locker.CanLock(ctx); {
	case errors.Is(err, store.ErrCannotLock):
		return nil, nil
	case errors.Is(err, store.ErrDenied):
		p.log.Warn("whether snapshots are locked cannot be told: litestash policy --for prune has the right to ask", "err", err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	return func(ctx context.Context, keys []string) ([]time.Time, error) {
		locks, err := store.CreatedLocks(ctx, locker, keys)
		if err != nil {
			return nil, fmt.Errorf("ask whether snapshots are locked: %w", err)
		}
		until := make([]time.Time, len(locks))
		for i, l := range locks {
			if l.Until.After(time.Now()) {
				until[i] = l.Until
			}
		}
		return until, nil
	}, nil
}

// forget drops what this host remembers about snapshots that go, so that a push does not miss them.
func (p *program) forget(st store.Store, database string, going map[format.Name]catalog.Snapshot) error {
	keys := map[string]bool{}
	for _, s := range going {
		keys[s.Base()] = true
	}
	return state.ForgetDeleted(p.stateDir, fmt.Sprint(st), database, keys)
}

// errNeeded says that a snapshot came to be needed while it was to be deleted.
var errNeeded = errors.New("another snapshot has come to rest on it, or it has been held")

// named returns the snapshots in want, all of which must exist.
func named(survey *retention.Survey, want retention.Names) ([]catalog.Snapshot, error) {
	if len(survey.Snapshots) == 0 {
		return nil, &catalog.NotFoundError{Database: survey.Database}
	}
	var found []catalog.Snapshot
	missing := maps.Clone(want)
	for _, s := range survey.Snapshots {
		if want[s.Name] {
			found = append(found, s)
			delete(missing, s.Name)
		}
	}
	for n := range missing {
		return nil, &catalog.NotFoundError{Database: survey.Database, What: n.String()}
	}
	return found, nil
}

func (p *program) printDeleted(list []catalog.Snapshot, dry bool) error {
	for _, s := range list {
		d := &deleted{s.Database, s.Name.String(), s.Object.Size, dry}
		err := p.ui.Result(d, func(w io.Writer) error {
			verb := "deleted"
			if dry {
				verb = "would be deleted"
			}
			_, err := fmt.Fprintf(w, "%s  %s  %s, %s freed\n", p.ui.Bold(ui.Safe(d.Database)), d.Snapshot, verb, ui.Bytes(d.Freed))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
