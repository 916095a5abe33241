package main

import (
	"errors"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
)

func TestParseAt(t *testing.T) {
	old := time.Local
	time.Local = time.FixedZone("TST", -5*3600)
	defer func() { time.Local = old }()
	now := time.Date(2026, 11, 22, 7, 35, 0, 0, time.UTC)
	for _, c := range []struct{ at, want string }{
		{"2026-11-22T07:30:00Z", "2026-11-22T07:30:00Z"},
		{"2026-11-22T07:30:00.123456789Z", "2026-11-22T07:30:00.123456789Z"},
		{"2026-11-22T07:30:00+05:45", "2026-11-22T01:45:00Z"},
		{"2026-11-22 07:30", "2026-11-22T12:30:00Z"},
		{"2026-11-22 07:30:01.5", "2026-11-22T12:30:01.5Z"},
		{"2026-11-22T07:30", "2026-11-22T12:30:00Z"},
		{"2026-11-22 07:30Z", "2026-11-22T07:30:00Z"},
		{"2026-11-22 07:30 UTC", "2026-11-22T07:30:00Z"},
		{"2026-11-22 07:30 -0800", "2026-11-22T15:30:00Z"},
		{"20261122T073000.004Z", "2026-11-22T07:30:00.004Z"},
		{"20261122T073000.004Z-7q3dk29f0a1bc", "2026-11-22T07:30:00.004Z"},
		{"0s", "2026-11-22T07:35:00Z"},
		{"90m", "2026-11-22T06:05:00Z"},
		{"2d", "2026-11-20T07:35:00Z"},
		{"1w1d1h1m1s", "2026-11-14T06:33:59Z"},
		{"latest", "2026-11-22T07:35:00Z"},
	} {
		m, err := parseAt(c.at, now)
		if err != nil {
			t.Errorf("%q: %v", c.at, err)
			continue
		}
		if got := m.time.UTC().Format(time.RFC3339Nano); got != c.want {
			t.Errorf("%q is %s, want %s", c.at, got, c.want)
		}
		if m.latest != (c.at == "latest") {
			t.Errorf("%q: latest is %v", c.at, m.latest)
		}
	}
	for _, at := range []string{
		"", "now", "1", "-1d", "1y", "1.5h", "1d ", "2026-11-22", "07:30", "2026-13-01 00:00", "2026-11-22 24:30",
		"2026-11-22 07:30 CET", "99999999999999999999s", "2147483648w", "2147483647w", "15250w15250w", "20261122T073000Z",
		"20261122T073000.004Z-", "20261122T073000.004Z-7q3dk29f0a1b", "20261122T073000.004Z-7Q3DK29F0A1BC",
	} {
		m, err := parseAt(at, now)
		var usage *usageError
		if !errors.As(err, &usage) {
			t.Errorf("%q is read as %v, %v; want a usage error", at, m.time, err)
		}
	}
}

func TestGapErrorIsExact(t *testing.T) {
	for _, c := range []struct {
		gap  time.Duration
		want string
	}{
		{10 * time.Second, "10s"},
		{24 * time.Hour, "24h"},
		{24*time.Hour + 10*time.Second, "24h0m10s"},
		{24*time.Hour + 10*time.Minute, "24h10m"},
		{time.Minute + 400*time.Millisecond, "1m0.4s"},
	} {
		want := "the newest snapshot is 20261122T073000.004Z-0000000000001, " + c.want + " before the time asked for, and --max-gap allows 1m"
		e := &gapError{gap: c.gap, max: time.Minute}
		e.snapshot.Name = format.Name{Time: 1795332600004, ID: 1}
		if got := e.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
