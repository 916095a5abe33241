package ui

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoTerminal says that a process has no terminal, and so nobody to ask.
var ErrNoTerminal = errors.New("there is no terminal")

// AskSecret asks on the terminal of the process, whatever standard input and output are, and returns the line
// that is typed, without its end. What is typed is not shown. When it returns, also because ctx is done, what is
// typed is shown again.
func AskSecret(ctx context.Context, prompt string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, ErrNoTerminal
	}
	defer tty.Close()
	show, err := hide(tty)
	if err != nil {
		return nil, err
	}
	defer show()
	// Not before: what is typed at once must not be seen.
	if _, err := fmt.Fprint(tty, prompt); err != nil {
		return nil, err
	}
	defer fmt.Fprintln(tty)
	type answer struct {
		line []byte
		err  error
	}
	typed := make(chan answer, 1)
	go func() { // a terminal cannot be read with a context; closing it ends this where the system lets it
		line, err := bufio.NewReader(tty).ReadBytes('\n')
		typed <- answer{line, err}
	}()
	select {
	case a := <-typed:
		if a.err != nil && a.err != io.EOF { // control-D, after nothing
			return nil, a.err
		}
		return trimEnd(a.line), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// trimEnd returns a line without its end.
func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		return line[:n-1]
	}
	return line
}

// hide makes a terminal not show what is typed, until show is called. Signals can be typed as ever.
func hide(tty *os.File) (show func() error, err error) {
	var old *unix.Termios
	set := func(to *unix.Termios) error {
		return control(tty, func(fd int) error { return unix.IoctlSetTermios(fd, setTermios, to) })
	}
	err = control(tty, func(fd int) (err error) {
		old, err = unix.IoctlGetTermios(fd, getTermios)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask the terminal for its settings: %w", err)
	}
	hidden := *old
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	if err := set(&hidden); err != nil {
		return nil, fmt.Errorf("make the terminal hide what is typed: %w", err)
	}
	return func() error { return set(old) }, nil
}

// control does something with a file's descriptor. Unlike with [os.File.Fd], a read of it can still be ended.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}
