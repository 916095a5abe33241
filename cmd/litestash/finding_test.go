package main

import "testing"

func TestFirstFinding(t *testing.T) {
	for _, c := range []struct {
		messages []string
		want     string
	}{
		{[]string{"row 3 missing from index i"}, "row 3 missing from index i"},
		{[]string{"*** in database main ***\nTree 2 page 6 cell 195: Offset 65535 out of range\nPage 9: never used", "row 3 missing from index i"},
			"Tree 2 page 6 cell 195: Offset 65535 out of range, and 2 more"},
		{[]string{"*** in database main ***\nPage 9: never used"}, "Page 9: never used"},
		{[]string{"*** strange ***"}, "*** strange ***"},
	} {
		if got := firstFinding(c.messages); got != c.want {
			t.Errorf("%q: got %q, want %q", c.messages, got, c.want)
		}
	}
}
