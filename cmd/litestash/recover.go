package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
)

func (p *program) recoverCommand() *cli.Command {
	return &cli.Command{
		Name:      "recover",
		Usage:     "bring back snapshots that were deleted or overwritten, where the bucket keeps versions",
		ArgsUsage: "[NAME]",
		Description: "Finds the snapshots of the database NAME, or of all, that a delete marker hides or a newer version\n" +
			"has overwritten in a versioned bucket, and makes them what they were when they were pushed: the\n" +
			"oldest version of an object. What lies above that is removed for good; if it is locked, a copy of\n" +
			"the oldest is put on top. That a snapshot was deleted on purpose cannot be seen: with --since only\n" +
			"what happened from that time on is undone. A deletion of it that was stopped halfway is withdrawn, so\n" +
			"that the next one does not finish it: let none run meanwhile.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be brought back"},
			&cli.StringFlag{Name: "since", Usage: "leave alone what was deleted or overwritten before `TIME`"},
		},
		Action: p.recover,
	}
}

// A recovered is one line of recover's results.
type recovered struct {
	Database string    `json:"database"`
	Snapshot string    `json:"snapshot"`
	Key      string    `json:"key"`
	Was      string    `json:"was"` // deleted or overwritten
	Since    time.Time `json:"since"`
	Stored   int64     `json:"stored"`
	Version  string    `json:"version"` // the one that was pushed
	DryRun   bool      `json:"dry_run,omitempty"`
}

// errNoVersions says that a store keeps nothing that could be brought back.
var errNoVersions = errors.New("it keeps no versions, so that what is deleted is gone")

func (p *program) recover(c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	name := ""
	if c.Args().Present() {
		var err error
		if name, err = parseName(c.Args().First()); err != nil {
			return err
		}
	}
	since, err := parseSince(c)
	if err != nil {
		return err
	}
	opts := retention.RecoverOptions{Since: since, DryRun: c.Bool("dry-run")}
	st, err := p.openStore(c.Context)
	if err != nil {
		return err
	}
	versions, ok := st.(store.Versioner)
	if !ok {
		return fmt.Errorf("%v: %w", st, errNoVersions)
	}
	n := 0
	var printing error
	found := func(covered retention.Covered) {
		n++
		printing = errors.Join(printing, p.printRecovered(newRecovered(covered, opts.DryRun)))
	}
	err = retention.Recover(c.Context, versions, name, opts, found)
	if err := errors.Join(printing, err); err != nil || n > 0 {
		return err
	}
	if name != "" { // "nothing is deleted" would put one at ease who has mistyped it
		if _, err := catalog.List(c.Context, st, name); err != nil {
			return err
		}
	}
	return p.nothingCovered(c.Context, versions)
}

// parseSince reads the time from which on things are to be undone; zero is ever.
func parseSince(c *cli.Context) (time.Time, error) {
	if !c.IsSet("since") {
		return time.Time{}, nil
	}
	at, err := parseMoment("--since", c.String("since"), time.Now())
	if err == nil && (at.latest || !at.name.IsZero()) {
		err = usagef("--since %q: want a time or an age", c.String("since"))
	}
	return at.time, err
}

// nothingCovered says that there is nothing to bring back, if the bucket would have kept it.
func (p *program) nothingCovered(ctx context.Context, st store.Versioner) error {
	kept, err := st.Versioned(ctx)
	if err == nil && !kept {
		return fmt.Errorf("%v: %w", st, errNoVersions)
	}
	if err != nil {
		p.log.Debug("whether the bucket keeps versions cannot be told", "err", err)
	}
	p.ui.Note("nothing is deleted or overwritten")
	return nil
}

func newRecovered(c retention.Covered, dry bool) *recovered {
	was := "overwritten"
	if c.Newest.Marker {
		was = "deleted"
	}
	return &recovered{c.Database, c.Name.String(), c.Object.Key, was, c.Since.UTC(), c.Object.Size, c.First.ID, dry}
}

func (p *program) printRecovered(r *recovered) error {
	return p.ui.Result(r, func(w io.Writer) error {
		verb := "brought back"
		if r.DryRun {
			verb = "would be brought back"
		}
		_, err := fmt.Fprintf(w, "%s  %s  %s, %s, %s %s UTC\n",
			p.ui.Bold(ui.Safe(r.Database)), r.Snapshot, verb, human.Bytes(r.Stored), r.Was, r.Since.Format(time.DateTime))
		return err
	})
}
