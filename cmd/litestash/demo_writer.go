package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/internal/sample"
)

// demoWriterName is the command that demo starts this program with once more.
const demoWriterName = "demo-writer"

// demoWriterCommand writes to the sample database at a path until its standard input ends, which is
// also when the process ends that started it, however it does. It prints the number of its commits.
func (p *program) demoWriterCommand() *cli.Command {
	return &cli.Command{
		Name:      demoWriterName,
		Hidden:    true,
		ArgsUsage: "DB",
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(c.Context)
			defer cancel()
			// It outlives this call at most by the process, whose standard input nobody else reads.
			go func() {
				defer cancel()
				_, _ = io.Copy(io.Discard, p.stdin) // however it ends, it is the end
			}()
			return sample.Write(ctx, c.Args().First(), func(n int64) error {
				_, err := fmt.Fprintln(p.stdout, n)
				return err
			})
		},
	}
}

// A demoWriter is another process that writes to the sample database until it is stopped. A nil one
// is none.
type demoWriter struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stderr  bytes.Buffer
	commits atomic.Int64
	changed chan struct{} // holds one token if there were commits since it was emptied; closed at the end
}

// startDemoWriter starts the process. The caller stops it.
func startDemoWriter(path string) (*demoWriter, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	w := &demoWriter{cmd: exec.Command(self, demoWriterName, "--", path), changed: make(chan struct{}, 1)}
	w.cmd.Stderr = &w.stderr
	// An interrupt from the terminal goes to a whole group: this process alone should take it.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the writer: %w", err)
	}
	go w.follow(stdout)
	return w, nil
}

// follow counts the commits that the process tells of until it ends.
func (w *demoWriter) follow(stdout io.Reader) {
	defer close(w.changed)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return
		}
		w.commits.Store(n)
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// wait returns when the process has committed n times more than at the call.
func (w *demoWriter) wait(ctx context.Context, n int64) error {
	for until := w.commits.Load() + n; w.commits.Load() < until; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case _, ok := <-w.changed:
			if !ok {
				return errors.New("the process that writes to the sample ended by itself") // stop tells why
			}
		}
	}
	return nil
}

// count returns how often the process has committed.
func (w *demoWriter) count() int64 {
	if w == nil {
		return 0
	}
	return w.commits.Load()
}

// stop ends the process and waits for it.
func (w *demoWriter) stop() error {
	if w == nil {
		return nil
	}
	err := w.stdin.Close()
	for range w.changed { // all of its output has to be read before Wait
	}
	if werr := w.cmd.Wait(); werr != nil {
		return fmt.Errorf("the process that writes to the sample: %w: %s", werr, strings.TrimSpace(w.stderr.String()))
	}
	return err
}
