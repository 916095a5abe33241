package main

import (
	"github.com/urfave/cli/v2"
)

func (p *program) exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write databases as plain files, checked in full, for leaving",
		ArgsUsage: "[NAME...] DIR",
		Description: "Writes each database NAME, or with --all-databases each one in the store, to its name below the\n" +
			"directory DIR, as restore does, one after the other. What comes of it are SQLite databases that\n" +
			"need this program no more. What is there already is refused; --if-missing goes on after an\n" +
			"interruption.",
		Flags: []cli.Flag{
			atFlag(),
			&cli.BoolFlag{Name: "all-databases", Usage: "export every database in the store"},
			&cli.BoolFlag{Name: "if-missing", Usage: "leave what is there already as it is, and call that done"},
			&cli.StringFlag{Name: "check", Value: "full", Usage: "let SQLite check each database with `LEVEL`: none, quick or full"},
			concurrencyFlag(),
		},
		Action: p.export,
	}
}

func (p *program) export(c *cli.Context) error {
	if err := wantArgs(c, 1, anyNumber); err != nil {
		return err
	}
	args := c.Args().Slice()
	dir := args[len(args)-1]
	names, err := parseNames(args[:len(args)-1])
	if err != nil {
		return err
	}
	switch all := c.Bool("all-databases"); {
	case all && len(names) > 0:
		return usagef("export: --all-databases exports every database, not only %s", names[0])
	case !all && len(names) == 0:
		return usagef("export: name databases before the directory %s, or say --all-databases", dir)
	}
	r, err := p.newRecovery(c)
	if err != nil {
		return err
	}
	if !r.at.name.IsZero() && len(names) != 1 {
		return usagef("export: --at %s is a snapshot of one database: name a time", c.String("at"))
	}
	if r.lookup, err = p.openLookup(c.Context); err != nil {
		return err
	}
	if len(names) == 0 {
		return r.reportAll(c.Context, dir)
	}
	return r.reportEach(c.Context, names, dir)
}
