package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/store"
)

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr}
	p.ui = ui.New(ui.Options{Out: stdout, Err: stderr, JSON: asksForJSON(args)}) // until the flags are known
	app := p.app()
	if n := len(args) - 1; n > 1 && args[n] == completionFlag {
		return p.report(ctx, p.complete(ctx, app, args[1:n]))
	}
	p.command = commandName(app, args)
	err := noEmptyValue(app, args)
	if err == nil {
		err = app.RunContext(ctx, hoist(app, args))
	}
	code := p.report(ctx, err)
	p.pings.end(ctx, code)
	return code
}

// A program is what commands get from outside, and what the global flags say.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	command  string // its name, "" if none is known
	ui       *ui.UI
	log      *slog.Logger
	storeURL string
	tempDir  string
	stateDir string
	keys     *keyring
	pings    *pinger // nil if nobody is told how the command goes
}

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:  "litestash",
		Usage: "snapshots of live SQLite databases, kept and proved",
		Description: "Takes snapshots of live SQLite databases, keeps them in S3-compatible storage or in a\n" +
			"directory, and gives back any of them, proved. Begin with: litestash demo",
		HideVersion:               true, // its -v would mean version
		HideHelpCommand:           true, // there is one of our own
		DisableSliceFlagSeparator: true,
		Reader:                    p.stdin,
		Writer:                    p.stdout,
		ErrWriter:                 p.stderr,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              asUsage,
		Before:                    p.before,
		Action:                    p.noCommand,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "store", Aliases: []string{"s"}, EnvVars: []string{"LITESTASH_STORE"}, Usage: "keep snapshots at `URL`: s3://bucket/prefix or a directory"},
			&cli.BoolFlag{Name: "json", EnvVars: []string{"LITESTASH_JSON"}, Usage: "print results and errors as JSON, one document a line"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, EnvVars: []string{"LITESTASH_QUIET"}, Usage: "print results and errors only"},
			&cli.BoolFlag{Name: "verbose", EnvVars: []string{"LITESTASH_VERBOSE"}, Usage: "tell what is being done"},
			&cli.BoolFlag{Name: "no-progress", EnvVars: []string{"LITESTASH_NO_PROGRESS"}, Usage: "show no progress bars"},
			&cli.BoolFlag{Name: "no-color", EnvVars: []string{"LITESTASH_NO_COLOR"}, Usage: "use no colours; NO_COLOR does the same"},
			&cli.StringFlag{Name: "state-dir", EnvVars: []string{"LITESTASH_STATE_DIR"}, Usage: "remember in `DIR` what was pushed; losing it costs time only. By default in the user's place for state"},
			&cli.StringFlag{Name: "temp-dir", EnvVars: []string{"LITESTASH_TEMP_DIR"}, Usage: "keep temporary files in `DIR`; by default in the system's place for them"},
		},
		Commands: p.commands(),
	}
	app.Flags = append(append(app.Flags, identityFlags()...),
		&cli.BoolFlag{Name: "version", Usage: "print the version"},
		cli.HelpFlag,
	)
	hideFalse(app.Flags)
	return app
}

func (p *program) commands() []*cli.Command {
	commands := []*cli.Command{
		p.pushCommand(),
		p.watchCommand(),
		p.listCommand(),
		p.showCommand(),
		p.restoreCommand(),
		p.verifyCommand(),
		p.statusCommand(),
		p.pruneCommand(),
		p.holdCommand(),
		p.unholdCommand(),
		p.deleteCommand(),
		p.recoverCommand(),
		p.copyCommand(),
		p.exportCommand(),
		p.demoCommand(),
		p.demoWriterCommand(),
		p.doctorCommand(),
		p.policyCommand(),
		p.completionCommand(),
		p.manCommand(),
		p.helpCommand(),
	}
	for _, c := range commands {
		c.OnUsageError = asUsage
		c.CustomHelpTemplate = cli.CommandHelpTemplate + "\nlitestash --help tells the options of every command, such as --store.\n"
		c.HideHelpCommand = true // or "litestash list help" would not be about a database
		hideFalse(c.Flags)
	}
	return commands
}

// before takes the global flags in.
func (p *program) before(c *cli.Context) error {
	noColor := c.Bool("no-color")
	p.ui = ui.New(ui.Options{
		Out: p.stdout, Err: p.stderr,
		JSON: c.Bool("json"), Quiet: c.Bool("quiet"), NoProgress: c.Bool("no-progress"),
		Color:    ui.ColorWanted(p.stdout, noColor, os.Getenv),
		ColorErr: ui.ColorWanted(p.stderr, noColor, os.Getenv),
	})
	p.log = newLog(p.ui, c.Bool("verbose"))
	var err error
	if p.keys, err = newKeyring(c.Context, c); err != nil {
		return err
	}
	p.storeURL = c.String("store")
	p.stateDir = c.String("state-dir")
	if p.stateDir == "" {
		p.stateDir = defaultStateDir(os.Getenv)
	}
	p.tempDir = c.String("temp-dir")
	if p.tempDir == "" {
		p.tempDir = os.TempDir()
	}
	return nil
}

// noCommand is what happens without a command, or with one that there is not.
func (p *program) noCommand(c *cli.Context) error {
	switch {
	case c.Bool("version"):
		return p.printVersion()
	case c.Args().Present():
		return noSuchCommand(c.App, c.Args().First())
	}
	return cli.ShowAppHelp(c)
}

// defaultStateDir returns where systemd says that a service's state belongs, else where the XDG base
// directory specification has a user's. Without a home it returns "", and nothing is remembered: a name
// below /tmp that everybody knows could be anybody's, and lead what is written to it elsewhere.
func defaultStateDir(getenv func(string) string) string {
	for _, d := range []struct{ dir, below string }{
		{getenv("STATE_DIRECTORY"), ""},
		{getenv("XDG_STATE_HOME"), "litestash"},
		{getenv("HOME"), ".local/state/litestash"},
	} {
		if d.dir != "" {
			return filepath.Join(d.dir, d.below)
		}
	}
	return ""
}

// openStore opens the store that the user named.
func (p *program) openStore(ctx context.Context) (store.Store, error) {
	return p.openStoreWith(ctx, store.Options{})
}

// openStoreWith opens the store that the user named, for those who will fill it.
func (p *program) openStoreWith(ctx context.Context, opts store.Options) (store.Store, error) {
	if p.storeURL == "" {
		return nil, errNoStore
	}
	opts.Logger = p.log
	return store.Open(ctx, p.storeURL, opts)
}

// A usageError says that a command line cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

var errNoStore = errors.New("no store is given")

// anyNumber is the most arguments of a command that takes as many as there are.
const anyNumber = math.MaxInt

// wantArgs checks the number of arguments.
func wantArgs(c *cli.Context, least, most int) error {
	switch n := c.NArg(); {
	case n < least:
		return usagef("%s: too few arguments; want %s", c.Command.Name, c.Command.ArgsUsage)
	case n > most:
		return usagef("%s: one argument too many: %q", c.Command.Name, c.Args().Get(most))
	}
	return nil
}
