package main

import (
	"bytes"
	"runtime/debug"
	"strings"
	"testing"
)

// runWith runs the program with no input.
func runWith(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"litestash"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestHelp(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "COMMANDS:"},
		{[]string{"-h"}, "COMMANDS:"},
		{[]string{"help"}, "COMMANDS:"},
		{[]string{"help", "push"}, "litestash push - "},
		{[]string{"push", "--help"}, "litestash push - "},
		{[]string{"push", "no such.db", "-h", "--full"}, "litestash push - "},
		{[]string{"--help", "push"}, "litestash push - "},
		{[]string{"help", "help"}, "litestash help - "},
	} {
		code, stdout, stderr := runWith(t, test.args...)
		if code != exitDone || stderr != "" || !strings.Contains(stdout, test.want) {
			t.Errorf("%q ends with %d, prints %q and %q; want %q", test.args, code, stdout, stderr, test.want)
		}
		for _, flaw := range []string{"default: false", "(default: 0)", "demo-writer"} {
			if strings.Contains(stdout, flaw) {
				t.Errorf("%q prints %q", test.args, flaw)
			}
		}
	}
}

func TestUsageErrors(t *testing.T) {
	t.Setenv("LITESTASH_STORE", "")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"nonsense"}, `there is no command "nonsense"`},
		{[]string{"lits"}, `there is no command "lits"; is it list?`},
		{[]string{""}, `there is no command ""`},
		{[]string{"help", "nonsense"}, `there is no command "nonsense"`},
		{[]string{"push", "--nmae", "x", "a.db"}, "there is no flag --nmae; is it --name?"},
		{[]string{"list", "--jsn"}, "there is no flag --jsn; is it --json?"},
		{[]string{"list", "-z"}, "there is no flag -z\n"},
		{[]string{"push", "a.db", "--name"}, "flag --name needs a value"},
		{[]string{"restore", "a.db", "-o"}, "flag -o needs a value"},
		{[]string{"verify", "n", "--concurrency", "x"}, `--concurrency "x": want a whole number`},
		{[]string{"push", "--full=x", "a.db"}, `--full "x": want true or false`},
		{[]string{"push", "a.db", "--busy-timeout", "5"}, `--busy-timeout "5": want a time such as 500ms or 5s`},
		{[]string{"version"}, `there is no command "version"; is it --version?`},
		{[]string{"show", "a.db", "newest"}, `show "newest": want a time such as`},
		{[]string{"delete", "a b.db", "latest"}, `delete takes exact names such as 20261122T073500.004Z-7q3dk29f0a1bc, which litestash list 'a b.db' shows, and not "latest"`},
		{[]string{"restore", "a.db", "new one.db"}, "say where to with -o: litestash restore a.db -o 'new one.db'"},
		{[]string{"restore", "a.db", "-o", "out/"}, "-o out/ names a directory"},
		{[]string{"push", "a.db", "--busy-timeout", "-1s"}, "--busy-timeout -1s: want none that is negative"},
		{[]string{"push", "a.db", "--max-restarts=-1"}, "--max-restarts -1: want none that is negative"},
		{[]string{"push", "a.db", "--max-stall", "0s"}, "--max-stall 0s: a copy holds commits up for some time"},
		{[]string{"restore", "a.db", "-o", "a", "--concurrency", "-2"}, "--concurrency -2: want none that is negative"},
		{[]string{"verify", "a.db", "--concurrency", "-2"}, "--concurrency -2: want none that is negative"},
		{[]string{"list", "-s", "a", "--store", "b"}, "two forms of the same flag"},
		{[]string{"list", "help"}, "no store is given"},
		{[]string{"watch", "a.db", "--every", "0.1s"}, `--every "0.1s": want a time such as 90m or 2d; 1s is the least`},
		{[]string{"watch", "a.db", "--every", "0s"}, "1s is the least"},
		{[]string{"export", "a.db", "-o", "x"}, "hint: litestash export --help tells how\n"},
		{[]string{"--quiet", "nonsense"}, "hint: litestash --help and litestash COMMAND --help tell how\n"},
	} {
		code, stdout, stderr := runWith(t, test.args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%q ends with %d, prints %q and %q; want %q", test.args, code, stdout, stderr, test.want)
		}
	}
	t.Setenv("LITESTASH_JSON", "perhaps")
	code, _, stderr := runWith(t, "list")
	if want := `LITESTASH_JSON="perhaps" in the environment: want true or false`; code != exitUsage || !strings.Contains(stderr, want) {
		t.Errorf("ends with %d and prints %q; want %q", code, stderr, want)
	}
}

func TestBuildOf(t *testing.T) {
	for _, test := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{}, "devel ("},
		{debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel ("},
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3 (go"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "true"}}},
			"devel (revision 0123456789ab modified, go"},
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}}},
			"v1.2.3 (revision abc, go"},
	} {
		if got := buildOf(&test.info).String(); !strings.HasPrefix(got, test.want) {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	code, stdout, _ := runWith(t, "push", "--version")
	if want := "litestash " + version() + " ("; code != exitDone || !strings.HasPrefix(stdout, want) || strings.Count(stdout, "\n") != 1 {
		t.Errorf("--version ends with %d and prints %q, want %q", code, stdout, want)
	}
}
