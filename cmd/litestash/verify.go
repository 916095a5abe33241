package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/survey"
)

func (p *program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "read snapshots back and prove them; with --check, drill a restore",
		ArgsUsage: "[NAME]",
		Description: "Reads all of a snapshot back from the store and checks every page against its hash and all\n" +
			"hashes against the root, without writing. By default it is the newest.\n" +
			"With --check it drills: the database is rebuilt in a temporary file, which SQLite checks, and what\n" +
			"came of it is recorded in the store, so that litestash status tells when a database was last proved.",
		Flags: slices.Concat([]cli.Flag{
			atFlag(),
			&cli.BoolFlag{Name: "all-snapshots", Usage: "verify every snapshot of the database"},
			&cli.BoolFlag{Name: "all-databases", Usage: "verify every database in the store"},
			&cli.StringFlag{Name: "sample", Usage: "drill as many snapshots as need `SIZE`, such as 1GiB, to be read, those checked longest ago first"},
			rootFlag(),
			concurrencyFlag(),
			pingFlag(),
		}, drillFlags()),
		Action: p.verify,
	}
}

// A verification proves snapshots, one after the other.
type verification struct {
	*lookup
	p     *program
	opts  restore.Options // its Meter and its Check are set for each snapshot
	drill *drill          // nil just reads everything
}

// A verified is one line of verify's results.
type verified struct {
	Database string      `json:"database"`
	Snapshot string      `json:"snapshot"`
	Root     format.Root `json:"root"`
	Size     int64       `json:"size"`
	Fetched  int64       `json:"fetched"`
	Requests int64       `json:"requests"`
	Elapsed  float64     `json:"elapsed_seconds"`
	*verifiedDrill
}

func (p *program) verify(c *cli.Context) error {
	p.startPings(c)
	v, err := p.newVerification(c)
	if err != nil {
		return err
	}
	at, err := parseAt(c.String("at"), time.Now())
	if err != nil {
		return err
	}
	name, err := databaseArg(c)
	if err != nil {
		return err
	}
	if name == "" && !at.name.IsZero() {
		return usagef("verify: --at %s is a snapshot of one database: name a time", c.String("at"))
	}
	budget, err := sampleBudget(c)
	if err != nil {
		return err
	}
	if v.lookup, err = p.openLookup(c.Context); err != nil {
		return err
	}
	switch {
	case budget > 0:
		return v.sample(c.Context, name, budget)
	case name == "":
		return v.databases(c.Context, at, c.Bool("all-snapshots"))
	case !c.Bool("all-snapshots"):
		err := v.found(c.Context, func() (catalog.Snapshot, error) {
			snap, _, err := v.find(c.Context, name, at)
			return snap, err
		})
		return chain.Explain(c.Context, v.st, err)
	}
	all, err := catalog.List(c.Context, v.st, name)
	if err != nil {
		return err
	}
	return v.each(c.Context, all, v.losses(name, moment{latest: true}, all[len(all)-1:]))
}

// newVerification reads the flags of verify.
func (p *program) newVerification(c *cli.Context) (*verification, error) {
	if err := wantArgs(c, 0, 1); err != nil {
		return nil, err
	}
	if c.Bool("all-snapshots") && (c.IsSet("at") || c.IsSet("root")) {
		return nil, usagef("verify: --all-snapshots goes with neither --at nor --root")
	}
	if c.Bool("all-databases") && c.IsSet("root") {
		return nil, usagef("verify: --root is about one database, and does not go with --all-databases")
	}
	v := &verification{p: p}
	var err error
	if v.opts, err = p.fetchOptions(c); err != nil {
		return nil, err
	}
	v.drill, err = p.drillOf(c)
	return v, err
}

// databaseArg returns the database that is named; none if all are meant.
func databaseArg(c *cli.Context) (string, error) {
	switch all := c.Bool("all-databases"); {
	case all && c.NArg() > 0:
		return "", usagef("%s: --all-databases means every database, not only %s", c.Command.Name, c.Args().First())
	case all:
		return "", nil
	case c.NArg() == 0:
		return "", usagef("%s: name a database, or say --all-databases", c.Command.Name)
	}
	return parseName(c.Args().First())
}

// databases verifies snapshots of every database: those at a time, or all.
func (v *verification) databases(ctx context.Context, at moment, all bool) error {
	histories, err := catalog.ListAll(ctx, v.st)
	if err != nil {
		return err
	}
	if all {
		at = moment{latest: true}
	}
	var chosen, newest []catalog.Snapshot
	for _, h := range histories {
		last := atMost(h, at)
		newest = append(newest, last...)
		if !all {
			h = last
		}
		chosen = append(chosen, h...)
	}
	lost := v.losses("", at, newest)
	switch {
	case len(histories) == 0 && len(lost) == 0:
		return errNoDatabases
	case len(chosen) == 0 && len(lost) == 0:
		return errNoneThen
	}
	return v.each(ctx, chosen, lost)
}

// sample verifies snapshots of a database, or of all, that together need at most budget bytes to be read.
func (v *verification) sample(ctx context.Context, name string, budget int64) error {
	databases, err := surveyed(ctx, v.st, name)
	if err != nil {
		return err
	}
	var newest []catalog.Snapshot
	for _, d := range databases {
		newest = append(newest, atMost(d.Snapshots, moment{latest: true})...)
	}
	lost := v.losses(name, moment{latest: true}, newest)
	if len(newest) == 0 && len(lost) == 0 {
		return errNoDatabases
	}
	chosen, tooLarge := survey.Sample(databases, budget, time.Now(), func(s catalog.Snapshot) bool { return v.opens(ctx, s) })
	if tooLarge > 0 {
		v.p.ui.Warn("%s will never be in a sample of %s: it takes more to restore", counted(tooLarge, "database"), human.Bytes(budget))
	}
	if len(chosen) == 0 && len(lost) == 0 {
		return usagef("--sample: each snapshot takes more to restore than %s", human.Bytes(budget))
	}
	return v.each(ctx, chosen, lost)
}

// opens reports whether there is an identity for a snapshot, as far as its own object tells. What else may be wrong
// with it a drill finds.
func (v *verification) opens(ctx context.Context, s catalog.Snapshot) bool {
	if !s.Encrypted {
		return true
	}
	_, err := catalog.ReadTail(ctx, v.st, s, v.opts.Identities)
	return !errors.As(err, new(*seal.LockedError))
}

// sampleBudget reads how much a sample may read; 0 is that none is asked for.
func sampleBudget(c *cli.Context) (int64, error) {
	s := c.String("sample")
	if s == "" {
		return 0, nil
	}
	for _, flag := range []string{"at", "root", "all-snapshots"} {
		if c.IsSet(flag) {
			return 0, usagef("verify: --sample chooses the snapshots, and does not go with --%s", flag)
		}
	}
	n, err := human.ParseBytes(s)
	if err != nil {
		return 0, usagef("--sample %q: want a size such as 500MB or 1GiB", s)
	}
	return n, nil
}

// atMost returns the newest of a database's snapshots that m asks for, if there is one.
func atMost(history []catalog.Snapshot, m moment) []catalog.Snapshot {
	for i := len(history) - 1; i >= 0; i-- {
		if m.latest || history[i].Name.Time <= format.TimeOf(m.time) {
			return history[i : i+1]
		}
	}
	return nil
}

// each verifies snapshots that were listed, and tells what else is lost. Of an object that is gone it is told once what that
// means.
func (v *verification) each(ctx context.Context, snapshots []catalog.Snapshot, lost []error) error {
	told := map[format.Key]bool{}
	return v.p.each(ctx, len(snapshots)+len(lost), func(i int) error {
		if i >= len(snapshots) {
			return lost[i-len(snapshots)]
		}
		again := false
		err := v.found(ctx, func() (catalog.Snapshot, error) {
			if !again {
				again = true
				return snapshots[i], nil
			}
			return catalog.Get(ctx, v.st, snapshots[i].Database, snapshots[i].Name)
		})
		var gone *catalog.NotFoundError
		if errors.As(err, &gone) {
			v.p.ui.Note("%v of %s has been deleted meanwhile.", snapshots[i].Name, snapshots[i].Database)
			return nil
		}
		if hole, ok := errors.AsType[*chain.HoleError](err); ok && !told[hole.Missing] {
			told[hole.Missing] = true
			return chain.Explain(ctx, v.st, err)
		}
		return err
	})
}

// found verifies the snapshot that find finds. Should it be deleted meanwhile, it begins anew.
func (v *verification) found(ctx context.Context, find func() (catalog.Snapshot, error)) error {
	return restore.Anew(find, func(snap catalog.Snapshot) error {
		if v.drill != nil {
			return v.drill.run(ctx, v, snap)
		}
		return v.read(ctx, snap)
	}, v.p.log)
}

// read reads a snapshot back.
func (v *verification) read(ctx context.Context, snap catalog.Snapshot) error {
	start, opts := time.Now(), v.opts
	opts.Meter = new(progress.Meter)
	stop := v.p.ui.Bar("verify "+snap.Name.String(), opts.Meter)
	r, err := restore.Verify(ctx, v.st, snap, opts)
	stop()
	if err != nil {
		return err
	}
	return v.p.printVerified(newVerified(snap, r, time.Since(start)))
}

func newVerified(snap catalog.Snapshot, r *restore.Result, elapsed time.Duration) *verified {
	return &verified{
		Database: snap.Database,
		Snapshot: snap.Name.String(),
		Root:     r.Index.Root,
		Size:     r.Index.Size(),
		Fetched:  r.Fetched,
		Requests: r.Requests,
		Elapsed:  elapsed.Seconds(),
	}
}

func (p *program) printVerified(v *verified) error {
	return p.ui.Result(v, func(w io.Writer) error {
		outcome := p.ui.Green("proved")
		if d := v.verifiedDrill; d != nil && !d.Outcome.Good() {
			outcome = p.ui.Red(string(d.Outcome))
		}
		_, err := fmt.Fprintf(w, "%s  %s  %s\n  root    %v\n  size    %s, read %s in %s, took %s\n",
			p.ui.Bold(ui.Safe(v.Database)), v.Snapshot, outcome, v.Root,
			human.Bytes(v.Size), human.Bytes(v.Fetched), counted(int(v.Requests), "request"), seconds(v.Elapsed))
		if err == nil && v.verifiedDrill != nil {
			err = p.writeDrilled(w, v.verifiedDrill)
		}
		return err
	})
}
