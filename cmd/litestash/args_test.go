package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func testApp() *cli.App {
	p := &program{stdout: io.Discard, stderr: io.Discard}
	return p.app()
}

func TestHoist(t *testing.T) {
	for _, test := range []struct{ typed, want []string }{
		{[]string{}, []string{}},
		{[]string{"push", "a.db"}, []string{"push", "--", "a.db"}},
		{[]string{"push", "a.db", "b.db", "--full"}, []string{"push", "--full", "--", "a.db", "b.db"}},
		{[]string{"--full", "push", "a.db"}, []string{"push", "--full", "--", "a.db"}},
		{[]string{"--name", "x", "push", "a.db"}, []string{"push", "--name", "x", "--", "a.db"}},

		// Flags of the program after the command, and before it.
		{[]string{"list", "--store", "s3://b", "n"}, []string{"--store", "s3://b", "list", "--", "n"}},
		{[]string{"list", "n", "-s", "s3://b", "--json"}, []string{"-s", "s3://b", "--json", "list", "--", "n"}},
		{[]string{"-q", "list", "--quiet=false"}, []string{"-q", "--quiet=false", "list"}},
		{[]string{"nonsense", "--json"}, []string{"--json", "--", "nonsense"}},

		// Values: apart, after an equals sign, with a dash, empty, and those of repeated flags.
		{[]string{"restore", "n", "-o", "-"}, []string{"restore", "-o", "-", "--", "n"}},
		{[]string{"restore", "n", "--output=-", "--at=latest"}, []string{"restore", "--output=-", "--at=latest", "--", "n"}},
		{[]string{"restore", "n", "-o=x=y"}, []string{"restore", "-o=x=y", "--", "n"}},
		{[]string{"push", "--name", "-x", "a.db"}, []string{"push", "--name", "-x", "--", "a.db"}},
		{[]string{"push", "--name", "--", "a.db"}, []string{"push", "--name", "--", "--", "a.db"}},
		{[]string{"push", "--name", "--help", "a.db"}, []string{"push", "--name", "--help", "--", "a.db"}},
		{[]string{"push", "--max-restarts", "-1", "a.db"}, []string{"push", "--max-restarts", "-1", "--", "a.db"}},
		{[]string{"push", "a.db", "--name", ""}, []string{"push", "--name", "", "--", "a.db"}},
		{[]string{"push", "--tag", "a=1", "a.db", "--tag=b=2"}, []string{"push", "--tag", "a=1", "--tag=b=2", "--", "a.db"}},

		// Arguments that are no flags.
		{[]string{"push", "-"}, []string{"push", "--", "-"}},
		{[]string{"push", ""}, []string{"push", "--", ""}},
		{[]string{"", "push"}, []string{"--", "", "push"}},
		{[]string{"push", "--full", "--", "--name", "-h", "--"}, []string{"push", "--full", "--", "--name", "-h", "--"}},
		{[]string{"list", "help"}, []string{"list", "--", "help"}},
		{[]string{"--", "list", "--json"}, []string{"list", "--", "--json"}},

		// A flag whose value is missing takes none of what comes elsewhere.
		{[]string{"push", "a.db", "--name"}, []string{"push", "--name"}},
		{[]string{"push", "a.db", "--full", "--store"}, []string{"--store"}},
		{[]string{"push", "a.db", "--json", "-o"}, []string{"--json", "push", "-o", "--", "a.db"}}, // push has no -o

		// Flags that nobody knows stay for the error.
		{[]string{"push", "a.db", "--bogus"}, []string{"push", "--bogus", "--", "a.db"}},
		{[]string{"--json", "--bogus"}, []string{"--json", "--bogus"}},

		// Help and the version, wherever they are asked for.
		{[]string{"-h"}, []string{"--help"}},
		{[]string{"--json", "--help"}, []string{"--json", "--help"}},
		{[]string{"push", "--help"}, []string{"push", "--help"}},
		{[]string{"--help", "push"}, []string{"push", "--help"}},
		{[]string{"push", "a.db", "--full", "-h", "b.db"}, []string{"push", "--help"}},
		{[]string{"--bogus", "push", "-help"}, []string{"push", "--help"}},
		{[]string{"help", "push"}, []string{"help", "--", "push"}},
		{[]string{"help", "push", "-h"}, []string{"help", "--help"}},
		{[]string{"nonsense", "-h"}, []string{"--", "nonsense"}},
		{[]string{"--version"}, []string{"--version"}},
		{[]string{"push", "a.db", "--version", "--json"}, []string{"--json", "--version"}},
	} {
		t.Run(strings.Join(test.typed, " "), func(t *testing.T) {
			got := hoist(testApp(), append([]string{"litestash"}, test.typed...))
			if want := append([]string{"litestash"}, test.want...); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
	if got := hoist(testApp(), nil); len(got) > 0 {
		t.Errorf("nothing became %q", got)
	}
}

// parse may look a flag up before it knows whose it is, because names mean one thing everywhere.
func TestFlagNames(t *testing.T) {
	app := testApp()
	global := flagTable(app.Flags)
	known := anyFlag(app)
	for _, c := range app.Commands {
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				if global[n] != nil {
					t.Errorf("%s has a flag %s, and so has the program", c.Name, n)
				}
				if takesValue(f) != takesValue(known[n]) {
					t.Errorf("flag %s takes a value with some commands only, such as %s", n, c.Name)
				}
			}
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"store", "s", "json", "no-progress", "no-color", "max-restarts", "push", "list"}
	for _, test := range []struct{ typed, want string }{
		{"sotre", "store"}, {"stroe", "store"}, {"Store", "store"}, {"jsno", "json"}, {"no-colour", "no-color"},
		{"no-prog", "no-progress"}, {"max", "max-restarts"}, {"pusj", "push"}, {"lits", "list"},
		{"bogus", ""}, {"x", ""}, {"", ""}, {"delete", ""},
	} {
		got, ok := nearest(test.typed, names)
		if got != test.want || ok != (test.want != "") {
			t.Errorf("%q: %q, %v; want %q", test.typed, got, ok, test.want)
		}
	}
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"abc", "abc", 0}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance of %q and %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
