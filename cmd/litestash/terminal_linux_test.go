package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litestash/litestash/internal/pty"
)

// A seated is litestash in a process of its own with a terminal, before which somebody sits.
type seated struct {
	*process
	master, tty *os.File
	output      chan string // what the terminal shows
	shown       string      // all of it that was looked at
}

// seat starts litestash on a new terminal. Its standard output and errors go elsewhere.
func seat(t *testing.T, args ...string) *seated {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("litestash", args...)
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s := &seated{master: master, tty: tty, output: make(chan string, 1000)}
	go func() {
		defer close(s.output)
		for b := make([]byte, 100); ; {
			n, err := master.Read(b)
			if err != nil {
				return // both ends of the other side are closed
			}
			s.output <- string(b[:n])
		}
	}()
	t.Cleanup(func() {
		tty.Close()
		for range s.output { // all that was shown, and then the end
		}
		master.Close()
	})
	s.process = startCommand(t, cmd)
	return s
}

// asked waits for a question, and checks that what is typed now is not shown.
func (s *seated) asked(t *testing.T, question string) {
	t.Helper()
	s.await(t, question)
	if s.echoes(t) {
		t.Errorf("the terminal shows what is typed after %q", question)
	}
}

// await waits until the terminal ends with a text.
func (s *seated) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(time.Minute)
	for !strings.HasSuffix(s.shown, text) {
		select {
		case more := <-s.output:
			s.shown += more
		case <-limit:
			t.Fatalf("the terminal shows %q, and not %q", s.shown, text)
		}
	}
}

// echoes reports whether the terminal shows what is typed.
func (s *seated) echoes(t *testing.T) bool {
	t.Helper()
	set, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return set.Lflag&unix.ECHO != 0
}

// enters types.
func (s *seated) enters(t *testing.T, keys string) {
	t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// ends expects an exit code and a message, and nothing on the terminal but the questions, which it leaves as it was.
func (s *seated) ends(t *testing.T, want int, says, shown string) {
	t.Helper()
	if code, signal := s.wait(t, time.Minute); code != want || signal != 0 || !strings.Contains(s.errs.String(), says) {
		t.Errorf("%q exits with %d (signal %d), want %d with %q: %s", s.Args, code, signal, want, says, s.errs.String())
	}
	s.enters(t, "\n.") // is shown, as the last
	s.await(t, ".")
	if want := shown + "\r\n."; s.shown != want {
		t.Errorf("the terminal shows %q, want %q", s.shown, want)
	}
	if !s.echoes(t) {
		t.Error("the terminal does not show what is typed any more")
	}
}

// TestPassphrasePrompt types passphrases, right and wrong, and interrupts at each question.
func TestPassphrasePrompt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	sh(t, db, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
	with := func(args ...string) []string {
		return append(args, "--passphrase", "--store", filepath.Join(dir, "store"), "--state-dir", filepath.Join(dir, "state"), "--temp-dir", dir)
	}
	const once, twice = "Passphrase: \r\n", "Passphrase: \r\nThe same again: \r\n"
	push := func(t *testing.T, first, second string) *seated {
		t.Helper()
		s := seat(t, with("push", "-q", db)...)
		s.asked(t, "Passphrase: ")
		s.enters(t, first)
		if second != "" {
			s.asked(t, "The same again: ")
			s.enters(t, second)
		}
		return s
	}
	push(t, "open sesame\n", "open sesam\n").ends(t, exitUsage, "the two passphrases are not the same", twice)
	push(t, "\n", "").ends(t, exitUsage, "the passphrase is empty", once)
	push(t, "\x04", "").ends(t, exitUsage, "the passphrase is empty", once)
	push(t, "open\x03", "").ends(t, exitInterrupted, "interrupt", once)
	push(t, "open sesame\n", "\x03").ends(t, exitInterrupted, "interrupt", twice)
	if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
		t.Error("something was stored")
	}
	push(t, "open sesamo\x7fe\n", "open sesame\n").ends(t, exitDone, "", twice)

	restore := func(t *testing.T, target, typed string) *seated {
		t.Helper()
		s := seat(t, with("restore", "-q", "app.db", "-o", target)...)
		s.asked(t, "Passphrase: ")
		s.enters(t, typed)
		return s
	}
	target := filepath.Join(dir, "out.db")
	restore(t, target, "open sesamo\n").ends(t, exitLockedOut, "a passphrase (scrypt)", once)
	restore(t, target, "\x03").ends(t, exitInterrupted, "interrupt", once)
	if _, err := os.Stat(target); err == nil {
		t.Error("something was restored")
	}
	restore(t, target, "open sesame\n").ends(t, exitDone, "", once)
	if got := strings.TrimSpace(sh(t, target, "SELECT x FROM t")); got != "1" {
		t.Errorf("restored is %q", got)
	}
	// Who asks to stop otherwise gets the terminal back as well.
	s := restore(t, target, "")
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.ends(t, exitTerminated, "terminated", once)
}
