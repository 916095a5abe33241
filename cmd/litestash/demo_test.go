package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/litestash/litestash/internal/sample"
)

// TestDemoInterrupted interrupts demo while it runs: its files and the process that writes to the
// sample go with it, however it ends.
func TestDemoInterrupted(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		code   int
		after  string // the step in which the signal comes
	}{
		{syscall.SIGINT, exitInterrupted, "prepare"},
		{syscall.SIGTERM, exitTerminated, "push"},
		{syscall.SIGINT, exitInterrupted, "restore"},
	} {
		t.Run(c.after, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command("litestash", "demo", "--json", "--temp-dir", dir)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			writer, interrupted := 0, false
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				var step struct {
					Step   string `json:"step"`
					Writer int    `json:"writer_pid"`
				}
				if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
					t.Fatalf("%q: %v", lines.Text(), err)
				}
				if step.Writer != 0 {
					writer = step.Writer
				}
				if step.Step == c.after && !interrupted {
					interrupted = true
					if err := cmd.Process.Signal(c.signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != c.code {
				t.Errorf("ended with %v, want exit code %d", err, c.code)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if writer == 0 {
				t.Fatal("no other process was named")
			}
			if err := syscall.Kill(writer, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the other process is still there: %v", err)
			}
		})
	}
}

// TestDemoWriterEnds ends the process that writes to the sample as the death of its demo does: by
// the end of its standard input.
func TestDemoWriterEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	if err := sample.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("litestash", demoWriterName, path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commits := 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if commits++; commits == 10 {
			if err := stdin.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	s, err := sample.Read(t.Context(), path, math.MaxInt64)
	if err != nil || !s.Agrees() || s.Orders != int64(100_000+commits) {
		t.Errorf("it told of %d commits and left %+v, %v", commits, s, err)
	}
}
