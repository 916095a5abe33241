package main

import (
	"testing"
	"time"

	"github.com/litestash/litestash/format"
)

// FuzzParseAt reads what people may type as a time. What is understood is a time that there is a name for, and the name of
// a snapshot is that name again.
func FuzzParseAt(f *testing.F) {
	now := time.Date(2026, 11, 22, 7, 35, 0, 4e6, time.UTC)
	for _, seed := range []struct {
		text string
		ok   bool
	}{
		{"latest", true}, {"90m", true}, {"1d12h", true}, {"2w", true}, {"2026-11-22T07:30:00Z", true}, {"2026-11-22T08:30:00+01:00", true},
		{"2026-11-22 07:30", true}, {"2026-11-22 07:30:15.5", true}, {"2026-11-22 07:30 UTC", true}, {"2026-11-22 07:30 +0100", true},
		{"20261122T073500.004Z", true}, {"20261122T073500.004Z-7q3dk29f0a1bc", true},
		{"yesterday", false}, {"-1h", false}, {"2026-13-01 00:00", false}, {"99999999999d", false}, {"1d 2h", false}, {"20261122T073500.004Z-", false},
	} {
		if _, err := parseAt(seed.text, now); (err == nil) != seed.ok {
			f.Errorf("%q: %v", seed.text, err)
		}
		f.Add(seed.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseAt(text, now)
		if err != nil {
			return
		}
		if !m.name.IsZero() && m.name.String() != text {
			t.Errorf("%q is read as %v", text, m.name)
		}
		if at := format.TimeOf(m.time); m.name.IsZero() && at.UTC().Sub(m.time).Abs() >= time.Millisecond {
			t.Errorf("%q is %v, and looked for is %v", text, m.time, at.UTC())
		}
	})
}
