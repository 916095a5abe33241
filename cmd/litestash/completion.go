package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/ui"
)

// completionFlag at the end of a command line asks how the word before it may go on. The words
// are as they were typed, with quotes and backslashes: so no shell has to evaluate a line that is
// still being written.
//
// The first line of the answer is "words", "files" or "dirs". After words follow whole words, one
// a line, each with a tab and what it means if there is something to say.
const completionFlag = "--generate-bash-completion"

// storeTime is how long someone who pressed the tab key waits for names from the store.
const storeTime = 2 * time.Second

var (
	//go:embed completion.bash
	bashCompletion string
	//go:embed completion.zsh
	zshCompletion string
	//go:embed completion.fish
	fishCompletion string
)

var shells = []string{"bash", "zsh", "fish"}

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that lets a shell complete command lines",
		ArgsUsage: "bash|zsh|fish",
		Description: "Prints what makes a shell complete commands, flags, files and the names in the store:\n" +
			"  bash  eval \"$(litestash completion bash)\" in ~/.bashrc\n" +
			"  zsh   eval \"$(litestash completion zsh)\" in ~/.zshrc, after compinit\n" +
			"  fish  litestash completion fish | source, in ~/.config/fish/config.fish\n" +
			"Names come from the store in --store or LITESTASH_STORE, if it answers within two seconds.",
		Action: p.completion,
	}
}

func (p *program) completion(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	script, ok := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Args().First()]
	if !ok {
		return usagef("completion: there is none for %q; want bash, zsh or fish", c.Args().First())
	}
	return p.printDocument(map[string]string{"script": script}, script)
}

// printDocument prints a text that other programs read, as it is.
func (p *program) printDocument(v any, text string) error {
	return p.ui.Result(v, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// Candidates are ways in which a word may go on.
type candidates struct {
	kind  string // words, files or dirs
	words []candidate
}

type candidate struct{ word, meaning string }

func wordsOf(words ...string) candidates {
	c := candidates{kind: "words"}
	for _, w := range words {
		c.words = append(c.words, candidate{w, ""})
	}
	return c
}

// complete prints how the last of the typed words may go on, for the scripts of the shells.
func (p *program) complete(ctx context.Context, app *cli.App, typed []string) error {
	var words []string
	for _, w := range typed {
		words = append(words, unquote(w))
	}
	last := len(words) - 1
	l := parse(app, words[:last])
	p.storeURL = l.values["store"]
	if p.storeURL == "" {
		p.storeURL = os.Getenv("LITESTASH_STORE")
	}
	found := p.candidates(ctx, app, l, words[last])
	answer := found.kind + "\n"
	for _, c := range found.words {
		if !strings.HasPrefix(c.word, words[last]) || ui.Safe(c.word) != c.word {
			continue
		}
		answer += c.word
		if c.meaning != "" {
			answer += "\t" + c.meaning
		}
		answer += "\n"
	}
	_, err := io.WriteString(p.stdout, answer)
	return err
}

// candidates finds what may follow the line l, where word is begun.
func (p *program) candidates(ctx context.Context, app *cli.App, l line, word string) candidates {
	switch {
	case l.wants != nil:
		return p.valuesOf(ctx, l, l.wants)
	case !l.ended && strings.HasPrefix(word, "-"):
		return p.flagsOf(ctx, app, l, word)
	case l.command == nil && len(l.args) == 0:
		return commandsOf(app)
	case l.command == nil:
		return wordsOf()
	}
	return p.argumentsOf(ctx, app, l)
}

func commandsOf(app *cli.App) candidates {
	c := wordsOf()
	for _, command := range app.Commands {
		if !command.Hidden {
			c.words = append(c.words, candidate{command.Name, command.Usage})
		}
	}
	return c
}

// flagsOf finds the flags that the word may become, or the values of a flag and the equals sign
// after it.
func (p *program) flagsOf(ctx context.Context, app *cli.App, l line, word string) candidates {
	flags := app.Flags
	if l.command != nil {
		flags = slices.Concat(l.command.Flags, app.Flags)
	}
	if name, _, ok := strings.Cut(word, "="); ok {
		f := flagTable(flags)[strings.TrimLeft(name, "-")]
		if f == nil || !takesValue(f) {
			return wordsOf()
		}
		c := p.valuesOf(ctx, l, f)
		for i := range c.words {
			c.words[i].word = name + "=" + c.words[i].word
		}
		return c
	}
	c := wordsOf()
	for _, f := range flags {
		for _, name := range f.Names() {
			c.words = append(c.words, candidate{dashed(name), meaning(f)})
		}
	}
	return c
}

// meaning returns a flag's help without what package cli takes for the quotes of a value's name.
func meaning(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	return strings.ReplaceAll(d.GetUsage(), "`", "")
}

// valuesOf finds the values that a flag may have.
func (p *program) valuesOf(ctx context.Context, l line, f cli.Flag) candidates {
	switch f.Names()[0] {
	case "store", "from", "to", "temp-dir", "state-dir", "below":
		return candidates{kind: "dirs"}
	case "output", "db", "identity", "recipients-file", "passphrase-file", "reuse", "ping-url-file":
		return candidates{kind: "files"}
	case "for":
		return wordsOf(roleNames()...)
	case "lock-mode":
		return wordsOf("governance", "compliance")
	case "check":
		return wordsOf("none", "quick", "full")
	case "name":
		return p.databases(ctx)
	case "at":
		c := wordsOf("latest")
		if len(l.args) > 0 {
			c.words = append(c.words, p.snapshots(ctx, l.args[0]).words...)
		}
		return c
	}
	return wordsOf()
}

// argumentsOf finds what the next argument of the command may be.
func (p *program) argumentsOf(ctx context.Context, app *cli.App, l line) candidates {
	n := len(l.args)
	switch name := l.command.Name; {
	case name == "push", name == "watch":
		return candidates{kind: "files"}
	case name == "completion" && n == 0:
		return wordsOf(shells...)
	case name == "help" && n == 0:
		return commandsOf(app)
	case name == "copy":
		return p.databases(ctx)
	case name == "export" && (n > 0 || slices.Contains(l.own, "--all-databases")):
		return candidates{kind: "dirs"}
	case n == 0 && slices.Contains([]string{"list", "show", "restore", "verify", "status", "prune", "hold", "unhold", "delete", "export", "recover"}, name):
		return p.databases(ctx)
	case name == "show" && n == 1, n > 0 && slices.Contains([]string{"delete", "hold", "unhold"}, name):
		c := p.snapshots(ctx, l.args[0])
		c.words = slices.DeleteFunc(c.words, func(c candidate) bool { return slices.Contains(l.args[1:], c.word) })
		return c
	}
	return wordsOf()
}

// databases returns the names in the store, or none: whoever is typing a line wants no error yet.
func (p *program) databases(ctx context.Context) candidates {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	c := wordsOf()
	st, err := p.openStore(ctx)
	if err != nil {
		return c
	}
	all, err := catalog.Databases(ctx, st)
	if err != nil {
		return c
	}
	for _, d := range all {
		c.words = append(c.words, candidate{d.Name, fmt.Sprintf("%d snapshots", d.Snapshots)})
	}
	return c
}

// snapshots returns the names of a database's snapshots, or none.
func (p *program) snapshots(ctx context.Context, database string) candidates {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	c := wordsOf()
	st, err := p.openStore(ctx)
	if err != nil {
		return c
	}
	all, err := catalog.List(ctx, st, database)
	if err != nil {
		return c
	}
	for _, s := range slices.Backward(all) { // the newest first, where the shell keeps the order
		c.words = append(c.words, candidate{s.Name.String(), s.Kind.String() + ", " + human.Bytes(s.Object.Size)})
	}
	return c
}

// unquote returns what a shell makes of a word, which may end within quotes. It expands nothing
// but the home directory.
func unquote(word string) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == '\\' && quote != '\'' && i+1 < len(word):
			i++
			b.WriteByte(word[i])
		default:
			b.WriteByte(c)
		}
	}
	if rest, ok := strings.CutPrefix(word, "~/"); ok && !strings.ContainsAny(rest, `'"\`) {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return b.String()
}
