package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/snapshot"
)

func (p *program) restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "bring a database back, checked, as it was at a time",
		ArgsUsage: "[NAME]",
		Description: "Restores the database NAME to the path that -o names, which must not exist, or to standard\n" +
			"output. Every page is checked before anything appears at the path. With --replace an older\n" +
			"database is replaced in one step and kept beside it, and only pages that differ are fetched.\n" +
			"With --all-databases each database in the store is restored to its name below the directory that\n" +
			"-o names, one after the other: each is one instant, all together are several.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "restore to `PATH`; - is standard output"},
			atFlag(),
			&cli.BoolFlag{Name: "all-databases", Usage: "restore every database in the store, below the directory that -o names"},
			&cli.BoolFlag{Name: "replace", Usage: "replace the database at the path; it is kept as PATH.replaced-TIME"},
			&cli.BoolFlag{Name: "if-missing", Usage: "do nothing, and call that done, if there is something at the path"},
			&cli.BoolFlag{Name: "if-any", Usage: "do nothing, and call that done, if the store has no snapshot of the database at all"},
			&cli.StringFlag{Name: "reuse", Usage: "take pages that `FILE`, such as an older copy, has already from there; by default from the database that --replace replaces"},
			&cli.BoolFlag{Name: "discard-old", Usage: "with --replace, do not keep the old database"},
			&cli.StringFlag{Name: "check", Value: "quick", Usage: "let SQLite check the database with `LEVEL`: none, quick or full"},
			rootFlag(),
			&cli.StringFlag{Name: "max-gap", Usage: "refuse a snapshot more than `TIME`, such as 2h, before the time asked for"},
			concurrencyFlag(),
		},
		Action: p.restore,
	}
}

func (p *program) restore(c *cli.Context) error {
	if c.NArg() == 2 && !c.IsSet("output") {
		return usagef("restore: say where to with -o: litestash restore %s -o %s", shellQuote(c.Args().Get(0)), shellQuote(c.Args().Get(1)))
	}
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	r, err := p.newRecovery(c)
	if err != nil {
		return err
	}
	if c.Bool("all-databases") {
		dir, err := restoreDir(c, r)
		if err != nil {
			return err
		}
		if r.lookup, err = p.openLookup(c.Context); err != nil {
			return err
		}
		return r.reportAll(c.Context, dir)
	}
	if c.NArg() == 0 {
		return usagef("restore: name a database, or say --all-databases")
	}
	name, err := parseName(c.Args().First())
	if err != nil {
		return err
	}
	path, err := p.restorePath(c)
	if err != nil {
		return err
	}
	if r.lookup, err = p.openLookup(c.Context); err != nil {
		return err
	}
	return r.report(c.Context, name, path)
}

// restoreDir returns the directory that all databases are to be restored to.
func restoreDir(c *cli.Context, r *recovery) (string, error) {
	dir := c.String("output")
	switch {
	case c.NArg() > 0:
		return "", usagef("restore: --all-databases restores every database, not only %s", c.Args().First())
	case dir == "" || dir == "-":
		return "", usagef("restore: say with -o DIR below which directory the databases go")
	case !r.at.name.IsZero():
		return "", usagef("restore: --at %s is a snapshot of one database: name a time", c.String("at"))
	}
	for _, flag := range []string{"root", "reuse"} {
		if c.IsSet(flag) {
			return "", usagef("restore: --%s is about one database, and does not go with --all-databases", flag)
		}
	}
	return dir, nil
}

// restorePath returns where to restore to: a path, or - for standard output.
func (p *program) restorePath(c *cli.Context) (string, error) {
	path := c.String("output")
	switch {
	case path == "":
		return "", usagef("restore: say where to with -o PATH, or -o - for standard output")
	case os.IsPathSeparator(path[len(path)-1]):
		return "", usagef("restore: -o %s names a directory: name the file in it", path)
	case path == "-" && p.ui.JSON():
		return "", usagef("restore: --json and -o - both want standard output")
	}
	for _, flag := range []string{"replace", "if-missing"} {
		if path == "-" && c.Bool(flag) {
			return "", usagef("restore: --%s goes with a path, not with -o -", flag)
		}
	}
	return path, nil
}

// newRecovery reads the flags that say what to bring back and how.
func (p *program) newRecovery(c *cli.Context) (*recovery, error) {
	switch {
	case c.Bool("discard-old") && !c.Bool("replace"):
		return nil, usagef("restore: --discard-old goes with --replace")
	case c.Bool("if-missing") && c.Bool("replace"):
		return nil, usagef("restore: --if-missing leaves what is there, and --replace does not")
	}
	r := &recovery{p: p, ifMissing: c.Bool("if-missing"), ifAny: c.Bool("if-any")}
	var err error
	if r.at, err = parseAt(c.String("at"), time.Now()); err != nil {
		return nil, err
	}
	if r.maxGap, err = parseLimit(c, "max-gap"); err != nil {
		return nil, err
	}
	if r.check, err = parseCheck(c.String("check")); err != nil {
		return nil, err
	}
	if r.opts.Options, err = p.fetchOptions(c); err != nil {
		return nil, err
	}
	r.opts.Reuse = c.String("reuse")
	r.opts.Replace, r.opts.DiscardOld, r.opts.Hold = c.Bool("replace"), c.Bool("discard-old"), hold
	return r, nil
}

// hold lets SQLite hand the old database over.
func hold(ctx context.Context, path string) (restore.Held, error) {
	h, err := snapshot.Hold(ctx, path)
	if err != nil {
		return nil, err // not a nil *Held in an interface
	}
	return h, nil
}

// The flags that restore and verify share.

func atFlag() cli.Flag {
	return &cli.StringFlag{Name: "at", Value: "latest", Usage: atUsage}
}

func rootFlag() cli.Flag {
	return &cli.StringFlag{Name: "root", Usage: "insist on this `ROOT`, as push printed it"}
}

func concurrencyFlag() cli.Flag {
	return &cli.IntFlag{Name: "concurrency", DefaultText: "6", Usage: "fetch `N` ranges at once"}
}

// fetchOptions reads the flags that restore and verify share.
func (p *program) fetchOptions(c *cli.Context) (restore.Options, error) {
	if err := notNegative(c, "concurrency"); err != nil {
		return restore.Options{}, err
	}
	opts := restore.Options{TempDir: p.tempDir, Concurrency: c.Int("concurrency"), Logger: p.log}
	var err error
	if opts.Identities, err = p.keys.open(); err != nil {
		return opts, err
	}
	if s := c.String("root"); s != "" {
		root, err := format.ParseRoot(s)
		if err != nil {
			return opts, &usageError{fmt.Errorf("--root: %w", err)}
		}
		opts.Root = &root
	}
	return opts, nil
}

// parseSpan reads a flag that says a length of time, which is 0 if it is not given.
func parseSpan(c *cli.Context, flag string) (time.Duration, error) {
	s := c.String(flag)
	if s == "" {
		return 0, nil
	}
	if d, ok := parseAge(s); ok {
		return d, nil
	}
	return 0, usagef("--%s %q: want a time such as 90m or 2d", flag, s)
}
