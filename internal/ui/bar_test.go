package ui

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/progress"
)

// work adds n bytes to m each tenth of a second, in between the bar's ticks.
func work(m *progress.Meter, n int64, times int) {
	for range times {
		time.Sleep(tick / 2)
		m.Add(n)
		time.Sleep(tick / 2)
	}
	synctest.Wait()
}

func TestBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, s := onScreen(t, 100, Options{})
		var m progress.Meter
		m.Expect(100e6)
		stop := u.Bar("snapshot", &m)
		for _, step := range []struct {
			ticks int
			want  string
		}{
			{0, ""},
			{1, "snapshot  ▕▎                                  ▏    1%    1.0 MB / 100.0 MB   10.0 MB/s"},
			{10, "snapshot  ▕███▊                               ▏   11%   11.0 MB / 100.0 MB   10.0 MB/s  9s left"},
			{39, "snapshot  ▕█████████████████▌                 ▏   50%   50.0 MB / 100.0 MB   10.0 MB/s  6s left"},
		} {
			work(&m, 1e6, step.ticks)
			if got := s.text(); got != step.want {
				t.Errorf("after %d more ticks:\n%s\nwant\n%s", step.ticks, got, step.want)
			}
		}
		work(&m, 10e6, 5)
		stop()
		stop()
		const want = "snapshot  ▕███████████████████████████████████▏  100%  100.0 MB / 100.0 MB   18.2 MB/s  5.5s\n"
		if got := s.text(); got != want {
			t.Errorf("at the end:\n%s\nwant\n%s", got, want)
		}
		work(&m, 1e6, 5)
		if got := s.text(); got != want {
			t.Errorf("after the end:\n%s", got)
		}
	})
}

func TestBarUnknownTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, s := onScreen(t, 80, Options{})
		var m progress.Meter
		stop := u.Bar("upload", &m)
		work(&m, 1e6, 20)
		if got, want := s.text(), "upload     20.0 MB   10.0 MB/s"; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		stop()
		if got, want := s.text(), "upload     20.0 MB   10.0 MB/s  2.0s\n"; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// Work that is over before the first tick leaves no trace.
func TestBarShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, s := onScreen(t, 80, Options{})
		stop := u.Bar("upload", nil)
		time.Sleep(tick - 1)
		stop()
		if got := s.text(); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

// Everything that is printed while a bar is shown has lines of its own, and the bar stays last.
func TestPrintWhileBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, s := onScreen(t, 80, Options{Color: true, ColorErr: true})
		log := slog.New(slog.NewTextHandler(u.ErrWriter(), &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
		var m progress.Meter
		m.Expect(10e6)
		stop := u.Bar("verify", &m)
		work(&m, 1e6, 2)
		log.Info("retry", "key", "a\x1b[2J")
		u.Note("a note")
		u.Warn("a %s", "warning")
		if err := u.Result(nil, func(w io.Writer) error {
			u.Note("a note from within")
			_, err := fmt.Fprintln(w, "a result")
			return err
		}); err != nil {
			t.Error(err)
		}
		fmt.Fprint(u.ErrWriter(), "no newline")
		const printed = `level=INFO msg=retry key="a\x1b[2J"
a note
warning: a warning
a note from within
a result
no newline
`
		const bar = "verify    ▕███▏            ▏   20%    2.0 MB / 10.0 MB   10.0 MB/s"
		if got := s.text(); got != printed+bar {
			t.Errorf("got\n%s\nwant\n%s", got, printed+bar)
		}
		stop()
		u.Note("afterwards")
		if got, want := s.text(), printed+bar+"  0.20s\nafterwards\n"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// A second bar takes the place of the first, whose end then leaves no mark.
func TestBarAfterBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, s := onScreen(t, 80, Options{})
		var m progress.Meter
		stop1 := u.Bar("one", &m)
		work(&m, 1e6, 1)
		stop2 := u.Bar("two", &m)
		work(&m, 1e6, 1)
		stop1()
		stop2()
		const want = "one         1.0 MB   10.0 MB/s  0.10s\ntwo         2.0 MB   20.0 MB/s  0.10s\n"
		if got := s.text(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestBarResized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, s := onScreen(t, 120, Options{})
		var m progress.Meter
		m.Expect(100e6)
		defer u.Bar("restore tenants/42/données.db", &m)()
		for _, step := range []struct {
			width int
			want  string
		}{
			{140, "restore tenants/42/données.db  ▕▍                                     ▏    1%    1.0 MB / 100.0 MB   10.0 MB/s"},
			{80, "restore tenants/42/donnée…  ▕▎                 ▏    2%   10.0 MB/s"},
			{60, "restore tenants/42/…    3%   10.0 MB/s"},
		} {
			s.mu.Lock()
			s.width = step.width
			s.mu.Unlock()
			work(&m, 1e6, 1)
			if got := s.text(); got != step.want {
				t.Errorf("%d columns:\n%s\nwant\n%s", step.width, got, step.want)
			}
		}
	})
}

// Where no bar can be shown, none is.
func TestNoBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		u := New(Options{Out: io.Discard, Err: w})
		stop := u.Bar("upload", nil)
		time.Sleep(10 * tick)
		stop()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); len(got) > 0 || err != nil {
			t.Errorf("the pipe got %q, %v", got, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// The race detector judges.
func TestConcurrent(t *testing.T) {
	u, s := onScreen(t, 80, Options{})
	const each = 100
	var m progress.Meter
	m.Expect(each)
	stop := u.Bar("upload", &m)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range each {
				m.Add(1)
				u.Note("note")
				u.mu.Lock()
				if u.bar != nil {
					u.draw(time.Now())
				}
				u.mu.Unlock()
			}
		})
		wg.Go(stop)
	}
	wg.Wait()
	stop()
	notes := 0
	for _, line := range s.lines {
		if line == "note" {
			notes++
		}
	}
	if notes != 2*each {
		t.Errorf("%d whole notes on the screen, not %d", notes, 2*each)
	}
}

func TestTimeLeftIsStable(t *testing.T) {
	// Parts of 8 MB, one each 1.3 s: 6.15 MB/s.
	const total, part, every = 2000e6, 8e6, 1300 * time.Millisecond
	now := time.Unix(0, 0)
	p := pace{last: now}
	var before time.Duration
	for at := tick; at < 5*time.Minute; at += tick {
		done := int64(at/every) * part
		p.observe(now.Add(at), done, total)
		if at < 30*time.Second {
			continue
		}
		ideal := time.Duration(float64(total-done) / part * float64(every))
		if off := (p.left - ideal).Abs(); off > ideal/8+2*time.Second {
			t.Fatalf("at %v: %v left, it is %v", at, p.left, ideal)
		}
		if jump := (p.left - before).Abs(); before > 0 && jump > before/12+2*time.Second {
			t.Fatalf("at %v: from %v to %v left", at, before, p.left)
		}
		before = p.left
	}
	for at := time.Duration(0); at < 10*time.Minute; at += tick {
		p.observe(p.last.Add(tick), p.done, total)
	}
	if human.Rate(p.rate) != "0 B/s" {
		t.Errorf("stalled for ten minutes: %s, %v left", human.Rate(p.rate), p.left)
	}
}

func TestRenderFits(t *testing.T) {
	for _, label := range []string{"upload", "snapshot 数据库/客户.db with a long name"} {
		for _, total := range []int64{0, 1, 503e6} {
			for width := range 200 {
				for _, ascii := range []bool{false, true} {
					l := barLine{label: label, done: 499e6, total: total, rate: 123e6, left: 90 * time.Second}
					got := l.render(width, ascii)
					if displayWidth(got) >= max(width, 1) {
						t.Errorf("%d columns: %q takes %d", width, got, displayWidth(got))
					}
					if label == "upload" && ascii && strings.ContainsFunc(got, func(r rune) bool { return r > 127 }) {
						t.Errorf("not ASCII: %q", got)
					}
				}
			}
		}
	}
	var wide bytes.Buffer
	for width := 20; width <= 100; width += 20 {
		l := barLine{label: "upload", done: 250e6, total: 500e6, rate: 123e6, left: 90 * time.Second}
		fmt.Fprintln(&wide, l.render(width, true))
	}
	const want = `upload     50%
upload     50%  123.0 MB/s  1m30s left
upload    [########--------]   50%  123.0 MB/s  1m30s left
upload    [#######--------]   50%  250.0 MB / 500.0 MB  123.0 MB/s  1m30s left
upload    [#################------------------]   50%  250.0 MB / 500.0 MB  123.0 MB/s  1m30s left
`
	if wide.String() != want {
		t.Errorf("got\n%swant\n%s", wide.String(), want)
	}
}
