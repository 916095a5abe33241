package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/litestash/litestash/internal/human"
)

// barLine is what a bar says at one moment.
type barLine struct {
	label       string
	done, total int64         // bytes; a total of 0 is not known
	rate        float64       // bytes a second
	left        time.Duration // 0 if it cannot be told
	took        time.Duration // 0 while the work goes on
}

// render returns the line, in fewer than width columns: a terminal may wrap what fills it. What
// there is no room for is left out, sizes first, the percentage last. Fields keep their widths, so
// that nothing moves while the figures change.
func (l barLine) render(width int, ascii bool) string {
	label := padRight(shorten(l.label, max(width/3, len("snapshot")), ascii), len("snapshot"))
	size := padLeft(human.Bytes(l.done), len("999.9 MB"))
	rate := padLeft(human.Rate(l.rate), len("999.9 MB/s"))
	clock := ""
	switch {
	case l.took > 0:
		clock = human.Duration(l.took)
	case l.left > 0:
		clock = human.WholeSeconds(l.left) + " left"
	}
	clock = padRight(clock, len("59m59s left"))

	if l.total <= 0 {
		return shorten(fit(width, []string{label, size, rate, clock}, []string{label, size, rate}, []string{label, size}), width-1, ascii)
	}
	part := min(max(float64(l.done)/float64(l.total), 0), 1)
	percent := fmt.Sprintf("%3d%%", int64(part*100))
	size += " / " + human.Bytes(l.total)

	const narrow, wide = 10, 40
	for _, rest := range [][]string{{percent, size, rate, clock}, {percent, rate, clock}} {
		line := label + "    " + strings.Join(rest, "  ")
		if room := width - 1 - displayWidth(line); room >= narrow {
			bar := drawBar(part, min(room, wide), ascii)
			return fit(width, append([]string{label, bar}, rest...))
		}
	}
	return shorten(fit(width, []string{label, percent, rate, clock}, []string{label, percent, clock}, []string{label, percent}), width-1, ascii)
}

// fit joins the fields of the first choice that takes fewer than width columns, or of the last.
func fit(width int, choices ...[]string) string {
	line := ""
	for _, fields := range choices {
		line = strings.TrimRight(strings.Join(fields, "  "), " ")
		if displayWidth(line) < width {
			break
		}
	}
	return line
}

// shorten returns s, or as much of its beginning as fits into n columns with a sign that more
// followed. s holds no styles.
func shorten(s string, n int, ascii bool) string {
	if displayWidth(s) <= n {
		return s
	}
	more := "…"
	if ascii {
		more = "..."
	}
	if n -= displayWidth(more); n < 0 {
		return ""
	}
	for i, r := range s {
		if n -= runeWidth(r); n < 0 {
			return s[:i] + more
		}
	}
	return s
}

// drawBar draws width columns, of which part, from 0 to 1, is filled.
func drawBar(part float64, width int, ascii bool) string {
	inner := width - 2
	if ascii {
		filled := int(part * float64(inner))
		return "[" + strings.Repeat("#", filled) + strings.Repeat("-", inner-filled) + "]"
	}
	const steps = 8 // a block can be filled by eighths, from the left
	eighths := int(part * float64(inner*steps))
	blocks := strings.Repeat("█", eighths/steps)
	if rest := eighths % steps; rest > 0 {
		blocks += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return "▕" + padRight(blocks, inner) + "▏"
}
