package ui

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/internal/pty"
)

// openTerminal returns both ends of a new pseudoterminal.
func openTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tty.Close()
		master.Close()
	})
	return master, tty
}

func resize(t *testing.T, tty *os.File, columns uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// A bar on a real terminal follows its size, and a note and a result find room beside it.
func TestBarOnTerminal(t *testing.T) {
	master, tty := openTerminal(t)
	resize(t, tty, 100)
	u := New(Options{Out: tty, Err: tty, Getenv: environment(map[string]string{"LANG": "C", "TERM": "xterm"})})
	var m progress.Meter
	m.Expect(100e6)
	m.Add(25e6)
	stop := u.Bar("upload", &m)

	// Each drawing ends with the sequence that erases the rest of the line.
	r := bufio.NewReader(master)
	until := func(end string) (got string) {
		for !strings.HasSuffix(got, end) {
			c, err := r.ReadByte()
			if err != nil {
				t.Fatalf("%v after %q", err, got)
			}
			got += string(rune(c))
		}
		return got
	}
	if got := until("\x1b[K"); !strings.HasPrefix(got, "\rupload    [########-----") || !strings.Contains(got, "25%   25.0 MB / 100.0 MB") {
		t.Errorf("on 100 columns: %q", got)
	}
	resize(t, tty, 20)
	for got := until("\x1b[K"); got != "\rupload     25%\x1b[K"; got = until("\x1b[K") {
		if len(got) < 60 {
			t.Fatalf("on 20 columns: %q", got)
		}
	}
	u.Note("a note")
	until("\r\x1b[K")
	if got := until("25%\x1b[K"); got != "a note\r\n\rupload     25%\x1b[K" {
		t.Errorf("a note: %q", got)
	}
	stop()
	if err := u.Result(nil, func(w io.Writer) error {
		_, err := io.WriteString(w, "a result\n")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := until("a result\r\n"); !strings.HasSuffix(got, "25%\x1b[K\r\na result\r\n") {
		t.Errorf("the end: %q", got)
	}
}

// A terminal is not enough where bars are not wanted or cannot be drawn.
func TestNoBarOnTerminal(t *testing.T) {
	for _, test := range []struct {
		name string
		opts Options
		term string
		want bool
	}{
		{"wanted", Options{}, "xterm", true},
		{"no progress", Options{NoProgress: true}, "xterm", false},
		{"quiet", Options{Quiet: true}, "xterm", false},
		{"json", Options{JSON: true}, "xterm", false},
		{"dumb", Options{}, "dumb", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			master, tty := openTerminal(t)
			synctest.Test(t, func(t *testing.T) {
				test.opts.Out, test.opts.Err = io.Discard, tty
				test.opts.Getenv = environment(map[string]string{"TERM": test.term})
				u := New(test.opts)
				stop := u.Bar("upload", nil)
				time.Sleep(10 * tick)
				stop()
			})
			if _, err := io.WriteString(tty, "end\n"); err != nil {
				t.Fatal(err)
			}
			got, err := bufio.NewReader(io.LimitReader(master, 5)).ReadString('\n')
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if shown := got != "end\r\n"; shown != test.want {
				t.Errorf("the terminal got %q", got)
			}
		})
	}
}

func TestColorWanted(t *testing.T) {
	_, tty := openTerminal(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, test := range []struct {
		w       io.Writer
		noColor bool
		env     map[string]string
		want    bool
	}{
		{tty, false, nil, true},
		{tty, true, nil, false},
		{w, false, nil, false},
		{&strings.Builder{}, false, nil, false},
		{tty, false, map[string]string{"NO_COLOR": "1"}, false},
		{tty, false, map[string]string{"NO_COLOR": "0"}, false},
		{tty, false, map[string]string{"NO_COLOR": ""}, true},
		{tty, false, map[string]string{"TERM": "dumb"}, false},
		{tty, false, map[string]string{"TERM": "xterm"}, true},
		{w, false, map[string]string{"CLICOLOR_FORCE": "1"}, true},
		{w, false, map[string]string{"CLICOLOR_FORCE": "0"}, false},
		{w, true, map[string]string{"CLICOLOR_FORCE": "1"}, false},
		{w, false, map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, false},
	} {
		if got := ColorWanted(test.w, test.noColor, environment(test.env)); got != test.want {
			t.Errorf("%T, no color %v, %v: %v", test.w, test.noColor, test.env, got)
		}
	}
}
