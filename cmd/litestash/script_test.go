package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/agetool"
	"github.com/litestash/litestash/internal/sqliteshell"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/upload"
)

// setUpScript gives a script $GOLDEN, the store that holds all released formats.
func setUpScript(e *testscript.Env) error {
	e.Values[heldKey{}] = &held{}
	golden, err := filepath.Abs("../../format/testdata/golden/v1")
	if err != nil {
		return err
	}
	e.Setenv("GOLDEN", golden)
	e.Setenv("GORACE", os.Getenv("GORACE"))
	e.Setenv("LITESTASH_STATE_DIR", filepath.Join(e.WorkDir, ".state"))
	return nil
}

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// scriptCommands are what scripts can call:
//
//	exits CODE PROGRAM [ARG...]   runs a program, which has to exit with the code
//	json PATH VALUE               the output is one JSON document, and VALUE stands at PATH, such as 0.name
//	json PATH keys KEY...         the object at PATH has exactly these keys
//	json PATH length N            the array at PATH has N elements
//	jsonlines N                   the output is N JSON documents, each on a line
//	save NAME                     puts the output, without its newline, into the variable NAME
//	timeof NAME SNAP FORM [AGE]   puts the time of a snapshot into NAME, plus AGE, such as -1h, in the form of Go's layouts
//	push-at TIME DB STORE         pushes DB as of a time in the past
//	unread DB                     pushes DB until it is said to be unchanged without being read
//	same DB DB...                 the sqlite3 shell finds them sound, and the same in them
//	clean DIR...                  nothing is in the directories that litestash leaves only when it is killed
//	age-tools                     puts age and age-keygen on the PATH
//	flip FILE OFFSET              flips a bit; a negative offset counts from the end
//	truncate FILE SIZE            makes the file that long; a negative size is taken off
//	later-version FILE            makes an object one of format version 2, which does not exist yet
//	hold DB SQL                   runs SQL in a sqlite3 shell that stays until the script ends, or until: release
//	crash DB SQL                  runs SQL in a sqlite3 shell and kills it before it ends by itself
//	zonefile FILE HOURS           makes a time zone, for TZ
//	ping-service FILE LOG [CODE]  starts a server that notes in LOG what it is asked for, and puts its address into FILE
//
// The condition [root] is for scripts that only root can run, [mounts] for those that can mount disks.
var scriptCommands = map[string]scriptCommand{
	"exits":     scriptExits,
	"age-tools": scriptAgeTools,
	"json":      scriptJSON,
	"jsonlines": scriptJSONLines,
	"save":      scriptSave,
	"timeof":    scriptTimeOf,
	"push-at":   scriptPushAt,
	"unread":    scriptUnread,
	"same":      scriptSame,
	"clean":     scriptClean,
	"flip":      scriptFlip,
	"truncate":  scriptTruncate,
	"zonefile":  scriptZoneFile,

	"later-version": scriptLaterVersion,
	"ping-service":  scriptPingService,
	"hold":          scriptHold,
	"release":       scriptRelease,
	"crash":         scriptCrash,
}

func scriptCondition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "mounts":
		// Root in a container may not.
		return os.Getuid() == 0 && exec.Command("unshare", "--mount", "true").Run() == nil, nil
	}
	return false, fmt.Errorf("the condition [%s] is not known", name)
}

// want ends a script that calls a command in another way than it should be.
func want(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "exits CODE PROGRAM [ARG...]")
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%s: %v", args[1], err)
	}
	got := 0
	if exit != nil {
		got = exit.ExitCode()
	}
	if got != code {
		ts.Fatalf("%s exits with %d, want %d", args[1], got, code)
	}
}

func scriptAgeTools(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 0, "age-tools")
	dir := ts.MkAbs(".age")
	ts.Check(os.Mkdir(dir, 0o700))
	ts.Check(agetool.Build(dir))
	ts.Setenv("PATH", dir+string(os.PathListSeparator)+ts.Getenv("PATH"))
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "json PATH VALUE | keys KEY... | length N")
	documents, err := documentsIn(ts.ReadFile("stdout"))
	ts.Check(err)
	if len(documents) != 1 {
		ts.Fatalf("the output is %d JSON documents, want 1", len(documents))
	}
	v, err := valueAt(documents[0], args[0])
	ts.Check(err)
	switch array, object := asArray(v), asObject(v); {
	case args[1] == "length" && array != nil:
		if got := strconv.Itoa(len(array)); got != args[2] {
			ts.Fatalf("%s has %s elements, want %s", args[0], got, args[2])
		}
	case args[1] == "keys" && object != nil:
		got := slices.Sorted(maps.Keys(object))
		if want := slices.Sorted(slices.Values(args[2:])); !slices.Equal(got, want) {
			ts.Fatalf("%s has the keys %q, want %q", args[0], got, want)
		}
	default:
		if got := fmt.Sprint(v); got != args[1] {
			ts.Fatalf("at %s stands %q, want %q", args[0], got, args[1])
		}
	}
}

func asArray(v any) []any           { a, _ := v.([]any); return a }
func asObject(v any) map[string]any { m, _ := v.(map[string]any); return m }

// documentsIn reads JSON documents, each of which has to be one line.
func documentsIn(text string) ([]any, error) {
	var all []any
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("the last line does not end: %q", line)
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		if _, err := d.Token(); err != io.EOF {
			return nil, fmt.Errorf("more than a document on a line: %q", line)
		}
		all = append(all, v)
	}
	return all, nil
}

// valueAt returns what stands at a path such as 0.database; a single dot is the whole document.
func valueAt(v any, path string) (any, error) {
	if path == "." {
		return v, nil
	}
	for part := range strings.SplitSeq(path, ".") {
		if array := asArray(v); array != nil {
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(array) {
				return nil, fmt.Errorf("%s: there is no element %s", path, part)
			}
			v = array[i]
			continue
		}
		inner, ok := asObject(v)[part]
		if !ok {
			return nil, fmt.Errorf("%s: there is no %s", path, part)
		}
		v = inner
	}
	return v, nil
}

func scriptJSONLines(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "jsonlines N")
	documents, err := documentsIn(ts.ReadFile("stdout"))
	ts.Check(err)
	if got := strconv.Itoa(len(documents)); got != args[0] {
		ts.Fatalf("the output is %s JSON documents, want %s", got, args[0])
	}
}

func scriptSave(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "save NAME")
	text := strings.TrimSuffix(ts.ReadFile("stdout"), "\n")
	if text == "" || strings.Contains(text, "\n") {
		ts.Fatalf("the output is not one line: %q", text)
	}
	ts.Setenv(args[0], text)
}

func scriptTimeOf(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, "timeof NAME SNAPSHOT FORM [AGE]")
	name, err := format.ParseName(args[1])
	ts.Check(err)
	at := name.Time.UTC()
	if len(args) > 3 {
		shift, err := time.ParseDuration(args[3])
		ts.Check(err)
		at = at.Add(shift)
	}
	ts.Setenv(args[0], at.Format(args[2]))
}

// An oldImage is the image of a database that says that it was taken at another time.
type oldImage struct {
	*snapshot.Image
	taken time.Time
}

func (i *oldImage) Taken() time.Time { return i.taken }

func scriptPushAt(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, "push-at TIME DB STORE")
	ctx, path := context.Background(), ts.MkAbs(args[1])
	at, err := time.Parse(time.RFC3339, args[0])
	ts.Check(err)
	st, err := store.Open(ctx, ts.MkAbs(args[2]), store.Options{AllowNew: true})
	ts.Check(err)
	memory, err := state.New("")
	ts.Check(err)
	defer memory.Close()
	push, err := upload.Begin(ctx, st, upload.Options{
		Memory:   memory,
		Database: filepath.Base(path),
		Source:   format.Source{Host: "testhost", Path: path},
		Creator:  "a test",
		Now:      func() time.Time { return at },
	})
	ts.Check(err)
	result, err := push.Commit(ctx, func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
		img, err := snapshot.Take(ctx, path, snapshot.Options{Salt: salt})
		ts.Check(err)
		ts.Defer(func() { img.Close() })
		return &oldImage{img, at}, nil
	})
	ts.Check(err)
	ts.Check(result.Damage)
	fmt.Fprintln(ts.Stdout(), result.Snapshot.Name)
}

func scriptSame(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "same DB DB...")
	var first string
	for i, path := range args {
		dump, err := dumpOf(ts.MkAbs(path))
		ts.Check(err)
		if i == 0 {
			first = dump
		}
		if dump != first {
			ts.Fatalf("%s and %s do not hold the same", args[0], path)
		}
	}
}

// dumpOf returns all that is in a database, if it is sound.
func dumpOf(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", err // the shell would make it
	}
	check, err := sqliteshell.Run(path, "PRAGMA integrity_check")
	if err != nil {
		return "", err
	}
	if check != "ok\n" {
		return "", fmt.Errorf("%s is damaged: %s", path, check)
	}
	return sqliteshell.Run(path, ".dump")
}

func scriptClean(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "clean DIR...")
	for _, dir := range args {
		left, err := leftovers(ts.MkAbs(dir))
		ts.Check(err)
		if len(left) > 0 {
			ts.Fatalf("left behind in %s: %q", dir, left)
		}
	}
}

// leftovers returns the temporary files of litestash below a directory.
func leftovers(dir string) ([]string, error) {
	var left []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := e.Name()
		if strings.Contains(path, "/.litestash-tmp") || strings.HasPrefix(name, "litestash-") || strings.Contains(name, ".restore-") {
			left = append(left, path)
		}
		return nil
	})
	return left, err
}

func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "flip FILE OFFSET")
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	off, err := strconv.Atoi(args[1])
	ts.Check(err)
	if off < 0 {
		off += len(b)
	}
	b[off] ^= 0x10
	ts.Check(os.WriteFile(path, b, 0o600))
}

func scriptTruncate(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "truncate FILE SIZE")
	path := ts.MkAbs(args[0])
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	if size < 0 {
		info, err := os.Stat(path)
		ts.Check(err)
		size += info.Size()
	}
	ts.Check(os.Truncate(path, size))
}

// scriptZoneFile writes the least that is a time zone, see RFC 9636, section 3: hosts may have none.
func scriptZoneFile(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "zonefile FILE HOURS")
	hours, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := append([]byte("TZif"), make([]byte, 16)...)
	for _, count := range []uint32{0, 0, 0, 0, 1, 4} { // one type of local time, four bytes of names
		b = binary.BigEndian.AppendUint32(b, count)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(int32(hours*3600)))
	b = append(b, 0, 0)
	b = append(b, "TST\x00"...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// scriptPingService serves what a ping needs. It answers with 200, or always with CODE.
func scriptPingService(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "ping-service FILE LOG [CODE]")
	code := http.StatusOK
	if len(args) > 2 {
		var err error
		code, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	log, err := os.OpenFile(ts.MkAbs(args[1]), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := fmt.Fprintln(log, r.URL.Path); err != nil {
			code = http.StatusInternalServerError
		}
		w.WriteHeader(code)
	}))
	ts.Defer(func() {
		server.Close()
		ts.Check(log.Close())
	})
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(server.URL+"/secret\n"), 0o600))
}

func scriptLaterVersion(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "later-version FILE")
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	for _, magic := range []string{"LITESTSH", "LSTINDEX"} {
		at := bytes.Index(b, []byte(magic))
		if at < 0 {
			ts.Fatalf("%s holds no %s", args[0], magic)
		}
		binary.LittleEndian.PutUint32(b[at+len(magic):], 2)
	}
	ts.Check(os.WriteFile(path, b, 0o600))
}

// held are the shells that a script holds databases open with.
type held struct{ shells []*sqliteshell.Shell }

type heldKey struct{}

func (h *held) kill() error {
	var all []error
	for _, s := range h.shells {
		all = append(all, s.Kill())
	}
	h.shells = nil
	return errors.Join(all...)
}

func scriptUnread(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "unread DB")
	// What has just changed is read until its times are old enough, see snapshot.Look.
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec("litestash", "push", args[0], "--json"))
		var r pushed
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &r))
		if !r.Unchanged {
			ts.Fatalf("%s is said to have changed", args[0])
		}
		if r.Held == 0 {
			return
		}
	}
	ts.Fatalf("%s is read every time", args[0])
}

func scriptHold(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "hold DB SQL")
	h := ts.Value(heldKey{}).(*held)
	s, err := sqliteshell.Start(ts.MkAbs(args[0]), args[1])
	ts.Check(err)
	if len(h.shells) == 0 {
		ts.Defer(func() { ts.Check(h.kill()) })
	}
	h.shells = append(h.shells, s)
}

func scriptRelease(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 0, "release")
	ts.Check(ts.Value(heldKey{}).(*held).kill())
}

func scriptCrash(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "crash DB SQL")
	s, err := sqliteshell.Start(ts.MkAbs(args[0]), args[1])
	ts.Check(err)
	ts.Check(s.Kill())
}
