package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/human"
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
	d, err := retention.PlanDelete(c.Context, st, name, want)
	if err != nil {
		return err
	}
	p.warnLocksUnknown(d.LocksUnknown)
	if c.Bool("dry-run") {
		return p.printDeleted(d.Snapshots, true)
	}
	return p.deleteNamed(c.Context, st, name, d)
}

// deleteNamed deletes snapshots and prints which are gone.
func (p *program) deleteNamed(ctx context.Context, st store.Store, name string, d *retention.Deletion) error {
	// Before: if this is killed, a push must not miss what it did delete.
	if err := p.forget(st, name, slices.Values(d.Snapshots)); err != nil {
		return err
	}
	gone := map[format.Name]catalog.Snapshot{} // what others have announced among it
	err := d.Run(ctx, retention.Options{Deleted: func(s catalog.Snapshot) { gone[s.Name] = s }})
	done := slices.DeleteFunc(slices.Clone(d.Snapshots), func(s catalog.Snapshot) bool {
		_, ok := gone[s.Name]
		return !ok
	})
	return errors.Join(p.printDeleted(done, false), p.forget(st, name, maps.Values(gone)), err)
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
	d, err := retention.PlanDeleteAll(c.Context, st, name, c.Bool("even-held"))
	if err != nil {
		return err
	}
	p.warnLocksUnknown(d.LocksUnknown)
	if out.DryRun {
		for _, s := range d.Snapshots {
			count(s)
		}
		if out.Snapshots == 0 {
			return &catalog.NotFoundError{Database: name}
		}
		return p.printAllDeleted(out)
	}
	forget := func() error { return state.Forget(p.stateDir, fmt.Sprint(st), name) }
	if err := forget(); err != nil { // as in deleteNamed
		return err
	}
	out.Versions, err = d.Run(c.Context, retention.Options{Deleted: count})
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
		_, err := fmt.Fprintf(w, "%s  %s %s, %s freed%s\n", p.ui.Bold(ui.Safe(d.Database)), counted(d.Snapshots, "snapshot"), verb, human.Bytes(d.Freed), versions)
		return err
	})
}

// warnLocksUnknown warns if a store does not say whether it locks snapshots.
func (p *program) warnLocksUnknown(err error) {
	if err != nil {
		p.log.Warn("whether snapshots are locked cannot be told: litestash policy --for prune has the right to ask", "err", err)
	}
}

// forget drops what this host remembers about snapshots that go, so that a push does not miss them.
func (p *program) forget(st store.Store, database string, going iter.Seq[catalog.Snapshot]) error {
	keys := map[string]bool{}
	for s := range going {
		keys[s.Base()] = true
	}
	return state.ForgetDeleted(p.stateDir, fmt.Sprint(st), database, keys)
}

func (p *program) printDeleted(list []catalog.Snapshot, dry bool) error {
	for _, s := range list {
		d := &deleted{s.Database, s.Name.String(), s.Object.Size, dry}
		err := p.ui.Result(d, func(w io.Writer) error {
			verb := "deleted"
			if dry {
				verb = "would be deleted"
			}
			_, err := fmt.Fprintf(w, "%s  %s  %s, %s freed\n", p.ui.Bold(ui.Safe(d.Database)), d.Snapshot, verb, human.Bytes(d.Freed))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
