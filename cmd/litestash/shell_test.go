package main

import (
	"os/exec"
	"testing"
)

func TestShellQuote(t *testing.T) {
	for _, s := range []string{"app.db", "", "~", "a b", "it's", "$(id)", "`id`", `a\b"c`, "!x", "*", "a\nb", "#", "s3://b/p?endpoint=http://h&x=y", "'"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q is quoted as %s, which a shell reads as %q (%v)", s, shellQuote(s), out, err)
		}
	}
	if got := shellQuote("tenants/42/app.db"); got != "tenants/42/app.db" {
		t.Errorf("a plain word is quoted: %s", got)
	}
}
