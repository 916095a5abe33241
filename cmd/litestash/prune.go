package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store"
)

func (p *program) pruneCommand() *cli.Command {
	return &cli.Command{
		Name:      "prune",
		Usage:     "delete the snapshots that a policy does not keep",
		ArgsUsage: "[NAME]",
		Description: "Deletes all snapshots of the database NAME that none of the --keep flags keeps. Never deleted are\n" +
			"the newest, the newest that was proved, those that are held, and all that a kept one rests on. A day,\n" +
			"a week and so on is in UTC and is represented by its first snapshot; those without any do not count.\n" +
			"What is deleted cannot be brought back, but by recover from a bucket that keeps versions: try it with\n" +
			"--dry-run first.",
		Flags: append(keepFlags(),
			&cli.BoolFlag{Name: "all-databases", Usage: "prune every database in the store"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be deleted"},
			pingFlag(),
		),
		Action: p.prune,
	}
}

// keepFlags returns the flags that make a policy.
func keepFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "keep-last", DefaultText: "no such rule", Usage: "keep the newest `N` snapshots"},
		&cli.IntFlag{Name: "keep-hourly", DefaultText: "no such rule", Usage: "keep the first snapshot of each of the last `N` hours that have one"},
		&cli.IntFlag{Name: "keep-daily", DefaultText: "no such rule", Usage: "keep the first one of each of the last `N` days that have one"},
		&cli.IntFlag{Name: "keep-weekly", DefaultText: "no such rule", Usage: "keep the first one of each of the last `N` weeks that have one"},
		&cli.IntFlag{Name: "keep-monthly", DefaultText: "no such rule", Usage: "keep the first one of each of the last `N` months that have one"},
		&cli.IntFlag{Name: "keep-yearly", DefaultText: "no such rule", Usage: "keep the first one of each of the last `N` years that have one"},
		&cli.StringFlag{Name: "keep-within", Usage: "keep every one that is at most `TIME`, such as 36h or 30d, older than the newest"},
	}
}

// keepPolicy reads keepFlags. Without any it is zero; with some that keep nothing it is [retention.ErrNoPolicy].
func keepPolicy(c *cli.Context) (policy retention.Policy, err error) {
	asked := c.IsSet("keep-within")
	for _, f := range []struct {
		name  string
		count *int
	}{
		{"keep-last", &policy.Last},
		{"keep-hourly", &policy.Hourly},
		{"keep-daily", &policy.Daily},
		{"keep-weekly", &policy.Weekly},
		{"keep-monthly", &policy.Monthly},
		{"keep-yearly", &policy.Yearly},
	} {
		if err := notNegative(c, f.name); err != nil {
			return policy, err
		}
		*f.count = c.Int(f.name)
		asked = asked || c.IsSet(f.name)
	}
	if policy.Within, err = parseLimit(c, "keep-within"); err == nil && asked && policy.IsZero() {
		err = retention.ErrNoPolicy
	}
	return policy, err
}

// A pruned is one line of prune's results: of one database.
type pruned struct {
	Database  string           `json:"database"`
	DryRun    bool             `json:"dry_run,omitempty"`
	Kept      int              `json:"kept"`
	Gone      int              `json:"gone"`
	Freed     int64            `json:"freed"`
	Snapshots []prunedSnapshot `json:"snapshots,omitempty"` // not after a push
}

// A prunedSnapshot is a snapshot that there was before.
type prunedSnapshot struct {
	Snapshot string   `json:"snapshot"`
	Kind     string   `json:"kind"`
	Stored   int64    `json:"stored"`
	KeptBy   []string `json:"kept_by"`
	Gone     bool     `json:"gone"`
}

func (p *program) prune(c *cli.Context) error {
	p.startPings(c)
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	name, err := databaseArg(c)
	if err != nil {
		return err
	}
	policy, err := keepPolicy(c)
	if err != nil {
		return err
	}
	if policy.IsZero() {
		return retention.ErrNoPolicy
	}
	st, err := p.openStore(c.Context)
	if err != nil {
		return err
	}
	names := []string{name}
	if name == "" {
		if names, err = databaseNames(c.Context, st); err != nil {
			return err
		}
		if len(names) == 0 {
			return errNoDatabases
		}
	}
	opts := retention.PruneOptions{DryRun: c.Bool("dry-run")}
	warned := false
	return p.each(c.Context, len(names), func(i int) error {
		r, err := retention.Prune(c.Context, st, names[i], policy, opts)
		if r == nil {
			return err
		}
		if !warned { // it is the same store
			p.warnLocksUnknown(r.LocksUnknown)
			warned = r.LocksUnknown != nil
		}
		return p.reportPruned(st, names[i], r, opts, err)
	})
}

// reportPruned says what came of pruning a database, which ended with err.
func (p *program) reportPruned(st store.Store, name string, r *retention.Pruned, opts retention.PruneOptions, err error) error {
	err = errors.Join(p.printPruned(newPruned(name, r, opts.DryRun)), err)
	if opts.DryRun {
		return err
	}
	return errors.Join(err, p.forget(st, name, maps.Values(r.Gone)))
}

func newPruned(name string, r *retention.Pruned, dry bool) *pruned {
	out := &pruned{Database: name, DryRun: dry, Gone: len(r.Gone), Freed: r.Freed(), Snapshots: []prunedSnapshot{}}
	for _, v := range r.Plan {
		s := v.Snapshot
		_, gone := r.Gone[s.Name]
		kept := v.Reasons
		switch {
		case gone:
			kept = []string{}
		case v.Goes(): // others held it or pushed onto it meanwhile, or an error came first
			kept = []string{"not deleted now"}
		}
		if !gone {
			out.Kept++
		}
		out.Snapshots = append(out.Snapshots, prunedSnapshot{s.Name.String(), s.Kind.String(), s.Object.Size, kept, gone})
	}
	return out
}

func (p *program) printPruned(r *pruned) error {
	verb := "deleted"
	if r.DryRun {
		verb = "would be deleted"
	}
	return p.ui.Result(r, func(w io.Writer) error {
		if !p.ui.Quiet() {
			t := p.ui.NewTable("SNAPSHOT", "KIND", ">STORED", "KEPT BY")
			for _, s := range r.Snapshots {
				why := strings.Join(s.KeptBy, ", ")
				if s.Gone {
					why = p.ui.Bold(verb)
				}
				t.Row(s.Snapshot, s.Kind, human.Bytes(s.Stored), why)
			}
			if err := t.Write(w); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "%s  %s kept, %s %s, %s freed\n",
			p.ui.Bold(ui.Safe(r.Database)), human.Count(int64(r.Kept)), human.Count(int64(r.Gone)), verb, human.Bytes(r.Freed))
		return err
	})
}

// A pruneError says that a snapshot has been stored but the pruning after that failed.
type pruneError struct {
	database string
	err      error
}

func (e *pruneError) Error() string {
	return fmt.Sprintf("the snapshot of %s is stored, but pruning failed: %v", e.database, e.err)
}

func (e *pruneError) Unwrap() error { return e.err }

// pruneOne prunes a database, and warns if it cannot be told whether snapshots are locked.
func (p *program) pruneOne(ctx context.Context, st store.Store, name string, policy retention.Policy) (*retention.Pruned, error) {
	r, err := retention.Prune(ctx, st, name, policy, retention.PruneOptions{})
	if r != nil {
		p.warnLocksUnknown(r.LocksUnknown)
	}
	return r, err
}

// pruneAfterPush prunes a database that has just been pushed.
func (p *program) pruneAfterPush(ctx context.Context, st store.Store, name string, policy retention.Policy) error {
	r, err := p.pruneOne(ctx, st, name, policy)
	if err != nil {
		err = &pruneError{name, err}
	}
	if r == nil {
		return err
	}
	out := newPruned(name, r, false)
	out.Snapshots = nil
	return errors.Join(err, p.ui.Result(out, func(w io.Writer) error {
		if p.ui.Quiet() {
			return nil
		}
		_, err := fmt.Fprintf(w, "  pruned  %s kept, %s deleted, %s freed\n", human.Count(int64(out.Kept)), human.Count(int64(out.Gone)), human.Bytes(out.Freed))
		return err
	}))
}
