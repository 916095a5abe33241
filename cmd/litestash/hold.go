package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
)

func (p *program) holdCommand() *cli.Command {
	return &cli.Command{
		Name:      "hold",
		Usage:     "keep snapshots from being deleted",
		ArgsUsage: "NAME SNAPSHOT...",
		Description: "Holds snapshots of the database NAME, and what they rest on, until unhold: neither delete nor prune\n" +
			"deletes them. SNAPSHOT takes what restore --at takes.",
		Action: func(c *cli.Context) error {
			return p.eachNamed(c, false, func(ctx context.Context, st store.Store, name string, snap format.Name) error {
				if err := retention.Hold(ctx, st, name, snap); err != nil {
					return err
				}
				return p.printHeld(name, snap, true)
			})
		},
	}
}

func (p *program) unholdCommand() *cli.Command {
	return &cli.Command{
		Name:      "unhold",
		Usage:     "let snapshots that were held be deleted again",
		ArgsUsage: "NAME SNAPSHOT...",
		Description: "Removes the holds on snapshots of the database NAME. SNAPSHOT takes what restore --at takes, and the\n" +
			"exact name of one that is gone.",
		Action: func(c *cli.Context) error {
			return p.eachNamed(c, true, func(ctx context.Context, st store.Store, name string, snap format.Name) error {
				n, err := retention.Unhold(ctx, st, name, snap)
				if err != nil {
					return err
				}
				if n == 0 {
					return fmt.Errorf("the snapshot %v: %w", snap, errNotHeld)
				}
				return p.printHeld(name, snap, false)
			})
		},
	}
}

// errNotHeld says that there is no hold to remove.
var errNotHeld = errors.New("it is not held")

// eachNamed does something with each snapshot of a database that the command line names, if evenGone says so also with one
// that is gone and still held.
func (p *program) eachNamed(c *cli.Context, evenGone bool, do func(ctx context.Context, st store.Store, name string, snap format.Name) error) error {
	if err := wantArgs(c, 2, anyNumber); err != nil {
		return err
	}
	name, err := parseName(c.Args().First())
	if err != nil {
		return err
	}
	var asked []moment
	for _, s := range c.Args().Tail() {
		m, err := parseMoment(c.Command.Name, s, time.Now())
		if err != nil {
			return err
		}
		asked = append(asked, m)
	}
	in, err := p.openLookup(c.Context)
	if err != nil {
		return err
	}
	return p.each(c.Context, len(asked), func(i int) error {
		snap, _, err := in.find(c.Context, name, asked[i])
		if errors.As(err, new(*catalog.NotFoundError)) && evenGone && !asked[i].name.IsZero() {
			if gone := do(c.Context, in.st, name, asked[i].name); !errors.Is(gone, errNotHeld) {
				return gone
			}
		}
		if err != nil {
			return err
		}
		return do(c.Context, in.st, name, snap.Name)
	})
}

// A heldSnapshot is one line of the results of hold and unhold.
type heldSnapshot struct {
	Database string `json:"database"`
	Snapshot string `json:"snapshot"`
	Held     bool   `json:"held"`
}

func (p *program) printHeld(name string, snap format.Name, held bool) error {
	h := &heldSnapshot{name, snap.String(), held}
	return p.ui.Result(h, func(w io.Writer) error {
		verb := "held"
		if !held {
			verb = "not held any more"
		}
		_, err := fmt.Fprintf(w, "%s  %s  %s\n", p.ui.Bold(ui.Safe(h.Database)), h.Snapshot, verb)
		return err
	})
}
