package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) manCommand() *cli.Command {
	return &cli.Command{
		Name:  "man",
		Usage: "print the manual page",
		Description: "Prints the manual page of the program, to be read at once or put where the others are:\n" +
			"  litestash man | man -l -\n" +
			"  litestash man > /usr/local/share/man/man1/litestash.1",
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			page := manPage(c.App)
			return p.printDocument(map[string]string{"page": page}, page)
		},
	}
}

// manPage returns the manual page in the macros of man(7).
func manPage(app *cli.App) string {
	m := &manual{}
	m.line(`.TH LITESTASH 1 "" %s "User Commands"`, quoteArg("litestash "+version()))
	m.line(".SH NAME")
	m.line(`litestash \- %s`, roff(app.Usage))
	m.line(".SH SYNOPSIS")
	m.line(".B litestash")
	m.line(`[\fIglobal options\fR] \fIcommand\fR [\fIoptions\fR] [\fIarguments\fR]`)
	m.line(".SH DESCRIPTION")
	m.text(app.Description)
	m.line(".PP")
	m.text("Options may stand anywhere on the line, before and after the command and its arguments; a -- ends them.")
	m.line(".SH COMMANDS")
	for _, c := range app.VisibleCommands() {
		m.command(c)
	}
	m.line(".SH GLOBAL OPTIONS")
	m.flags(app.VisibleFlags())
	m.line(".SH ENVIRONMENT")
	m.environment(app)
	m.line(".SH EXIT STATUS")
	for _, e := range exitMeanings {
		m.tagged(fmt.Sprintf(`.B %d`, e.code), e.meaning)
	}
	return m.b.String()
}

// A manual is a page in the making.
type manual struct{ b strings.Builder }

func (m *manual) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n", args...) }

// text writes paragraphs; lines of them that are indented stay lines of their own.
func (m *manual) text(s string) {
	indented := false
	for l := range strings.Lines(s) {
		l = strings.TrimSuffix(l, "\n")
		code := strings.HasPrefix(l, "  ")
		if code != indented {
			m.line(map[bool]string{true: ".nf", false: ".fi"}[code])
			indented = code
		}
		m.line("%s", roff(l))
	}
	if indented {
		m.line(".fi")
	}
}

// tagged writes a paragraph under a tag, which is a line of roff.
func (m *manual) tagged(tag, text string) {
	m.line(".TP")
	m.line("%s", tag)
	m.text(text)
}

func (m *manual) command(c *cli.Command) {
	synopsis := `litestash ` + roff(c.Name)
	if len(c.VisibleFlags()) > 0 {
		synopsis += ` [\fIoptions\fR]`
	}
	if c.ArgsUsage != "" {
		synopsis += ` \fI` + roff(c.ArgsUsage) + `\fR`
	}
	m.line(".SS %s", quoteArg(c.Name))
	m.line("%s", synopsis)
	m.line(".PP")
	m.text(sentence(c.Usage))
	if c.Description != "" {
		m.line(".PP")
		m.text(c.Description)
	}
	m.flags(c.VisibleFlags())
}

func (m *manual) flags(flags []cli.Flag) {
	for _, f := range flags {
		if d, ok := f.(cli.DocGenerationFlag); ok {
			m.flag(d)
		}
	}
}

// placeholder is how a flag's help names its value.
var placeholder = regexp.MustCompile("`([^`]*)`")

func (m *manual) flag(f cli.DocGenerationFlag) {
	value := "VALUE"
	if p := placeholder.FindStringSubmatch(f.GetUsage()); p != nil {
		value = p[1]
	}
	var names []string
	for _, n := range f.Names() {
		name := `\fB` + roff(dashed(n)) + `\fR`
		if f.TakesValue() {
			name += ` \fI` + roff(value) + `\fR`
		}
		names = append(names, name)
	}
	text := sentence(strings.ReplaceAll(f.GetUsage(), "`", ""))
	if d := f.GetDefaultText(); f.TakesValue() && d != "" && d != `""` {
		text += " Default: " + strings.Trim(d, `"`) + "."
	}
	m.tagged(strings.Join(names, ", "), text)
}

// environment tells which variables stand in for which flags.
func (m *manual) environment(app *cli.App) {
	tell := func(whose string, flags []cli.Flag) {
		for _, f := range flags {
			d, ok := f.(cli.DocGenerationFlag)
			if !ok {
				continue
			}
			for _, v := range d.GetEnvVars() {
				m.tagged(".B "+roff(v), "Stands in for "+dashed(f.Names()[0])+whose+".")
			}
		}
	}
	tell("", app.VisibleFlags())
	for _, c := range app.VisibleCommands() {
		tell(" of "+c.Name, c.VisibleFlags())
	}
	m.tagged(".B NO_COLOR", "Set to anything, ends all colours.")
	m.tagged(".B AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, AWS_CA_BUNDLE",
		"These and the others that the aws command knows, and its files, have the same meaning here.")
}

// sentence makes a sentence of a flag's or command's short help.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// roff returns s as text for troff: backslashes and dashes are themselves, and nothing that a line
// begins with is taken for a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// quoteArg returns s as one argument of a request.
func quoteArg(s string) string { return `"` + roff(s) + `"` }
