package ui

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"":            "",
		"app.db":      "app.db",
		"line\n\ttab": "line\n\ttab",
		"données 数据库 🦊 👩\u200d🚀 نام\u200cها": "données 数据库 🦊 👩\u200d🚀 نام\u200cها",
		"\x1b[2J\x1b]0;title\a":              `\x1b[2J\x1b]0;title\a`,
		"\x1b[31mred\x1b[0m":                 `\x1b[31mred\x1b[0m`,
		"a\rb\x00\x7f":                       `a\rb\x00\x7f`,
		"\u009b2J\u0085":                     `\u009b2J\u0085`,
		"\x9b2J \xff\xed\xa0\x80":            `\x9b2J \xff\xed\xa0\x80`,
		"exe.\u202egpj":                      `exe.\u202egpj`,
		"\u2066a\u2069\u200b\ufeff":          `\u2066a\u2069\u200b\ufeff`,
		"a\u2028b\u2029":                     `a\u2028b\u2029`,
		"\U000e0041":                         `\U000e0041`,
		"\ufffd":                             "\ufffd",
	} {
		if got := Safe(in); got != want {
			t.Errorf("Safe(%q) = %q, want %q", in, got, want)
		}
	}
}

// In whole messages the package's own styles stay, are closed, or go; others never pass.
func TestClean(t *testing.T) {
	const in = "\x1b[1mbold\x1b[0m \x1b[5mblink \x1b[31mred"
	if got, want := clean(in, true), "\x1b[1mbold\x1b[0m "+`\x1b[5mblink `+"\x1b[31mred\x1b[0m"; got != want {
		t.Errorf("colour: %q, want %q", got, want)
	}
	if got, want := clean(in, false), `bold \x1b[5mblink red`; got != want {
		t.Errorf("no colour: %q, want %q", got, want)
	}
}

func FuzzSafe(f *testing.F) {
	for _, s := range []string{"app.db", "\x1b[2J", "\x1b[\x1b[0m31m", "\x9b", "\u202e", "\xc2\x1b", "👩\u200d🚀\n\t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		acts := func(r rune) bool {
			return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
		}
		for _, got := range []string{Safe(s), clean(s, false)} {
			if strings.ContainsFunc(got, acts) || !utf8.ValidString(got) {
				t.Errorf("%q became %q", s, got)
			}
		}
		if got := Safe(Safe(s)); got != Safe(s) {
			t.Errorf("%q became %q the second time", s, got)
		}
		plain := clean(s, true)
		for _, st := range []style{reset, bold, dim, red, green, yellow} {
			plain = strings.ReplaceAll(plain, string(st), "")
		}
		if strings.ContainsFunc(plain, acts) {
			t.Errorf("%q kept %q", s, plain)
		}
		if got := cleanLine(s, false); strings.ContainsAny(got, "\n\t") {
			t.Errorf("%q became %q", s, got)
		}
		if n, styled := displayWidth(clean(s, false)), displayWidth(clean(s, true)); n != styled {
			t.Errorf("%q: %d columns wide, %d with styles", s, n, styled)
		}
	})
}
