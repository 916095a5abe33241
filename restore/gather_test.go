package restore_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// TestAtOnce restores a chain, plain and encrypted, from stores that answer no read of a kind before so many of them
// are under way: those of what the objects say of themselves, and those of their pages.
func TestAtOnce(t *testing.T) {
	const links = 6
	rs, ids := newKey(t)
	versions := changed(1000, links) // of 400 kB each: more than is read with what an object says of itself
	st := storetest.OpenDir(t, t.TempDir())
	for _, c := range []struct {
		database string
		rs       *seal.Recipients
	}{{"plain.db", nil}, {"sealed.db", rs}} {
		all := pushChain(t, st, c.database, c.rs, ids, versions)
		newest := all[links-1]
		// What an object holds begins with its header, and its pages follow.
		ofPages := func(_ store.Object, off, _ int64) bool { return off > 0 && off < 4<<10 }
		for _, held := range []struct {
			name   string
			enough int
			holds  func(o store.Object, off, n int64) bool
		}{
			{"what the objects say", links - 1, func(o store.Object, off, n int64) bool {
				return o.Key != newest.Object.Key && !ofPages(o, off, n)
			}},
			{"pages", links, ofPages},
		} {
			t.Run(c.database+"/"+held.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				g := storetest.Gather(st, held.enough, held.holds)
				var out bytes.Buffer
				_, err := restore.Stream(ctx, g, newest, &out, restore.Options{Identities: ids, TempDir: t.TempDir(), Concurrency: links})
				if err != nil || !g.Gathered() || !bytes.Equal(out.Bytes(), versions[links-1]) {
					t.Errorf("enough at once: %v, %v", g.Gathered(), err)
				}
			})
		}
		if size := all[1].Object.Size; size < format.FirstTail+8<<10 {
			t.Errorf("the deltas have %d bytes: the test shows nothing", size)
		}
	}
}
