package snapshot

import "testing"

func TestFingerprint(t *testing.T) {
	closed := fingerprint{boot: "b", db: "1:2", fact: "3 4"}
	open := closed
	open.wal, open.shm, open.walFact, open.index = "1:3", "1:4", "5 6", indexHeader{1, 2, 47: 3}
	for _, f := range []fingerprint{closed, open} {
		got, ok := parseFingerprint(f.String())
		if !ok || got != f {
			t.Errorf("%q is read as %+v, %v", f.String(), got, ok)
		}
	}
	for _, text := range []string{"", "2", "1|b|1:2|3", "2|b|1:2", "2|b|1:2|3|1:3|1:4|5|00", "2|b|1:2|3|1:3|1:4|5|" + "zz", open.String() + "|"} {
		if _, ok := parseFingerprint(text); ok {
			t.Errorf("%q is taken for one", text)
		}
	}
	if !closed.sameFiles(&closed) || closed.sameFiles(&open) {
		t.Error("the files of an open database are those of a closed one")
	}
}
