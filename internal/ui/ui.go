// Package ui is what a person or a script sees of a command: results on one stream, everything
// else on the other, as text or as JSON.
//
// Text is for people: tables, colours, sizes in kB and MB, and a [UI.Bar] while they wait. JSON
// is for scripts: one document a line on the output, errors included. What is printed may come
// from a store that is not trusted, so nothing but text and the colours of this package ever
// reaches a stream, whatever a name or a message holds (see [Safe]).
package ui

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// Options say how a [UI] speaks. Out and Err are required.
type Options struct {
	Out io.Writer // results
	Err io.Writer // notes, warnings, errors as text, bars

	JSON       bool // results and errors as JSON, one document a line
	Quiet      bool // results and errors only
	Color      bool // colours on Out; see ColorWanted
	ColorErr   bool // colours on Err; see ColorWanted
	NoProgress bool // no bars, even on a terminal

	// Getenv reads the variables that tell what the terminal can show: TERM, and LC_ALL,
	// LC_CTYPE and LANG. nil means os.Getenv.
	Getenv func(string) string
}

// A UI prints. Its methods may be called concurrently, and from the functions handed to
// [UI.Result].
type UI struct {
	opts    Options
	columns func() int // width of the terminal that bars are drawn on; nil if there are none
	ascii   bool       // the terminal's locale is not UTF-8

	mu  sync.Mutex // held while anything is written to Out or Err
	bar *bar       // the bar that has the terminal's last line, or nil; guarded by mu
}

// New returns a UI.
func New(opts Options) *UI {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	u := &UI{opts: opts, ascii: !utf8Locale(opts.Getenv)}
	if !opts.Quiet && !opts.JSON && !opts.NoProgress && opts.Getenv("TERM") != "dumb" && IsTerminal(opts.Err) {
		u.columns = func() int { return columns(opts.Err) }
	}
	return u
}

// JSON reports whether results are JSON.
func (u *UI) JSON() bool { return u.opts.JSON }

// Quiet reports whether only results and errors are wanted.
func (u *UI) Quiet() bool { return u.opts.Quiet }

// Result prints a result on the output: v as a JSON document on a line of its own, or what text
// writes. The text is collected before it is printed, so a result that fails half-way prints
// nothing.
func (u *UI) Result(v any, text func(w io.Writer) error) error {
	if u.opts.JSON {
		line, err := jsonLine(v)
		if err != nil {
			return err
		}
		return u.print(u.opts.Out, line)
	}
	var b bytes.Buffer
	if err := text(&b); err != nil {
		return err
	}
	return u.print(u.opts.Out, clean(b.String(), u.opts.Color))
}

// Remark prints what text writes on the error stream, for a result whose output is taken by
// something else. It prints nothing if quiet or JSON is asked for.
func (u *UI) Remark(text func(w io.Writer) error) error {
	if u.opts.Quiet || u.opts.JSON {
		return nil
	}
	var b bytes.Buffer
	if err := text(&b); err != nil {
		return err
	}
	return u.print(u.opts.Err, clean(b.String(), u.opts.ColorErr))
}

// Note prints a remark on the error stream, unless quiet or JSON is asked for.
func (u *UI) Note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if u.opts.Quiet || u.opts.JSON {
		return
	}
	u.say(text + "\n")
}

// Warn prints on the error stream what the command survived but its user should know, unless
// quiet is asked for. With JSON it is a line {"warning": "..."}, still on the error stream.
func (u *UI) Warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if u.opts.Quiet {
		return
	}
	if u.opts.JSON {
		// A struct of one string always encodes.
		line, _ := jsonLine(struct {
			Warning string `json:"warning"`
		}{text})
		u.say(line)
		return
	}
	u.say(paint(u.opts.ColorErr, yellow, "warning:") + " " + text + "\n")
}

// Error says why the command fails, what can be done about it unless hint is empty, and with
// which exit code it will end. As text it goes to the error stream. With JSON it is the result, a
// document {"error": {"message": ..., "hint": ..., "exit_code": ...}} on the output.
func (u *UI) Error(err error, hint string, code int) {
	if u.opts.JSON {
		type failure struct {
			Message  string `json:"message"`
			Hint     string `json:"hint,omitempty"`
			ExitCode int    `json:"exit_code"`
		}
		// A struct of strings and a number always encodes.
		line, _ := jsonLine(struct {
			Error failure `json:"error"`
		}{failure{err.Error(), hint, code}})
		if u.print(u.opts.Out, line) == nil {
			return
		}
		// The output is gone, but the reason is still owed to whoever reads the other stream.
	}
	text := paint(u.opts.ColorErr, red, "litestash:") + " " + err.Error() + "\n"
	if hint != "" {
		text += paint(u.opts.ColorErr, bold, "  hint:") + " " + strings.ReplaceAll(hint, "\n", "\n        ") + "\n"
	}
	u.say(text)
}

// ErrWriter returns the error stream for others that print there, such as slog handlers. Writes
// are whole lines: while a bar is shown it makes room for each and is drawn again below it.
func (u *UI) ErrWriter() io.Writer { return errWriter{u} }

type errWriter struct{ u *UI }

func (w errWriter) Write(p []byte) (int, error) {
	if err := w.u.print(w.u.opts.Err, clean(string(p), w.u.opts.ColorErr)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// say prints text on the error stream. That it cannot be written is nothing anyone could be told.
func (u *UI) say(text string) { _ = u.print(u.opts.Err, clean(text, u.opts.ColorErr)) }

// print writes text to w, which is Out or Err. A bar that is shown steps aside.
func (u *UI) print(w io.Writer, text string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bar != nil && u.bar.line != "" {
		u.erase()
		defer u.redraw()
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
	}
	_, err := io.WriteString(w, text)
	return err
}
