package ui

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Safe returns s with everything that could act on a terminal instead of being read made visible
// as an escape such as \x1b: control characters other than newline and tab, bytes that are not
// UTF-8, and invisible runes, among them those that change the direction of text.
func Safe(s string) string { return escape(s, "\n\t", escapeStyles) }

// clean is [Safe] for a whole message or result, whose colours stay, or go without a trace.
func clean(s string, color bool) string {
	if color {
		return escape(s, "\n\t", keepStyles)
	}
	return escape(s, "\n\t", dropStyles)
}

// cleanLine is clean for a piece of a line, in which newline and tab have no place either.
func cleanLine(s string, color bool) string {
	if color {
		return escape(s, "", keepStyles)
	}
	return escape(s, "", dropStyles)
}

// styling says what becomes of the escape sequences of this package's own styles. Those in
// untrusted text cannot be told apart and can do no more than colour it.
type styling int

const (
	escapeStyles styling = iota
	keepStyles           // and end those that are left open
	dropStyles
)

// escape copies s, escaping what is not printable and not in controls.
func escape(s, controls string, st styling) string {
	var b strings.Builder
	open := false
	for len(s) > 0 {
		if seq := stylePrefix(s); seq != "" && st != escapeStyles {
			if st == keepStyles {
				b.WriteString(seq)
				open = seq != string(reset)
			}
			s = s[len(seq):]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case printable(r) || strings.ContainsRune(controls, r):
			b.WriteString(s[:n])
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	if open {
		b.WriteString(string(reset))
	}
	return b.String()
}

// printable reports whether r is read rather than obeyed. The two joiners are invisible, but
// several scripts and many emoji are spelled with them.
func printable(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return unicode.IsGraphic(r) || r == nonJoiner || r == joiner
}
