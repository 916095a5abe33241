package main

import (
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

// helpCommand stands in for that of package cli, which ends with another code than the others
// where there is no such command.
func (p *program) helpCommand() *cli.Command {
	return &cli.Command{
		Name:        "help",
		Usage:       "tell what the program or a command does",
		ArgsUsage:   "[COMMAND]",
		Description: "Tells what the command does and takes, as litestash COMMAND --help does; without one, what the\nprogram does.",
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 1); err != nil {
				return err
			}
			name := c.Args().First()
			switch {
			case !c.Args().Present():
				return cli.ShowAppHelp(c)
			case c.App.Command(name) == nil:
				return noSuchCommand(c.App, name)
			}
			return cli.ShowCommandHelp(c, name)
		},
	}
}

// hideFalse keeps "(default: false)" out of the help for flags that are off unless given.
func hideFalse(flags []cli.Flag) {
	for _, f := range flags {
		if b, ok := f.(*cli.BoolFlag); ok && !b.Value {
			b.DisableDefaultText = true
		}
	}
}

// noSuchCommand says that there is no command of that name, and which may have been meant.
func noSuchCommand(app *cli.App, name string) error {
	var names []string
	for _, c := range app.VisibleCommands() {
		names = append(names, c.Names()...)
	}
	if close, ok := nearest(name, names); ok {
		return usagef("there is no command %q; is it %s?", name, close)
	}
	if f := flagTable(app.Flags)[name]; f != nil {
		return usagef("there is no command %q; is it %s?", name, dashed(name))
	}
	return usagef("there is no command %q", name)
}

var (
	unknownFlag = regexp.MustCompile(`^flag provided but not defined: -(.*)$`)
	needsValue  = regexp.MustCompile(`^flag needs an argument: -(.*)$`)
	badValue    = regexp.MustCompile(`^invalid (?:boolean )?value "(.*)" for (?:flag )?-(\S+): `)
	badEnv      = regexp.MustCompile(`^could not parse "(.*)" as \S+ value from environment variable "(\S+)" for flag (\S+): `)
	aboutFlag   = regexp.MustCompile(` for (?:flag |-)-?([a-z][a-z-]*): `) // as package flag has it
)

// asUsage puts what packages cli and flag say of flags in the words that they are typed in.
func asUsage(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if m := needsValue.FindStringSubmatch(text); m != nil {
		return usagef("flag %s needs a value", dashed(m[1]))
	}
	if m := unknownFlag.FindStringSubmatch(text); m != nil {
		return noSuchFlag(c, m[1])
	}
	if m := badValue.FindStringSubmatch(text); m != nil {
		return usagef("%s %q: want %s", dashed(m[2]), m[1], valueOf(c, m[2]))
	}
	if m := badEnv.FindStringSubmatch(text); m != nil {
		return usagef("%s=%q in the environment: want %s", m[2], m[1], valueOf(c, m[3]))
	}
	if m := aboutFlag.FindStringSubmatchIndex(text); m != nil {
		return usagef("%s for %s: %s", text[:m[0]], dashed(text[m[2]:m[3]]), text[m[1]:])
	}
	return &usageError{err}
}

// valueOf says what a flag takes.
func valueOf(c *cli.Context, name string) string {
	for _, flags := range [][]cli.Flag{c.Command.Flags, c.App.Flags} {
		switch flagTable(flags)[name].(type) {
		case *cli.BoolFlag:
			return "true or false"
		case *cli.DurationFlag:
			return "a time such as 500ms or 5s"
		case *cli.IntFlag:
			return "a whole number"
		}
	}
	return "another value"
}

// noSuchFlag says that there is no flag of that name, and which may have been meant.
func noSuchFlag(c *cli.Context, name string) error {
	var names []string
	for _, flags := range [][]cli.Flag{c.Command.Flags, c.App.Flags} {
		for _, f := range flags {
			names = append(names, f.Names()...)
		}
	}
	if close, ok := nearest(name, names); ok {
		return usagef("there is no flag %s; is it %s?", dashed(name), dashed(close))
	}
	return usagef("there is no flag %s", dashed(name))
}

// dashed returns a flag's name as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// nearest returns the name that is least different from what was typed, if it is close at all:
// it begins with that, or a third of it has to change at most.
func nearest(typed string, names []string) (string, bool) {
	typed = strings.ToLower(typed)
	best, least := "", len(typed)/3+1
	for _, n := range names {
		d := distance(typed, n)
		if len(typed) > 1 && strings.HasPrefix(n, typed) {
			d = 0
		}
		if len(n) > 1 && d < least {
			best, least = n, d
		}
	}
	return best, best != ""
}

// distance returns how many bytes have to be inserted, removed, replaced or swapped with their
// neighbour to make b of a.
func distance(a, b string) int {
	var before, last []int // rows of the table: for a without its last two bytes, without its last
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
