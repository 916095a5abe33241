package ui

import (
	"io"
	"strings"

	"golang.org/x/term"
)

// descriptor is what an *os.File has and a buffer has not.
type descriptor interface{ Fd() uintptr }

// IsTerminal reports whether w writes to a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(descriptor)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns returns how many columns the terminal behind w has now: it may have been resized.
// Terminals that do not know, such as serial lines, are taken for 80 columns wide.
func columns(w io.Writer) int {
	if f, ok := w.(descriptor); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}

// utf8Locale reports whether the environment names a UTF-8 locale, by the first variable set of
// those that POSIX has decide about characters, in its order.
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}
