package format_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/litestash/litestash/format"
)

const (
	nameText   = "20261122T073500.004Z-7q3dk29f0a1bc"
	parentText = "7q3dk29f0a1bd"
)

func TestParseKey(t *testing.T) {
	for key, want := range map[string]struct {
		kind      format.Kind
		parent    string
		encrypted bool
	}{
		".full.db.zst":                             {format.Full, "", false},
		".full.db.zst.age":                         {format.Full, "", true},
		".on-" + parentText + ".delta.zst":         {format.Delta, parentText, false},
		".on-" + parentText + ".delta.zst.age":     {format.Delta, parentText, true},
		".on-0000000000000.delta.zst":              {format.Delta, "0000000000000", false},
		".on-" + parentText + ".delta2.zst":        {format.Unknown, parentText, false},
		".on-" + parentText + ".delta.zst.age.age": {format.Unknown, parentText, false},
		".on-" + parentText + ".full.db.zst":       {format.Unknown, parentText, false},
		".on-" + parentText + ".x":                 {format.Unknown, parentText, false},
		".on-" + parentText + "..":                 {format.Unknown, parentText, false},
		".on-" + parentText + ".":                  {format.Unknown, "", false},
		".on-" + parentText:                        {format.Unknown, "", false},
		".on-z" + parentText[1:] + ".delta.zst":    {format.Unknown, "", false},
		".on-" + parentText[1:] + ".delta.zst":     {format.Unknown, "", false},
		".delta.zst":                               {format.Unknown, "", false},
		".full.db.lz4":                             {format.Unknown, "", false},
		".full.db.zst.":                            {format.Unknown, "", false},
		".full.db.zst.tmp-1":                       {format.Unknown, "", false},
		"..full.db.zst":                            {format.Unknown, "", false},
		".age":                                     {format.Unknown, "", false},
	} {
		key = "tenants/42/app.db/" + nameText + key
		k, ok := format.ParseKey(key)
		if !ok {
			t.Errorf("%s: no key", key)
			continue
		}
		parent := ""
		if k.HasParent {
			parent = k.Parent.String()
		}
		if k.Database != "tenants/42/app.db" || k.Name.String() != nameText || k.Kind != want.kind || parent != want.parent || k.Encrypted != want.encrypted {
			t.Errorf("%s: %+v", key, k)
		}
		if k.String() != key || k.Database+"/"+k.Base() != key {
			t.Errorf("%s becomes %s", key, k)
		}
	}
}

func TestParseKeyOfOthers(t *testing.T) {
	for _, key := range []string{
		"", "/", "app.db", "app.db/", nameText + ".full.db.zst", "/" + nameText + ".full.db.zst",
		"app.db/" + nameText, "app.db/" + nameText + ".", "app.db/" + nameText + "-full.db.zst",
		"app.db/" + nameText + ".full.db.zst/x", "app.db/x" + nameText + ".full.db.zst",
		"/app.db/" + nameText + ".full.db.zst", "app.db//" + nameText + ".full.db.zst",
		"./app.db/" + nameText + ".full.db.zst", "a/../app.db/" + nameText + ".full.db.zst",
		".litestash/" + nameText + ".full.db.zst", "app.db/.Litestash-tmp/" + nameText + ".full.db.zst",
		"app.db/" + strings.ToLower(nameText) + ".full.db.zst",
		"app.db/19700101T000000.000Z-0000000000000.full.db.zst",
		"app.db/" + nameText + ".full.db.zst (copy)", "app.db/" + nameText + ".FULL.db.zst",
		"app.db/" + nameText + ".full.db.zst\x1b[2J", "app.db/" + nameText + ".full.db.zst~",
		"app.db/" + nameText + ".\xff", "app\x00.db/" + nameText + ".full.db.zst",
		"cafe\u0301.db/" + nameText + ".full.db.zst", // not NFC
	} {
		if k, ok := format.ParseKey(key); ok {
			t.Errorf("ParseKey(%q) = %+v", key, k)
		}
	}
}

func TestFullKey(t *testing.T) {
	k := format.FullKey("app.db", testName)
	if got, want := k.String(), "app.db/"+nameText+".full.db.zst"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, ok := format.ParseKey(k.String()); !ok || got != k {
		t.Errorf("parsed as %+v, %v", got, ok)
	}
}

func TestKeysSortByTime(t *testing.T) {
	var keys []string
	for _, n := range []string{"20261122T073500.004Z-0000000000000", "20261122T073500.004Z-7q3dk29f0a1bc",
		"20261122T073500.005Z-0000000000000", "20261122T073500.010Z-0000000000000", "20270101T000000.000Z-0000000000000"} {
		keys = append(keys, "app.db/"+n+".full.db.zst", "app.db/"+n+".on-"+parentText+".delta.zst")
	}
	if !slices.IsSorted(keys) {
		t.Error("keys in the order of time are not sorted")
	}
}

func TestKindString(t *testing.T) {
	for k, want := range map[format.Kind]string{format.Full: "full", format.Delta: "delta", format.Unknown: "unknown"} {
		if k.String() != want {
			t.Errorf("%d is %q", k, k)
		}
	}
}

func TestParseDatabase(t *testing.T) {
	long := strings.Repeat("x", 200)
	for s, want := range map[string]string{
		"app.db":                         "app.db",
		"tenants/42/data.db":             "tenants/42/data.db",
		"a b'c\"d.db":                    "a b'c\"d.db",
		"cafe\u0301.db":                  "café.db",
		"\u212b/\u1112\u1161\u11ab":      "Å/한",
		".hidden":                        ".hidden",
		"...":                            "...",
		".litestas":                      ".litestas",
		"x.litestash":                    "x.litestash",
		long:                             long,
		strings.Repeat("x/", 255) + "xx": strings.Repeat("x/", 255) + "xx",
		nameText[:33]:                    nameText[:33],
		"x" + nameText:                   "x" + nameText,
		"20261322T073500.004Z" + "-" + "0000000000000": "20261322T073500.004Z-0000000000000",
	} {
		if got, err := format.ParseDatabase(s); err != nil || got != want {
			t.Errorf("ParseDatabase(%q) = %q, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "/", "/app.db", "app.db/", "a//b", ".", "..", "a/.", "./a", "a/../b",
		"a\x00b", "a\nb", "a\x7fb", "a\u0085b", "\x1b[31m", "\xff", "a\ufffdb",
		long + "x", strings.Repeat("x/", 256) + "x",
		strings.Repeat("\u1e9b\u0323", 60), // two characters and five bytes each, in NFC too
		".litestash", ".litestash-tmp/x", "a/.LITESTASH", "a/.LiteStash.lock", ".lite\u017ftash", ".lite\u017fta\u017fh",
		nameText, "a/" + nameText, nameText + ".full.db.zst/b", strings.ToLower(nameText), strings.ToUpper(nameText) + ".x",
	} {
		if got, err := format.ParseDatabase(s); err == nil {
			t.Errorf("ParseDatabase(%q) = %q", s, got)
		} else if !strings.HasPrefix(err.Error(), "database name \"") {
			t.Errorf("ParseDatabase(%q): %v", s, err)
		}
	}
}
