package retention_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
)

// TestForgedID lets somebody with the rights of push repeat the id of a snapshot, and prunes: what is held restores all
// the same.
func TestForgedID(t *testing.T) {
	for what, forge := range map[string]func(k format.Key) format.Key{
		"another time": func(k format.Key) format.Key {
			return format.FullKey("app.db", format.Name{Time: k.Name.Time + 1, ID: k.Name.ID})
		},
		"an earlier time": func(k format.Key) format.Key {
			return format.FullKey("app.db", format.Name{Time: k.Name.Time - 1, ID: k.Name.ID})
		},
		"another parent": func(k format.Key) format.Key {
			k.HasParent, k.Parent, k.Kind = true, k.Name.ID, format.Delta
			return k
		},
	} {
		r := newRig(t)
		all := r.list() // 1 rests on 0, and 2 on 1 or 0
		held := all[2]
		for _, s := range all[:2] {
			if _, err := r.st.Create(t.Context(), forge(s.Key).String(), strings.NewReader("junk"), 4); err != nil {
				t.Fatal(err)
			}
		}
		if err := retention.Hold(t.Context(), r.st, "app.db", held.Name); err != nil {
			t.Fatal(err)
		}
		want := &bytes.Buffer{}
		if _, err := restore.Stream(t.Context(), r.st, held, want, restore.Options{TempDir: t.TempDir()}); err != nil {
			t.Errorf("%s: before: %v", what, err)
		}
		r.now = r.now.Add(24 * time.Hour)
		for range 2 {
			if _, err := retention.Prune(t.Context(), r.st, "app.db", retention.Policy{Last: 1}, retention.PruneOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		got := &bytes.Buffer{}
		if _, err := restore.Stream(t.Context(), r.st, held, got, restore.Options{TempDir: t.TempDir()}); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%s: what is held restores no more: %v", what, err)
		}
	}
}
