// Package internal holds single small ideas, one a folder, and the test of how all packages fit
// together.
package internal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/litestash/litestash"

// A listedPackage is what go list says of a package.
type listedPackage struct {
	ImportPath   string
	Name         string
	Standard     bool
	Imports      []string // without those of tests
	TestImports  []string
	XTestImports []string
}

// ours returns the import path below the module, and false for a package of another.
func (p *listedPackage) ours() (string, bool) {
	if p.ImportPath == module {
		return "", true
	}
	return strings.CutPrefix(p.ImportPath, module+"/")
}

// packages returns all packages of the module and what they rest on, by import path.
func packages(t *testing.T) map[string]*listedPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Standard,Imports,TestImports,XTestImports", module+"/...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	all := map[string]*listedPackage{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(listedPackage)
		err := d.Decode(p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	rooms := map[string]bool{}
	for _, p := range all {
		if name, ours := p.ours(); ours {
			rooms[roomOf(name)] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(rooms)), slices.Sorted(maps.Keys(mayImport)); !slices.Equal(got, want) {
		t.Fatalf("the rooms are %q, and this test knows %q", got, want)
	}
	return all
}

// TestLayout holds the packages to what each may know. The folders are the architecture.
func TestLayout(t *testing.T) {
	all := packages(t)
	for _, p := range all {
		name, ours := p.ours()
		if !ours {
			continue
		}
		checkName(t, name, p)
		for _, imported := range p.Imports {
			if why := forbidden(name, imported, all[imported]); why != "" {
				t.Errorf("%s imports %s: %s", name, imported, why)
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if strings.HasPrefix(imported, module+"/cmd/") {
				t.Errorf("a test of %s imports %s: commands are imported by nobody", name, imported)
			}
		}
	}
}

// checkName refuses names that say nothing about what a package is for.
func checkName(t *testing.T, name string, p *listedPackage) {
	for part := range strings.SplitSeq(name, "/") {
		if slices.Contains([]string{"util", "utils", "common", "types", "helper", "helpers", "misc", "shared"}, part) {
			t.Errorf("%s: %q says nothing about what the package is for", name, part)
		}
	}
	if base := path.Base(name); p.Name != base && p.Name != "main" {
		t.Errorf("the folder %s holds package %s", name, p.Name)
	}
}

// A fence says which of our packages may import what is at or below an import path.
type fence struct {
	path    string
	allowed []string
}

var fences = []fence{
	{"github.com/aws", []string{"store"}},                                      // the cloud
	{"github.com/ncruces/go-sqlite3", []string{"snapshot", "internal/sample"}}, // SQLite
	{"github.com/urfave", []string{"cmd/litestash"}},
	{"filippo.io/age", []string{"seal"}}, // encryption
	{"golang.org/x/crypto", []string{"seal"}},
	{"net/http", []string{"store", "internal/ping", "bench/meter"}},
	{"database/sql", nil},
	{"testing", []string{"store/storetest", "internal/seed"}},
	{module + "/cmd", nil},
	{module + "/internal/ui", []string{"cmd/litestash"}}, // terminals
	// For tests alone.
	{module + "/store/storetest", nil},
	{module + "/upload/uploadtest", nil},
	{module + "/internal/agetool", nil},
	{module + "/internal/membucket", nil},
	{module + "/internal/memimage", []string{"upload/uploadtest"}},
	{module + "/internal/pty", nil},
	{module + "/internal/race", []string{"store/storetest"}},
	{module + "/internal/seed", nil},
	{module + "/internal/sqliteshell", nil},
}

// mayImport says which other rooms each room may import, as the table in CONTRIBUTING.md does. The
// commands alone may import all.
var mayImport = map[string][]string{
	"format":    nil,
	"internal":  {"format"},
	"store":     {"internal"},
	"snapshot":  {"format", "internal"},
	"state":     {"format", "internal"},
	"seal":      {"format", "store"},
	"catalog":   {"format", "seal", "store"},
	"chain":     {"catalog", "format", "internal", "seal", "store"},
	"retention": {"catalog", "format", "store"},
	"transfer":  {"catalog", "chain", "format", "internal", "seal", "store"},
	"restore":   {"catalog", "chain", "format", "internal", "seal", "store"},
	"upload":    {"catalog", "chain", "format", "internal", "seal", "state", "store"},
	"survey":    {"catalog", "format", "seal", "store"},
	"policy":    {"catalog", "format"},
	"doctor":    {"catalog", "format", "internal", "store"},
	"watch":     nil,
	"bench":     {"format", "state", "store", "upload"},
	"cmd":       {"catalog", "chain", "doctor", "format", "internal", "policy", "restore", "retention", "seal", "snapshot", "state", "store", "survey", "transfer", "upload", "watch"},
}

// Package format is pure: bytes in and values out.
var (
	codecs = []string{"github.com/klauspost/compress", "golang.org/x/text"}
	inputs = []string{"os", "net", "syscall", "log", "context", "time/tzdata"}
)

// forbidden says why the package name of ours may not import another, or "".
func forbidden(name, imported string, p *listedPackage) string {
	for _, f := range fences {
		if below(imported, f.path) && !slices.Contains(f.allowed, name) {
			return fmt.Sprintf("only these may: %q", f.allowed)
		}
	}
	path, ours := strings.CutPrefix(imported, module+"/")
	from, to := roomOf(name), roomOf(path)
	switch {
	case ours && from != to && !slices.Contains(mayImport[from], to):
		return fmt.Sprintf("of ours, only these may be imported: %q", mayImport[from])
	case name != "format":
		return ""
	case slices.ContainsFunc(inputs, func(i string) bool { return below(imported, i) }):
		return "format does no I/O"
	case !p.Standard && !slices.ContainsFunc(codecs, func(c string) bool { return below(imported, c) }):
		return "format imports codecs and the standard library alone"
	}
	return ""
}

// roomOf returns the top folder of a package of ours.
func roomOf(name string) string {
	room, _, _ := strings.Cut(name, "/")
	return room
}

// below reports whether an import path is path or continues it.
func below(imported, path string) bool {
	return imported == path || strings.HasPrefix(imported, path+"/")
}

// TestForbidden makes sure that the rules can be broken.
func TestForbidden(t *testing.T) {
	standard, other := &listedPackage{Standard: true}, &listedPackage{}
	for _, c := range []struct {
		name, imported string
		p              *listedPackage
		allowed        bool
	}{
		{"store", "github.com/aws/aws-sdk-go-v2/service/s3", other, true},
		{"upload", "github.com/aws/smithy-go", other, false},
		{"snapshot", "github.com/ncruces/go-sqlite3/vfs", other, true},
		{"restore", "github.com/ncruces/go-sqlite3", other, false},
		{"restore", module + "/snapshot", other, false},
		{"snapshot", module + "/upload", other, false},
		{"retention", module + "/restore", other, false},
		{"internal/memimage", module + "/format", other, true},
		{"internal/ui", module + "/store", other, false},
		{"internal/ui", module + "/internal/human", other, true},
		{"cmd/litestash", module + "/internal/ui", other, true},
		{"internal/disk", module + "/internal/ui", other, false},
		{"upload", module + "/internal/memimage", other, false},
		{"unheard-of", module + "/format", other, false},
		{"upload", module + "/store", other, true},
		{"cmd/litestash", module + "/snapshot", other, true},
		{"upload", module + "/cmd/litestash", other, false},
		{"format", "github.com/klauspost/compress/zstd", other, true},
		{"format", "golang.org/x/text/unicode/norm", other, true},
		{"format", "encoding/json", standard, true},
		{"format", "os", standard, false},
		{"format", "golang.org/x/sys/unix", other, false},
		{"format", module + "/store", other, false},
	} {
		if why := forbidden(c.name, c.imported, c.p); (why == "") != c.allowed {
			t.Errorf("%s imports %s: %q, but allowed is %v", c.name, c.imported, why, c.allowed)
		}
	}
}
