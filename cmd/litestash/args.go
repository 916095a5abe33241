package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// A line is a command line, taken apart. Flags may stand anywhere on it, and a "--" ends them.
type line struct {
	command *cli.Command // nil if none is named, or one that there is not
	global  []string     // flags of the program with their values, as they were given
	own     []string     // those of the command, and those that nobody knows
	args    []string     // the rest in order, without the name of the command

	values map[string]string // values of the flags that take one, by the flag's first name; the last one counts

	wants       cli.Flag // the flag that the line ends with, if its value is missing
	wantsGlobal bool     // it is the last of global, and not of own

	empty string // the first flag whose value is empty, as it was given

	ended   bool // there is a "--"
	help    bool // --help or -h
	version bool // --version
}

// parse takes the words of a command line apart, without the program's name.
func parse(app *cli.App, words []string) line {
	l := line{values: map[string]string{}}
	global, known, named := flagTable(app.Flags), anyFlag(app), false
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "--" && !l.ended:
			l.ended = true
			continue
		case l.ended || len(word) < 2 || word[0] != '-':
			if named {
				l.args = append(l.args, word)
			} else if l.command = app.Command(word); l.command == nil {
				l.args = append(l.args, word) // not a command: the others are its arguments
			} else {
				known = flagTable(l.command.Flags)
			}
			named = true
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
		if !hasValue && l.ask(name) {
			continue
		}
		dest, flag := &l.own, known[name]
		if flag == nil && global[name] != nil {
			dest, flag = &l.global, global[name]
		}
		*dest = append(*dest, word)
		if flag == nil || !takesValue(flag) {
			continue
		}
		if !hasValue && i+1 == len(words) {
			l.wants, l.wantsGlobal = flag, dest == &l.global
			break
		}
		if !hasValue {
			i++
			value = words[i]
			*dest = append(*dest, value)
		}
		if value == "" && l.empty == "" {
			l.empty = strings.TrimSuffix(word, "=")
		}
		l.values[flag.Names()[0]] = value
	}
	return l
}

// ask takes the flags that ask for something else than the command does.
func (l *line) ask(name string) bool {
	switch name {
	case "help", "h":
		l.help = true
	case "version":
		l.version = true
	default:
		return false
	}
	return true
}

// hoist rewrites a command line so that flags may stand anywhere: package cli knows a flag only
// before the first argument, and a global one only before the command. Who asks for help gets it,
// whatever else the line says. args begins with the program's name.
func hoist(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	l := parse(app, args[1:])
	out := slices.Concat(args[:1], l.global)
	switch {
	case l.wantsGlobal:
		return out // whose last is the one that has no value, which will be reported
	case l.version:
		return append(out, "--version")
	case l.command == nil && len(l.args) > 0:
		return append(append(out, "--"), l.args...) // there is no such command, which will be reported
	case l.command == nil && l.help:
		return append(out, "--help")
	case l.command == nil:
		return append(out, l.own...)
	case l.help:
		return append(out, l.command.Name, "--help")
	}
	out = append(append(out, l.command.Name), l.own...)
	if l.wants == nil && len(l.args) > 0 {
		out = append(append(out, "--"), l.args...)
	}
	return out
}

// noEmptyValue refuses flags without a value, and arguments that are empty. They come from variables of the
// shell that are not set, and whoever writes --root "$ROOT" must not be told that all is as with that root.
func noEmptyValue(app *cli.App, args []string) error {
	if len(args) == 0 {
		return nil
	}
	switch l := parse(app, args[1:]); {
	case l.help || l.version:
		return nil
	case l.empty != "":
		return usagef("%s is empty: is a variable not set?", l.empty)
	case l.command != nil && slices.Contains(l.args, ""):
		return usagef("%s: an argument is empty: is a variable not set?", l.command.Name)
	}
	return nil
}

// commandName returns the name of the command that a command line names, or "".
func commandName(app *cli.App, args []string) string {
	if len(args) == 0 {
		return ""
	}
	if l := parse(app, args[1:]); l.command != nil {
		return l.command.Name
	}
	return ""
}

// notNegative checks flags of numbers and of times.
func notNegative(c *cli.Context, names ...string) error {
	for _, n := range names {
		if value := fmt.Sprint(c.Value(n)); strings.HasPrefix(value, "-") {
			return usagef("--%s %s: want none that is negative", n, value)
		}
	}
	return nil
}

// flagTable returns the flags by each of their names.
func flagTable(flags []cli.Flag) map[string]cli.Flag {
	t := map[string]cli.Flag{}
	for _, f := range flags {
		for _, n := range f.Names() {
			t[n] = f
		}
	}
	return t
}

// anyFlag returns the flags of all commands by their names: before the command is named, it is not
// known whose a flag is. Flags of one name take a value with every command or with none.
func anyFlag(app *cli.App) map[string]cli.Flag {
	t := map[string]cli.Flag{}
	for _, c := range app.Commands {
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				t[n] = f
			}
		}
	}
	return t
}

// takesValue says whether a value follows the flag.
func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// asksForJSON reports whether errors in the command line itself should be told as JSON.
func asksForJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--json", "-json", "--json=true", "-json=true":
			return true
		case "--":
			return false
		}
	}
	return false
}
