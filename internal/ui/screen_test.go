package ui

import (
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// screen is a terminal as far as this package uses one. It fails the test when a line is so long
// that a terminal would wrap it, or when it gets a sequence it does not know.
type screen struct {
	t     *testing.T
	width int

	mu     sync.Mutex
	lines  []string // above the cursor's, complete
	line   []rune   // the cursor's
	column int
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		if seq := stylePrefix(string(p)); seq != "" {
			p = p[len(seq):]
			continue
		}
		if strings.HasPrefix(string(p), "\x1b[K") {
			s.line, p = s.line[:min(s.column, len(s.line))], p[3:]
			continue
		}
		r, size := utf8.DecodeRune(p)
		p = p[size:]
		switch {
		case r == '\r':
			s.column = 0
		case r == '\n':
			s.lines = append(s.lines, strings.TrimRight(string(s.line), " "))
			s.line, s.column = nil, 0
		case !printable(r):
			s.t.Errorf("the screen got %q", r)
		default:
			if s.column < len(s.line) {
				s.line[s.column] = r
			} else {
				s.line = append(s.line, r)
			}
			if s.column++; s.column >= s.width {
				s.t.Errorf("a line wraps: %q", string(s.line))
			}
		}
	}
	return n, nil
}

// text is what is on the screen, the cursor's line last.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(append(s.lines[:len(s.lines):len(s.lines)], strings.TrimRight(string(s.line), " ")), "\n")
}

// onScreen returns a UI that takes a screen of width columns for its terminal.
func onScreen(t *testing.T, width int, opts Options) (*UI, *screen) {
	s := &screen{t: t, width: width}
	opts.Out, opts.Err = s, s
	u := New(opts)
	u.columns = func() int { return s.width }
	u.ascii = false
	return u, s
}
