package catalog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store/storetest"
)

// TestAnnounced reads announcements among what others have put there.
func TestAnnounced(t *testing.T) {
	const folder = ".litestash/announced/app.db/"
	ours := format.Name{Time: 1, ID: 1}
	for _, c := range []struct {
		key, text string
		damaged   bool
	}{
		{".DS_Store", "", false},
		{"a note.json", "what is this?", false},
		{ours.String(), "", false},
		{ours.String() + ".json", "{", true},
		{ours.String() + ".json", "{}", true},
		{ours.String() + ".json", `{"snapshots": []}`, true},
		{ours.String() + ".json", `{"snapshots": ["all"]}`, true},
		{ours.String() + ".later", "another form", true},
	} {
		st := storetest.OpenDir(t, t.TempDir())
		doomed := format.Name{Time: 5, ID: 6}
		if err := catalog.Announce(t.Context(), st, "app.db", format.Name{Time: 2, ID: 2}, []format.Name{doomed}); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Create(t.Context(), folder+c.key, strings.NewReader(c.text), 0); err != nil {
			t.Fatal(err)
		}
		got, err := catalog.Announced(t.Context(), st, "app.db")
		if c.damaged != errors.Is(err, format.ErrDamaged) || !c.damaged && (err != nil || len(got) != 1 || !got[doomed]) {
			t.Errorf("%s holding %q: %v, %v", c.key, c.text, got, err)
		}
	}
}
