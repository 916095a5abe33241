// Package human writes sizes, speeds, times and counts as people read them, and reads sizes as they write them. It knows nothing of terminals.
package human

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Bytes returns a size for people, in powers of 1000: "999 B", "1.0 kB", "503.1 MB".
func Bytes(n int64) string {
	if n < 0 {
		return "-" + size(-float64(n))
	}
	return size(float64(n))
}

func size(n float64) string {
	const units = "kMGTPE"
	if n < 999.5 {
		return fmt.Sprintf("%.0f B", n)
	}
	n, i := n/1000, 0
	for n >= 999.95 && i < len(units)-1 { // it would be rounded to 1000.0
		n /= 1000
		i++
	}
	return fmt.Sprintf("%.1f %cB", n, units[i])
}

// Rate returns a speed for people, of bytes a second: "838.2 MB/s".
func Rate(bytesPerSecond float64) string {
	if !(bytesPerSecond > 0) || math.IsInf(bytesPerSecond, 0) { // also what 0/0 and 1/0 gave
		bytesPerSecond = 0
	}
	return size(bytesPerSecond) + "/s"
}

// Duration returns a time span for people, in two units at most: "4ms", "0.45s", "2.3s", "1m05s",
// "2h03m", "3d04h".
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "-" + Duration(-max(d, -math.MaxInt64))
	case d == 0:
		return "0s"
	case d < time.Millisecond:
		return "<1ms"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%dms", d/time.Millisecond)
	case d < 995*time.Millisecond:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour-time.Second/2:
		s := d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", s/time.Minute, s%time.Minute/time.Second)
	case d < day-time.Minute/2:
		m := d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", m/time.Hour, m%time.Hour/time.Minute)
	default:
		h := d.Round(time.Hour)
		return fmt.Sprintf("%dd%02dh", h/day, h%day/time.Hour)
	}
}

// WholeSeconds is [Duration] without fractions of a second, for spans that are not measured.
func WholeSeconds(d time.Duration) string {
	if d = d.Round(time.Second); d < time.Minute {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return Duration(d)
}

// Ago returns how long before now t was: "12s ago", "2h03m ago"; or "in 5m00s" if it was not.
func Ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d <= -time.Second/2:
		return "in " + WholeSeconds(-max(d, -math.MaxInt64))
	case d < time.Second/2:
		return "just now"
	}
	return WholeSeconds(d) + " ago"
}

// Time returns an instant for people, in UTC and, where that differs, in local time:
// "2026-11-22 07:35:00.004 UTC (08:35:00 CET)".
func Time(t time.Time) string { return timeIn(t, time.Local) }

func timeIn(t time.Time, loc *time.Location) string {
	utc, local := t.UTC(), t.In(loc)
	text := utc.Format("2006-01-02 15:04:05.000 UTC")
	switch _, offset := local.Zone(); {
	case offset == 0:
		return text
	case local.Format(time.DateOnly) == utc.Format(time.DateOnly):
		return text + local.Format(" (15:04:05 MST)")
	default:
		return text + local.Format(" (2006-01-02 15:04:05 MST)")
	}
}

// Count returns a number with separators: "1,234,567".
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

var sizeForm = regexp.MustCompile(`^(\d{1,18})(?:([kmgtKMGT])([iI]?))?[bB]?$`)

// ParseBytes reads a size of at least one byte as a person writes it: "1000", "500MB" and "500M", which are in powers
// of 1000, or "1GiB" and "1Gi", in powers of 1024. Small letters will do.
func ParseBytes(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is no size such as 500MB or 1GiB", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, err
	}
	base := int64(1000)
	if m[3] != "" {
		base = 1024
	}
	for range strings.IndexAny("kmgt", strings.ToLower(m[2])) + 1 {
		if n > math.MaxInt64/base {
			return 0, fmt.Errorf("%s is larger than any file", s)
		}
		n *= base
	}
	if n == 0 {
		return 0, fmt.Errorf("%s is no size", s)
	}
	return n, nil
}
