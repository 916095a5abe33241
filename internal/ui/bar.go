package ui

import (
	"io"
	"sync"
	"time"

	"github.com/litestash/litestash/internal/progress"
)

// tick is how often a bar is drawn. Work that is done sooner shows none.
const tick = time.Second / 10

// bar is a bar and what is on the screen of it; guarded by the UI's mutex.
type bar struct {
	label string
	meter *progress.Meter
	start time.Time
	pace  pace
	line  string // as it was last drawn; "" if it was not
}

// Bar shows how far the work that m counts has come, under a short label, until stop is called.
// It shows nothing unless the error stream is a terminal that can show it, or if quiet, JSON or no
// progress is asked for. At the end the line stays, with the speed and time that the work took.
//
// stop returns when the bar will not be drawn again, and may be called more than once. A bar that
// is started while another is shown takes its place.
func (u *UI) Bar(label string, m *progress.Meter) (stop func()) {
	if u.columns == nil {
		return func() {}
	}
	now := time.Now()
	b := &bar{label: cleanLine(label, false), meter: m, start: now, pace: pace{last: now}}
	u.mu.Lock()
	if u.bar != nil {
		u.finish()
	}
	u.bar = b
	u.mu.Unlock()

	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		u.watch(b, quit)
	}()
	return sync.OnceFunc(func() {
		close(quit)
		<-done
	})
}

// watch draws b until quit is closed, and once more then.
func (u *UI) watch(b *bar, quit <-chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			u.mu.Lock()
			if u.bar == b {
				u.draw(now)
			}
			u.mu.Unlock()
		case <-quit:
			u.mu.Lock()
			if u.bar == b {
				u.finish()
			}
			u.mu.Unlock()
			return
		}
	}
}

// draw shows where the bar's work stands now. It and the three below are called with mu held and
// a bar present; that the terminal cannot be written to is nothing anyone could be told.
func (u *UI) draw(now time.Time) {
	b := u.bar
	done, total := b.meter.Read()
	b.pace.observe(now, done, total)
	b.line = barLine{b.label, done, total, b.pace.rate, b.pace.left, 0}.render(u.columns(), u.ascii)
	u.redraw()
}

// redraw writes the line over what is there, which flickers less than erasing it first.
func (u *UI) redraw() { _, _ = io.WriteString(u.opts.Err, "\r"+u.bar.line+"\x1b[K") }

// erase empties the bar's line, for something else to be printed there.
func (u *UI) erase() { _, _ = io.WriteString(u.opts.Err, "\r\x1b[K") }

// finish shows how the bar's work ended, if it was shown at all, and leaves it behind.
func (u *UI) finish() {
	if b := u.bar; b.line != "" {
		done, total := b.meter.Read()
		took := time.Since(b.start)
		b.line = barLine{b.label, done, total, float64(done) / took.Seconds(), 0, took}.render(u.columns(), u.ascii)
		u.redraw()
		_, _ = io.WriteString(u.opts.Err, "\n")
	}
	u.bar = nil
}
