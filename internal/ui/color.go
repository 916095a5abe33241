package ui

import (
	"io"
	"strings"
)

// A style is the escape sequence that turns it on.
type style string

const (
	reset  style = "\x1b[0m"
	bold   style = "\x1b[1m"
	dim    style = "\x1b[2m"
	red    style = "\x1b[31m"
	green  style = "\x1b[32m"
	yellow style = "\x1b[33m"
)

// stylePrefix returns the sequence of a style that s begins with, or "".
func stylePrefix(s string) string {
	if !strings.HasPrefix(s, "\x1b") {
		return ""
	}
	for _, st := range []style{reset, bold, dim, red, green, yellow} {
		if strings.HasPrefix(s, string(st)) {
			return string(st)
		}
	}
	return ""
}

func paint(on bool, st style, s string) string {
	if !on || s == "" {
		return s
	}
	return string(st) + s + string(reset)
}

// Bold returns s in bold where results are coloured, and s otherwise. Like the other styles it is
// made for results and tables; in a [UI.Note] it shows only where the error stream is coloured too.
func (u *UI) Bold(s string) string { return paint(u.opts.Color, bold, s) }

// Dim returns s dimmed where results are coloured, and s otherwise.
func (u *UI) Dim(s string) string { return paint(u.opts.Color, dim, s) }

// Red returns s in red where results are coloured, and s otherwise.
func (u *UI) Red(s string) string { return paint(u.opts.Color, red, s) }

// Green returns s in green where results are coloured, and s otherwise.
func (u *UI) Green(s string) string { return paint(u.opts.Color, green, s) }

// Yellow returns s in yellow where results are coloured, and s otherwise.
func (u *UI) Yellow(s string) string { return paint(u.opts.Color, yellow, s) }

// ColorWanted reports whether to colour what is written to w: only a terminal, and not if noColor
// is true, NO_COLOR is set to anything (https://no-color.org) or TERM is dumb. CLICOLOR_FORCE,
// set to anything but 0, asks for colours that no terminal is there to show
// (https://bixense.com/clicolors); the first two overrule it.
func ColorWanted(w io.Writer, noColor bool, getenv func(string) string) bool {
	if noColor || getenv("NO_COLOR") != "" {
		return false
	}
	if force := getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	return getenv("TERM") != "dumb" && IsTerminal(w)
}
