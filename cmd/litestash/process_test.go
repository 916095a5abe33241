package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litestash/litestash/internal/sqliteshell"
)

// oneRun is held while the program runs in this process: package cli has one flag for help, which each
// run writes to.
var oneRun sync.Mutex

// lite runs litestash in this process.
func lite(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	oneRun.Lock()
	defer oneRun.Unlock()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"litestash"}, args...), nil, &out, &errs)
	return code, out.String(), errs.String()
}

// mustLite returns the output of a command that has to succeed.
func mustLite(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := lite(t, args...)
	if code != 0 {
		t.Fatalf("litestash %q exits with %d: %s", args, code, stderr)
	}
	return stdout
}

// A process is litestash in a process of its own.
type process struct {
	*exec.Cmd
	out, errs bytes.Buffer
	ended     chan error // gets what Wait returns
}

// startLite starts a process. It ends with the test at the latest.
func startLite(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command("litestash", args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, ended: make(chan error, 1)}
	if p.Stdout == nil {
		p.Stdout = &p.out
	}
	if p.Stderr == nil {
		p.Stderr = &p.errs
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() {
		p.ended <- p.Wait()
		close(waited)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // unless it has ended
		<-waited
	})
	return p
}

// wait returns the exit code, or the signal that ended the process.
func (p *process) wait(t *testing.T, limit time.Duration) (code int, signal syscall.Signal) {
	t.Helper()
	select {
	case err := <-p.ended:
		return p.verdict(t, err)
	case <-time.After(limit):
		p.Process.Signal(syscall.SIGQUIT) // tells where it stands
		<-p.ended
		t.Fatalf("%q still ran after %v: %s", p.Args, limit, p.errs.String())
		return 0, 0
	}
}

func (p *process) verdict(t *testing.T, err error) (code int, signal syscall.Signal) {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status := p.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 0, status.Signal()
	}
	return status.ExitStatus(), 0
}

// killAfter kills the process after a while, unless it ends before. It reports how it ended.
func (p *process) killAfter(t *testing.T, delay time.Duration) (code int, killed bool) {
	t.Helper()
	select {
	case err := <-p.ended:
		code, _ := p.verdict(t, err)
		return code, false
	case <-time.After(delay):
	}
	if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	code, signal := p.verdict(t, <-p.ended)
	return code, signal == syscall.SIGKILL
}

// durationOf measures a command, which has to succeed: the median of five.
func durationOf(t *testing.T, do func()) time.Duration {
	t.Helper()
	var all [5]time.Duration
	for i := range all {
		start := time.Now()
		do()
		all[i] = time.Since(start)
	}
	for i := range all { // five are sorted soon
		for j := range i {
			if all[i] < all[j] {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return all[2]
}

// sh runs SQL in the sqlite3 shell and returns what it answers.
func sh(t *testing.T, path string, sql ...string) string {
	t.Helper()
	// As an application does it waits for others.
	out, err := sqliteshell.Run(path, append([]string{".timeout 10000"}, sql...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fill is SQL that makes a table of n rows of 100 random bytes each, and one with a word in it.
func fill(word string, n int) string {
	return fmt.Sprintf(`CREATE TABLE words (word); INSERT INTO words VALUES ('%s');
		CREATE TABLE noise (id INTEGER PRIMARY KEY, bytes);
		WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i+1 FROM n WHERE i < %d) INSERT INTO noise SELECT i, randomblob(100) FROM n`, word, n)
}

// snapshotsIn returns the names of the snapshots that are listed.
func snapshotsIn(t *testing.T, store, database string) []string {
	t.Helper()
	code, stdout, stderr := lite(t, "list", database, "--store", store, "--json")
	if code == exitNotFound {
		return nil
	}
	if code != 0 {
		t.Fatalf("list exits with %d: %s%s", code, stdout, stderr)
	}
	var list []listedSnapshot
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list {
		names = append(names, s.Snapshot)
	}
	return names
}

// mustBeClean fails the test if temporary files are in the directories.
func mustBeClean(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		left, err := leftovers(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			t.Fatalf("left behind: %q", left)
		}
	}
}

// copyFiles copies all files of a directory into an empty one.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// crashed makes a database in dir by SQL that succeeds, and leaves what a process leaves that is
// killed after the SQL last.
func crashed(t *testing.T, dir, name, sql, last string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	sh(t, path, sql)
	s, err := sqliteshell.Start(path, last)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	return path
}

// lines returns the lines of a text.
func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }
