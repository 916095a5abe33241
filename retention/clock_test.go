package retention_test

import (
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store/storetest"
)

// TestProofByClockAhead has a host whose clock is a year ahead prove the newest snapshot, whose object is found damaged
// since: that the newest is good is not believed, and the one before it stays.
func TestProofByClockAhead(t *testing.T) {
	st := storetest.OpenDir(t, storetest.FastDir(t))
	create := func(key string) {
		t.Helper()
		if _, err := st.Create(t.Context(), key, strings.NewReader("{}"), 2); err != nil {
			t.Fatal(err)
		}
	}
	older, newest := format.Name{Time: 1, ID: 1}, format.Name{Time: 2, ID: 2}
	for _, n := range []format.Name{older, newest} {
		create(format.FullKey("app.db", n).String())
	}
	ahead := format.Name{Time: format.TimeOf(time.Now().AddDate(1, 0, 0)), ID: 3}
	create(".litestash/proofs/app.db/" + newest.String() + "." + ahead.String() + ".quick.sound.json")
	rot := &catalog.Proof{Database: "app.db", Snapshot: newest, Level: catalog.LevelPages, Outcome: catalog.Damaged}
	if err := catalog.RecordProof(t.Context(), st, rot, catalog.ProofDetail{}); err != nil {
		t.Fatal(err)
	}
	p, err := retention.Prune(t.Context(), st, "app.db", retention.Policy{Last: 1}, retention.PruneOptions{})
	if err != nil || len(p.Gone) > 0 {
		t.Errorf("deleted are %v, %v", p.Gone, err)
	}
}
