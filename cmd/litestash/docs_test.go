package main

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/store"
)

// The tests in this file keep what people read true: README.md, CONTRIBUTING.md, docs and the like.

const repository = "../.."

// documents returns the text of every page for people, by its path in the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "bench/*.md", "deploy/*.md", "format/*.md"} {
		paths, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(repository, path)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "deploy/README.md", "docs/incident.md", "format/FORMAT.md"} {
		if all[name] == "" {
			t.Fatalf("%s is not there", name)
		}
	}
	return all
}

// fences are the delimiters of blocks of code.
var fences = regexp.MustCompile("(?ms)^```\\w*\\n(.*?)^```$")

var codeSpans = regexp.MustCompile("`([^`\n]+)`")

// TestDocumentedCommands parses every command line of ours that a document shows.
func TestDocumentedCommands(t *testing.T) {
	seen := map[string]int{}
	for name, text := range documents(t) {
		if name == "format/FORMAT.md" {
			continue // its magic words look like command lines
		}
		for _, line := range commandLines(text) {
			for _, words := range shellCommands(line) {
				if !slices.Contains([]string{"litestash", "go run ./cmd/litestash"}, words[0]) {
					continue
				}
				command, err := parseOnly(words[1:])
				if err != nil {
					t.Errorf("%s: %s: %v", name, line, err)
				}
				seen[command]++
			}
		}
	}
	for _, c := range (&program{}).app().Commands {
		if !c.Hidden && c.Name != "help" && seen[c.Name] == 0 {
			t.Errorf("no document shows litestash %s", c.Name)
		}
	}
	for command, line := range map[string]string{
		"unknown flag":       "litestash push app.db --nope",
		"unknown command":    "litestash pull app.db",
		"bad value":          "litestash push app.db --max-stall soon",
		"too many arguments": "litestash verify a.db b.db",
		"missing argument":   "litestash push",
		"bad time":           "litestash restore app.db -o x.db --at teatime",
	} {
		if _, err := parseOnly(shellCommands(line)[0][1:]); err == nil {
			t.Errorf("%s: this test would not have noticed: %s", command, line)
		}
	}
}

// commandLines returns the lines of blocks of code, without prompts, and the spans of code.
func commandLines(text string) []string {
	var all []string
	for _, block := range fences.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
			all = append(all, strings.TrimPrefix(strings.TrimSpace(line), "$ "))
		}
	}
	for _, span := range codeSpans.FindAllStringSubmatch(fences.ReplaceAllString(text, ""), -1) {
		all = append(all, span[1])
	}
	return all
}

// shellCommands splits a line as far as the documents need it: into the commands of a list or pipe,
// and these into words, without redirections and assignments. "go run PACKAGE" becomes one word.
func shellCommands(line string) [][]string {
	var commands [][]string
	var words []string
	var word strings.Builder
	quote, inWord, redirect := rune(0), false, false
	endWord := func() {
		w := word.String()
		word.Reset()
		if !inWord || redirect || len(words) == 0 && strings.Contains(w, "=") {
			redirect = redirect && !inWord
		} else {
			words = append(words, w)
		}
		inWord = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 2 && words[0] == "go" && words[1] == "run" {
			words = append([]string{strings.Join(words[:3], " ")}, words[3:]...)
		}
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case unicode.IsSpace(r):
			endWord()
		case r == '#' && !inWord:
			endCommand()
			return commands
		case r == '|' || r == '&' || r == ';':
			endCommand()
		case r == '>' || r == '<':
			endWord()
			redirect = true
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	endCommand()
	return commands
}

// parseOnly parses a command line without running it, and returns the command's name.
func parseOnly(args []string) (string, error) {
	app := (&program{}).app()
	app.Before = nil
	name := ""
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return fmt.Errorf("there is no command %q", c.Args().First())
		}
		return nil
	}
	for _, c := range app.Commands {
		c.Action = func(c *cli.Context) error {
			name = c.Command.Name
			least, most := arity(c.Command.ArgsUsage)
			if err := wantArgs(c, least, most); err != nil {
				return err
			}
			// These stand for a value where a line shows what may be typed.
			if at := c.String("at"); at != "" && at != "TIME" {
				if _, err := parseAt(at, c.App.Compiled); err != nil {
					return err
				}
			}
			return nil
		}
	}
	err := app.Run(hoist(app, append([]string{app.Name}, args...)))
	return name, err
}

// arity returns how many arguments usage, such as "NAME [SNAPSHOT]" or "DB...", allows.
func arity(usage string) (least, most int) {
	for _, word := range strings.Fields(usage) {
		most++
		if !strings.HasPrefix(word, "[") {
			least++
		}
		if strings.HasSuffix(word, "...") || strings.HasSuffix(word, "...]") {
			return least, 1 << 20
		}
	}
	return least, most
}

// TestREADMEFlags compares the settings in README.md with those that there are.
func TestREADMEFlags(t *testing.T) {
	readme := documents(t)["README.md"]
	known := map[string]bool{"--wait": true, "--": true} // of docker, and of all
	app := (&program{}).app()
	flags := app.Flags
	for _, c := range app.Commands {
		if !c.Hidden {
			flags = append(flags, c.Flags...)
		}
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				known["--"+n] = true
			}
		}
		if name := "--" + f.Names()[0]; !slices.Contains([]string{"--help"}, name) && !strings.Contains(readme, "`"+name) {
			t.Errorf("README.md does not say why one would set %s", name)
		}
		if e, ok := f.(cli.DocGenerationFlag); ok {
			for _, name := range e.GetEnvVars() {
				if !strings.Contains(readme, "`"+name+"`") {
					t.Errorf("README.md does not name %s", name)
				}
			}
		}
	}
	for _, flag := range regexp.MustCompile(`(?m)[ \x60](--[a-z-]*)\b`).FindAllStringSubmatch(readme, -1) {
		if !known[flag[1]] {
			t.Errorf("README.md names %s, which no command has", flag[1])
		}
	}
}

// TestDocumentedStores parses the URL of every store that a document shows.
func TestDocumentedStores(t *testing.T) {
	n := 0
	for name, text := range documents(t) {
		for _, u := range regexp.MustCompile("s3://[^\\s`'\"|)]+").FindAllString(text, -1) {
			if strings.Contains(u, "...") {
				continue // stands for any
			}
			n++
			if _, err := store.ParseS3(u); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d URLs were found", n)
	}
}

// TestREADMEExitCodes compares the table in README.md with the one that the manual is made from, and that with the
// codes that there are.
func TestREADMEExitCodes(t *testing.T) {
	var documented []string
	plain := strings.NewReplacer("`", "", " ([what now](docs/incident.md#exit-code-4-what-now))", "")
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (.*) \|$`).FindAllStringSubmatch(documents(t)["README.md"], -1) {
		documented = append(documented, row[1]+": "+plain.Replace(row[2]))
	}
	var told []string
	codes := map[string]bool{}
	for _, e := range exitMeanings {
		told = append(told, fmt.Sprintf("%d: %s", e.code, e.meaning))
		codes[strconv.Itoa(e.code)] = true
	}
	if !slices.Equal(documented, told) {
		t.Errorf("README.md has the exit codes\n%s\nand the manual\n%s", strings.Join(documented, "\n"), strings.Join(told, "\n"))
	}
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	defined := regexp.MustCompile(`(?m)^\texit\w+ += (\d+)`).FindAllStringSubmatch(string(source), -1)
	if len(defined) != len(codes) {
		t.Errorf("%d codes are defined, %d told", len(defined), len(codes))
	}
	for _, d := range defined {
		if !codes[d[1]] {
			t.Errorf("nobody is told of exit code %s", d[1])
		}
	}
}

// TestDocumentLinks looks for what documents, and hints of the program, link to in the repository.
func TestDocumentLinks(t *testing.T) {
	all := documents(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, l := range link.FindAllStringSubmatch(fences.ReplaceAllString(all[name], ""), -1) {
			u, err := url.Parse(l[1])
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			target := name
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(name), u.Path)
			}
			if _, err := os.Stat(filepath.Join(repository, target)); err != nil {
				t.Errorf("%s links to %s: %v", name, l[1], err)
			} else if u.Fragment != "" && !slices.Contains(anchors(all[target]), u.Fragment) {
				t.Errorf("%s links to %s, and there is no such heading", name, l[1])
			}
		}
	}
	hints, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range regexp.MustCompile(`docs/[\w.]+\.md`).FindAllString(string(hints), -1) {
		if all[page] == "" {
			t.Errorf("a hint points to %s, which is not there", page)
		}
	}
}

// anchors returns the fragments by which the headings of a page are linked to on GitHub.
func anchors(text string) []string {
	var all []string
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(fences.ReplaceAllString(text, ""), -1) {
		id := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, h[1])
		all = append(all, id)
	}
	return all
}

// TestREADMEBegins keeps the two commands for a newcomer where the checks of the repository look.
func TestREADMEBegins(t *testing.T) {
	readme := documents(t)["README.md"]
	for _, command := range []string{"\ngo run ./cmd/litestash demo\n", "\ngo test ./...\n"} {
		if i := strings.Index(readme, command); i < 0 || strings.Count(readme[:i], "\n") > 60 {
			t.Errorf("README.md does not begin with %q", strings.TrimSpace(command))
		}
	}
}
