package ui

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// displayWidth returns how many columns a terminal gives to s. Styles and marks take none, East
// Asian wide characters and most emoji take two. An emoji joined from several counts as several,
// which is what terminals that cannot join them show.
func displayWidth(s string) int {
	n := 0
	for len(s) > 0 {
		if seq := stylePrefix(s); seq != "" {
			s = s[len(seq):]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		n += runeWidth(r)
		s = s[size:]
	}
	return n
}

func runeWidth(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// padLeft and padRight fill s with spaces up to n columns.
func padLeft(s string, n int) string  { return strings.Repeat(" ", max(0, n-displayWidth(s))) + s }
func padRight(s string, n int) string { return s + strings.Repeat(" ", max(0, n-displayWidth(s))) }
