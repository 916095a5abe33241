package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestManPage(t *testing.T) {
	app := testApp()
	page := manPage(app)
	for _, c := range app.Commands {
		if got := strings.Contains(page, "\n.SS \""+roff(c.Name)+"\"\n"); got == c.Hidden {
			t.Errorf("command %s, hidden %v, is in the page: %v", c.Name, c.Hidden, got)
		}
		if !c.Hidden {
			wantFlags(t, page, c.Flags)
		}
	}
	wantFlags(t, page, app.Flags)
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "'") || strings.Contains(line, "`") {
			t.Errorf("a line that troff takes for something else: %q", line)
		}
	}
	// The formatter tells of all that it does not understand.
	if _, ok := findTool(t, "groff"); !ok {
		t.Log("groff is not installed: the page is not formatted")
		return
	}
	format := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z")
	format.Stdin = strings.NewReader(page)
	if out, err := format.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v: %s", err, out)
	}
}

func wantFlags(t *testing.T, page string, flags []cli.Flag) {
	t.Helper()
	for _, f := range flags {
		if d := f.(cli.DocGenerationFlag); d.GetUsage() == "" {
			t.Errorf("flag %s has no help", f.Names()[0])
		}
		for _, n := range f.Names() {
			if !strings.Contains(page, `\fB`+roff(dashed(n))+`\fR`) {
				t.Errorf("flag %s is not in the page", n)
			}
		}
	}
}

func TestRoff(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"plain", "plain"}, {".br", `\&.br`}, {"'br", `\(aqbr`}, {`a\b`, `a\eb`}, {"--x", `\-\-x`}, {`"~^`, `\(dq\(ti\(ha`},
	} {
		if got := roff(test.in); got != test.want {
			t.Errorf("%q became %q, want %q", test.in, got, test.want)
		}
	}
}
