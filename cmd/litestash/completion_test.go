package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

const (
	olderName = "20260101T000000.000Z-0000000000001"
	newerName = "20260102T000000.000Z-0000000000002"
)

// namesStore returns a directory store in which two databases seem to be: names come from keys.
func namesStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	st, err := store.Open(t.Context(), dir, store.Options{AllowNew: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"app.db/" + olderName, "app.db/" + newerName, "it's a:name/x.db/" + newerName, "\u202eevil.db/" + newerName,
	} {
		key += ".full.db.zst"
		if _, ok := format.ParseKey(key); !ok {
			t.Fatalf("%q is no key", key)
		}
		if _, err := st.Create(t.Context(), key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestComplete(t *testing.T) {
	dir := namesStore(t)
	t.Setenv("LITESTASH_STORE", dir)
	t.Setenv("HOME", filepath.Dir(dir))
	for _, test := range []struct {
		typed []string // the last is begun
		want  []string // the kind and the words
	}{
		{[]string{"pu"}, []string{"words", "push"}},
		{[]string{"--json", "ve"}, []string{"words", "verify"}},
		{[]string{"-s", "x", "ve"}, []string{"words", "verify"}},
		{[]string{"demo-"}, []string{"words"}}, // hidden
		{[]string{"nonsense", ""}, []string{"words"}},
		{[]string{"help", "comp"}, []string{"words", "completion"}},
		{[]string{"help", "push", ""}, []string{"words"}},
		{[]string{"completion", ""}, []string{"words", "bash", "zsh", "fish"}},

		{[]string{"push", ""}, []string{"files"}},
		{[]string{"push", "a.db", "--max-s"}, []string{"words", "--max-stall"}},
		{[]string{"push", "a.db", "--jso"}, []string{"words", "--json"}},
		{[]string{"push", "--", "--max-s"}, []string{"files"}},
		{[]string{"push", "--name", ""}, []string{"words", "app.db", "it's a:name/x.db"}},
		{[]string{"restore", "-"}, nil},
		{[]string{"restore", "app.db", "-o", "x"}, []string{"files"}},
		{[]string{"restore", "app.db", "--output=x"}, []string{"files"}},
		{[]string{"restore", "--check", ""}, []string{"words", "none", "quick", "full"}},
		{[]string{"restore", "--check=q"}, []string{"words", "--check=quick"}},
		{[]string{"restore", "--replace=t"}, []string{"words"}},
		{[]string{"restore", "--at", "la", "app.db"}, []string{"words", "app.db"}},
		{[]string{"list", "--store", "x"}, []string{"dirs"}},
		{[]string{"--temp-dir=x"}, []string{"dirs"}},

		{[]string{"list", ""}, []string{"words", "app.db", "it's a:name/x.db"}},
		{[]string{"verify", "a"}, []string{"words", "app.db"}},
		{[]string{"verify", `it\'s\ `}, []string{"words", "it's a:name/x.db"}},
		{[]string{"verify", `"it's a`}, []string{"words", "it's a:name/x.db"}},
		{[]string{"list", "app.db", ""}, []string{"words"}},
		{[]string{"restore", "app.db", "--at", ""}, []string{"words", "latest", newerName, olderName}},
		{[]string{"restore", "--at", ""}, []string{"words", "latest"}},
		{[]string{"show", "app.db", "20260102"}, []string{"words", newerName}},
		{[]string{"delete", "app.db", newerName, ""}, []string{"words", olderName}},
		{[]string{"delete", "no such.db", ""}, []string{"words"}},
		{[]string{"list", "-s", dir + "/nothing here", ""}, []string{"words"}},
		{[]string{"list", "-s", "~/store", "a"}, []string{"words", "app.db"}},
		{[]string{"list", "-s", "s3://", ""}, []string{"words"}},
		{[]string{"copy", "--to", ""}, []string{"dirs"}},
		{[]string{"copy", "app.db", "i"}, []string{"words", "it's a:name/x.db"}},
		{[]string{"export", "a"}, []string{"words", "app.db"}},
		{[]string{"export", "app.db", ""}, []string{"dirs"}},
		{[]string{"export", "--all-databases", ""}, []string{"dirs"}},
		{[]string{"doctor", ""}, []string{"words"}},
	} {
		t.Run(strings.Join(test.typed, " "), func(t *testing.T) {
			code, stdout, stderr := runWith(t, append(slices.Clone(test.typed), completionFlag)...)
			var got []string
			for line := range strings.Lines(stdout) {
				word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
				got = append(got, word)
			}
			if code != exitDone || stderr != "" {
				t.Errorf("ends with %d and prints %q", code, stderr)
			}
			if test.want == nil {
				for _, w := range []string{"-o", "--output", "--store", "-s", "--help", "-h"} {
					if !slices.Contains(got, w) {
						t.Errorf("%q lacks %q", got, w)
					}
				}
			} else if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestUnquote(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	for _, test := range []struct{ typed, want string }{
		{"", ""}, {"plain", "plain"}, {`a\ b`, "a b"}, {`'a b'`, "a b"}, {`"a b`, "a b"}, {`'it'\''s'`, "it's"},
		{`"a\"b"`, `a"b`}, {`'a\b'`, `a\b`}, {`a\`, `a\`}, {"~/x", "/home/me/x"}, {"'~/x'", "~/x"}, {"a~/x", "a~/x"},
		{"$(touch x)", "$(touch x)"}, {"`x`", "`x`"},
	} {
		if got := unquote(test.typed); got != test.want {
			t.Errorf("%s became %q, want %q", test.typed, got, test.want)
		}
	}
}

// findTool returns the path of a program, if it is installed. Where all have to be, it fails the test otherwise.
func findTool(t *testing.T, name string) (path string, ok bool) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("LITESTASH_TEST_REQUIRE_TOOLS") == "1" {
		t.Fatalf("%s is not installed", name)
	}
	return path, err == nil
}

// shellOutput lets a shell run a script that begins with what completion prints for it.
func shellOutput(t *testing.T, shell string, script string) string {
	t.Helper()
	path, ok := findTool(t, shell)
	if !ok {
		t.Skipf("%s is not installed", shell)
	}
	code, completion, _ := runWith(t, "completion", shell)
	if code != exitDone {
		t.Fatalf("completion %s ends with %d", shell, code)
	}
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(script, "COMPLETION", completion)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := map[string][]string{"bash": {"--norc", "--noprofile"}, "zsh": {"-f"}, "fish": {"--no-config"}}[shell]
	out, err := exec.Command(path, append(args, file)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", shell, err, out)
	}
	return string(out)
}

func TestBash(t *testing.T) {
	t.Setenv("LITESTASH_STORE", namesStore(t))
	t.Setenv("CANARY", filepath.Join(t.TempDir(), "canary"))
	const script = `COMPLETION
compopt() { :; } # it works at a prompt only
try() { # LINE WORD...
	COMP_LINE=$1 COMP_POINT=${#1}
	shift
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
	_litestash
	for word in "${COMPREPLY[@]}"; do printf '%s|' "$word"; done
	echo
}
try 'litestash pu' litestash pu
try 'litestash restore --check=q' litestash restore --check = q
try 'litestash restore --check=' litestash restore --check = ''
try 'litestash list ' litestash list ''
try 'litestash list it\'\''s\ a:n' litestash list 'it\'\''s\ a' : n
try 'litestash list "it'\''s' litestash list '"it'\''s'
try 'litestash push ' litestash push ''
try 'litestash list $(touch $CANARY) ` + "`touch $CANARY`" + ` a' litestash list '$(touch $CANARY)' '` + "`touch $CANARY`" + `' a
`
	const want = "push|\nquick|\nnone|quick|full|\napp.db|it\\'s\\ a:name/x.db|\nname/x.db|\nit's a:name/x.db|\n\n\n"
	if got := shellOutput(t, "bash", script); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := os.Stat(os.Getenv("CANARY")); err == nil {
		t.Error("a command ran that was only typed")
	}
}

func TestFish(t *testing.T) {
	t.Setenv("LITESTASH_STORE", namesStore(t))
	t.Setenv("HOME", t.TempDir()) // where fish keeps things
	const script = `COMPLETION
for line in 'litestash pu' 'litestash restore --check=q' 'litestash list ' 'litestash list "it' 'litestash restore app.db --at 20260102' 'litestash push /etc/passw'
    complete -C $line | string replace -r '\t.*' '' | string join '|'
end
`
	const want = "push\n--check=quick\napp.db|it's a:name/x.db\nit's a:name/x.db\n" + newerName + "\n/etc/passwd"
	if got := shellOutput(t, "fish", script); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// zsh completes only on a terminal, so the script makes one. What it shows there is drawn with
// moves of the cursor; the words are printed after that.
func TestZsh(t *testing.T) {
	t.Setenv("LITESTASH_STORE", namesStore(t))
	const script = `cat > $0.completion <<'END'
COMPLETION
END
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "autoload -U compinit; compinit -D -u; . $0.completion; bindkey '^I' complete-word; setopt noautomenu; echo set-up''-done"
zpty -r -m z out '*set-up-done*' || exit 1
for line in 'litestash pu' 'litestash restore --check=q' 'litestash list it' 'litestash list it\'\''s\ a:n' 'litestash show app.db 20260102' 'litestash push /etc/passw'; do
	# The start of the line, print, its end: the words are printed and not run.
	zpty -w -n z "$line"$'\t\C-aprint -rl -- "<" \C-e ">"\n'
	zpty -r -m z out $'*\n<*\n>*' || exit 1
	out=${out##*$'\n<'}
	print -r -- "${${(j:|:)${(f)${out//$'\r'/}}}%%|>*}"
done
zpty -d z
`
	const want = "litestash|push\n" +
		"litestash|restore|--check=quick\n" +
		"litestash|list|it's a:name/x.db\n" +
		"litestash|list|it's a:name/x.db\n" +
		"litestash|show|app.db|" + newerName + "\n" +
		"litestash|push|/etc/passwd\n"
	if got := shellOutput(t, "zsh", script); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
