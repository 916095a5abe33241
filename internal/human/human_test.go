package human

import (
	"math"
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 999: "999 B", 1000: "1.0 kB", 1049: "1.0 kB", 1050: "1.1 kB",
		999_949: "999.9 kB", 999_950: "1.0 MB", 999_999: "1.0 MB", 1_000_000: "1.0 MB",
		999_949_999: "999.9 MB", 999_950_000: "1.0 GB", 503_132_160: "503.1 MB",
		1 << 40: "1.1 TB", math.MaxInt64: "9.2 EB", -1500: "-1.5 kB", math.MinInt64: "-9.2 EB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0 B/s", 0.4: "0 B/s", 999.4: "999 B/s", 999.5: "1.0 kB/s", 838.2e6: "838.2 MB/s",
		-1: "0 B/s", math.Inf(1): "0 B/s", math.NaN(): "0 B/s",
	} {
		if got := Rate(n); got != want {
			t.Errorf("Rate(%g) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{1, "<1ms"},
		{time.Millisecond, "1ms"},
		{9999 * time.Microsecond, "9ms"},
		{10 * time.Millisecond, "0.01s"},
		{450 * time.Millisecond, "0.45s"},
		{994 * time.Millisecond, "0.99s"},
		{995 * time.Millisecond, "1.0s"},
		{2300 * time.Millisecond, "2.3s"},
		{59949 * time.Millisecond, "59.9s"},
		{59950 * time.Millisecond, "1m00s"},
		{65 * time.Second, "1m05s"},
		{time.Hour - 501*time.Millisecond, "59m59s"},
		{time.Hour - 500*time.Millisecond, "1h00m"},
		{123 * time.Minute, "2h03m"},
		{24*time.Hour - 31*time.Second, "23h59m"},
		{24*time.Hour - 30*time.Second, "1d00h"},
		{76 * time.Hour, "3d04h"},
		{math.MaxInt64, "106751d23h"}, // rounding up saturates, one hour short
		{-65 * time.Second, "-1m05s"},
		{math.MinInt64, "-106751d23h"},
	} {
		if got := Duration(test.d); got != test.want {
			t.Errorf("Duration(%d) = %q, want %q", test.d, got, test.want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 22, 7, 35, 0, 0, time.UTC)
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{0, "just now"},
		{499 * time.Millisecond, "just now"},
		{500 * time.Millisecond, "1s ago"},
		{12 * time.Second, "12s ago"},
		{59500 * time.Millisecond, "1m00s ago"},
		{5 * time.Minute, "5m00s ago"},
		{123 * time.Minute, "2h03m ago"},
		{400 * 24 * time.Hour, "400d00h ago"},
		{-499 * time.Millisecond, "just now"},
		{-5 * time.Minute, "in 5m00s"},
	} {
		if got := Ago(now.Add(-test.d), now); got != test.want {
			t.Errorf("Ago of %v = %q, want %q", test.d, got, test.want)
		}
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 22, 7, 35, 0, 4e6, time.UTC)
	for _, test := range []struct {
		loc  *time.Location
		want string
	}{
		{time.UTC, "2026-11-22 07:35:00.004 UTC"},
		{time.FixedZone("CET", 3600), "2026-11-22 07:35:00.004 UTC (08:35:00 CET)"},
		{time.FixedZone("", -3*3600-1800), "2026-11-22 07:35:00.004 UTC (04:05:00 -0330)"},
		{time.FixedZone("NZDT", 13*3600), "2026-11-22 07:35:00.004 UTC (20:35:00 NZDT)"},
		{time.FixedZone("HST", -10*3600), "2026-11-22 07:35:00.004 UTC (2026-11-21 21:35:00 HST)"},
	} {
		for _, in := range []time.Time{at, at.In(test.loc)} {
			if got := timeIn(in, test.loc); got != test.want {
				t.Errorf("in %v: %q, want %q", test.loc, got, test.want)
			}
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 123_456: "123,456", 1_234_567: "1,234,567",
		-1: "-1", -123: "-123", -1234: "-1,234", -123_456: "-123,456",
		math.MaxInt64: "9,223,372,036,854,775,807", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "1000": 1000, "12B": 12, "08": 8, "1k": 1000, "1K": 1000, "1kB": 1000, "1Ki": 1024, "1KiB": 1024, "1kib": 1024,
		"5M": 5e6, "5MB": 5e6, "5mb": 5e6, "5MiB": 5 << 20, "5Mi": 5 << 20, "5mib": 5 << 20,
		"1G": 1e9, "1GiB": 1 << 30, "2TB": 2e12, "2TiB": 2 << 40, "8388607TiB": 8388607 << 40,
	} {
		if got, err := ParseBytes(s); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "B", "M", "0", "0MiB", "-1", "+1", "1.5M", "1 M", " 1M", "1M ", "1X", "1PB", "1i", "1iB", "1Mb!", "1MBB", "1bM", "0x10",
		"8388608TiB", "9223372036854775807", "999999999999999999G",
	} {
		if got, err := ParseBytes(s); err == nil {
			t.Errorf("ParseBytes(%q) = %d", s, got)
		}
	}
}
