// Package sqliteshell runs the sqlite3 shell, for tests: SQLite as applications have it, in processes of their own.
package sqliteshell

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Run runs commands, SQL or the shell's own, on the database at path and returns what the shell prints. What it
// complains of is an error.
func Run(path string, commands ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("sqlite3", append([]string{"-batch", "-bail", path}, commands...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		return "", fmt.Errorf("sqlite3 %s: %v: %s", path, err, stderr.String())
	}
	return stdout.String(), nil
}

// A Shell is a process that waits for more. It is not for concurrent use, and has to be ended or killed.
type Shell struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// Start starts a shell on the database at path, and returns when it has run sql.
func Start(path, sql string) (*Shell, error) { return StartAs(0, path, sql) }

// StartAs is as [Start], for another user; 0 is the one of this process.
func StartAs(uid uint32, path, sql string) (*Shell, error) {
	s := &Shell{cmd: exec.Command("sqlite3", "-batch", "-bail", path)}
	if uid != 0 {
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	s.cmd.Stderr = os.Stderr
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.lines = bufio.NewScanner(stdout)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.Do(sql + ";"); err != nil {
		return nil, errors.Join(err, s.Kill())
	}
	return s, nil
}

// PID returns the id of the process.
func (s *Shell) PID() int { return s.cmd.Process.Pid }

// Do returns when the shell has run a command of its own or SQL that ends as it must.
func (s *Shell) Do(command string) error {
	_, err := s.Ask(command)
	return err
}

// Ask is as Do, and returns the lines that the shell prints, but for the end of the last.
func (s *Shell) Ask(command string) (string, error) {
	const done = "all of it ran"
	if _, err := fmt.Fprintf(s.stdin, "%s\n.print %s\n", command, done); err != nil {
		return "", err
	}
	var answer []string
	for s.lines.Scan() {
		if s.lines.Text() == done {
			return strings.Join(answer, "\n"), nil
		}
		answer = append(answer, s.lines.Text())
	}
	return "", fmt.Errorf("the shell did not run %q", command)
}

// Send begins a command and does not wait for it.
func (s *Shell) Send(command string) error {
	_, err := fmt.Fprintln(s.stdin, command)
	return err
}

// End lets the shell close the database.
func (s *Shell) End() error { return errors.Join(s.stdin.Close(), s.cmd.Wait()) }

// Kill ends the shell as kill -9 does. That it had ended before is an error.
func (s *Shell) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return nil
	}
	return fmt.Errorf("the shell ended by itself: %v", err)
}
