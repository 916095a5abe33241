package format_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
)

func TestParseTime(t *testing.T) {
	for s, want := range map[string]time.Time{
		"19700101T000000.000Z": time.UnixMilli(0),
		"19700101T000000.001Z": time.UnixMilli(1),
		"20261122T073500.004Z": time.Date(2026, 11, 22, 7, 35, 0, 4e6, time.UTC),
		"20240229T235959.999Z": time.Date(2024, 2, 29, 23, 59, 59, 999e6, time.UTC),
		"99991231T235959.999Z": time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC),
	} {
		got, err := format.ParseTime(s)
		if err != nil || !got.UTC().Equal(want) || got != format.TimeOf(want) || got.String() != s {
			t.Errorf("ParseTime(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "20261122", "20261122T073500Z", "20261122T073500.04Z", "20261122T073500.0040Z",
		"20261122T073500,004Z", "20261122t073500.004z", "20261122T073500.004", "20261122T073500.004+00:00",
		" 20261122T073500.004Z", "20261122T073500.004Z\n", "+2026122T073500.004Z",
		"20261322T073500.004Z", "20261131T073500.004Z", "20250229T000000.000Z",
		"20261122T243500.004Z", "20261122T076000.004Z", "20161231T235960.000Z",
		"19691231T235959.999Z", "00010101T000000.000Z", "-9990101T000000.000Z", "２0261122T073500.004Z",
	} {
		if got, err := format.ParseTime(s); err == nil {
			t.Errorf("ParseTime(%q) = %v", s, got)
		}
	}
}

func TestTimeOfCutsToMilliseconds(t *testing.T) {
	zone := time.FixedZone("", 3600)
	if got := format.TimeOf(time.Date(2026, 11, 22, 8, 35, 0, 4_999_999, zone)).String(); got != "20261122T073500.004Z" {
		t.Error(got)
	}
}

func TestParseID(t *testing.T) {
	for s, want := range map[string]format.ID{
		"0000000000000": 0,
		"000000000000z": 31,
		"0000000000010": 32,
		"8000000000000": 1 << 63,
		"fzzzzzzzzzzzz": math.MaxUint64,
	} {
		if got, err := format.ParseID(s); err != nil || got != want || got.String() != s {
			t.Errorf("ParseID(%q) = %d, %v", s, uint64(got), err)
		}
	}
	for _, s := range []string{
		"", "000000000000", "00000000000000", "g000000000000", "z000000000000", "000000000000Z",
		"000000000000i", "000000000000l", "000000000000o", "000000000000u", "000000000000-", "00000000000é",
	} {
		if got, err := format.ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v", s, got)
		}
	}
}

func TestLineage(t *testing.T) {
	const max = 1<<24 - 1
	for l, want := range map[format.Lineage]string{0: "00000", 1: "00001", max: "fzzzz"} {
		if got := l.String(); got != want {
			t.Errorf("lineage %d is %q", l, got)
		}
	}
	for _, l := range []format.Lineage{0, 1, 0x123456, max, format.NewLineage()} {
		a, b := format.NewID(l), format.NewID(l)
		if a.Lineage() != l || b.Lineage() != l || a == b || a.String()[:5] != l.String() {
			t.Errorf("ids of lineage %v: %v and %v", l, a, b)
		}
	}
	if a, b := format.NewLineage(), format.NewLineage(); a > max || b > max || a == b && a == format.NewLineage() {
		t.Errorf("lineages %v and %v are not 24 random bits", a, b)
	}
}

// TestLineageOf pins what it returns: who cannot read a snapshot compares it.
func TestLineageOf(t *testing.T) {
	of := func(database, host, path string) string {
		return format.LineageOf(database, format.Source{Host: host, Path: path}).String()
	}
	if got, want := of("app.db", "web1", "/srv/app.db"), "105h4"; got != want {
		t.Errorf("the lineage is %s, want %s", got, want)
	}
	if of("a", "b", "c/\xff") != of("a", "b", "c/\uFFFD") {
		t.Error("a path that is not UTF-8 has another lineage than as it is stored")
	}
	seen := map[string]bool{}
	for _, s := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"a", "bc", ""}, {"a", "b", "d"}, {"a", "e", "c"}, {"f", "b", "c"}} {
		seen[of(s[0], s[1], s[2])] = true
	}
	if len(seen) != 6 {
		t.Errorf("6 sources have %d lineages", len(seen))
	}
}

func TestParseName(t *testing.T) {
	const s = "20261122T073500.004Z-7q3dk29f0a1bc"
	n, err := format.ParseName(s)
	if err != nil || n.String() != s {
		t.Errorf("ParseName(%q) = %v, %v", s, n, err)
	}
	for _, s := range []string{
		"", "-", s[:20], s[:21], s[:33], s + "0", " " + s, s[:20] + "_" + s[21:], s[:20] + "--" + s[22:],
		strings.ToUpper(s), strings.ToLower(s), "19700101T000000.000Z-0000000000000",
	} {
		if n, err := format.ParseName(s); err == nil {
			t.Errorf("ParseName(%q) = %v", s, n)
		}
	}
	for _, s := range []string{"19700101T000000.000Z-0000000000001", "19700101T000000.001Z-0000000000000"} {
		if n, err := format.ParseName(s); err != nil || n.IsZero() {
			t.Errorf("ParseName(%q) = %v, %v", s, n, err)
		}
	}
}

func TestNamesSortAsTheirTexts(t *testing.T) {
	var names []format.Name
	for _, at := range []format.Time{1, 999, 1000, 1e12, 253402300799999} {
		for _, id := range []format.ID{0, 9, 10, 31, 32, 1 << 40, 1 << 63, math.MaxUint64} {
			names = append(names, format.Name{Time: at, ID: id})
		}
	}
	for _, a := range names {
		for _, b := range names {
			if got, want := a.Compare(b), strings.Compare(a.String(), b.String()); got != want {
				t.Errorf("Compare(%v, %v) = %d", a, b, got)
			}
		}
	}
	if !slices.IsSortedFunc(names, format.Name.Compare) {
		t.Error("names in order are not sorted")
	}
}

func TestNameText(t *testing.T) {
	for _, n := range []format.Name{{}, testName, {Time: 0, ID: 1}} {
		b, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		got := format.Name{Time: 5, ID: 5}
		if err := json.Unmarshal(b, &got); err != nil || got != n {
			t.Errorf("%s is read as %v, %v", b, got, err)
		}
	}
	if text, err := (format.Name{}).MarshalText(); err != nil || len(text) != 0 {
		t.Errorf("the zero Name is %q, %v", text, err)
	}
	var n format.Name
	if err := n.UnmarshalText([]byte("19700101T000000.000Z-0000000000000")); err == nil {
		t.Errorf("the zero Name has a second spelling")
	}
}

func TestRootAndSaltText(t *testing.T) {
	const hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
	r, err := format.ParseRoot(hex)
	if err != nil || r.String() != hex || r[31] != 0xff {
		t.Errorf("ParseRoot(%q) = %v, %v", hex, r, err)
	}
	for _, s := range []string{"", hex[1:], hex + "0", strings.ToUpper(hex), "g" + hex[1:], " " + hex[1:]} {
		if r, err := format.ParseRoot(s); err == nil {
			t.Errorf("ParseRoot(%q) = %v", s, r)
		}
	}
	var salt format.Salt
	if err := salt.UnmarshalText([]byte(hex[:32])); err != nil || salt[15] != 15 {
		t.Errorf("salt %v, %v", salt, err)
	}
	for _, s := range []string{"", hex[:31], hex[:33], strings.ToUpper(hex[:32]), "x" + hex[1:32]} {
		if err := salt.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("salt %q is accepted", s)
		}
	}
	if a, b := format.NewSalt(), format.NewSalt(); a == b {
		t.Errorf("salts are not random: %x", a)
	}
}
