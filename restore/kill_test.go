package restore_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/store"
)

// TestMain lets the test binary be a process that restores.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RESTORE_TEST_STORE"); dir != "" {
		if err := restoreAndWait(dir, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// restoreAndWait restores to path, or to nowhere through the directory that path is. Before the
// database is placed it says so and waits for the end of the standard input.
func restoreAndWait(dir, path string) error {
	ctx := context.Background()
	st, err := store.OpenDir(dir)
	if err != nil {
		return err
	}
	snaps, err := catalog.List(ctx, st, "app.db")
	if err != nil {
		return err
	}
	opts := restore.Options{Check: func(context.Context, string) error {
		fmt.Println("ready")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		opts.TempDir = path
		_, err := restore.Stream(ctx, st, snaps[0], io.Discard, opts)
		return err
	}
	_, err = restore.File(ctx, st, snaps[0], path, restore.FileOptions{Options: opts})
	return err
}

// A restorer is a process that runs restoreAndWait.
type restorer struct {
	cmd  *exec.Cmd
	in   io.Closer
	said bytes.Buffer // to the standard error
}

// startRestorer returns once the process waits.
func startRestorer(t *testing.T, p *pushed, path string) *restorer {
	t.Helper()
	cmd := exec.Command(os.Args[0], path)
	r := &restorer{cmd: cmd}
	cmd.Env = append(os.Environ(), "RESTORE_TEST_STORE="+p.st.(*store.Dir).String())
	cmd.Stderr = &r.said
	var err error
	if r.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
		t.Fatalf("%v: %s", err, &r.said)
	}
	return r
}

// finish lets the process end by itself.
func (r *restorer) finish() error {
	r.in.Close()
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, &r.said)
	}
	return nil
}

// TestKilled checks that a restore removes what a killed one has left, and not what belongs to a
// living one.
func TestKilled(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(1, 4096, 100))
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	living, dead := startRestorer(t, p, path), startRestorer(t, p, path)
	if n := len(namesIn(t, dir)); n != 2 {
		t.Fatalf("%d files of two restores", n)
	}
	kill(dead.cmd)
	other := filepath.Join(dir, "other.db")
	if _, err := restore.File(t.Context(), p.st, p.snap, other, restore.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := len(namesIn(t, dir)); n != 3 {
		t.Errorf("%d files, after a restore to another name", n)
	}
	next := startRestorer(t, p, path)
	if n := len(namesIn(t, dir)); n != 3 {
		t.Errorf("%d files, after the next restore began", n)
	}
	if err := living.finish(); err != nil {
		t.Error(err)
	}
	checkFile(t, path, p.data)
	if err := next.finish(); err == nil || !strings.Contains(err.Error(), restore.ErrExists.Error()) {
		t.Errorf("a second restore to the same path: %v", err)
	}
	checkNames(t, dir, "app.db", "other.db")
	checkFile(t, path, p.data)
}

// TestKilledStream is the same for streams.
func TestKilledStream(t *testing.T) {
	p := pushNew(t, 4096, memimage.Text(2, 4096, 100))
	dir := t.TempDir()
	living, dead := startRestorer(t, p, dir), startRestorer(t, p, dir)
	kill(dead.cmd)
	if n := len(namesIn(t, dir)); n != 2 {
		t.Fatalf("%d files of two restores", n)
	}
	var out bytes.Buffer
	if _, err := restore.Stream(t.Context(), p.st, p.snap, &out, restore.Options{TempDir: dir}); err != nil || !bytes.Equal(out.Bytes(), p.data) {
		t.Errorf("the stream: %v", err)
	}
	if n := len(namesIn(t, dir)); n != 1 {
		t.Errorf("%d files beside a living restore", n)
	}
	if err := living.finish(); err != nil {
		t.Error(err)
	}
	checkNames(t, dir)
}
