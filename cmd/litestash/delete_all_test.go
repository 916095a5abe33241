package main

import (
	"path/filepath"
	"testing"

	"github.com/litestash/litestash/store"
)

// TestDeleteAllVersions deletes all that there is of a database in versioned buckets, where snapshots have been
// deleted and overwritten before, and leaves the others alone.
func TestDeleteAllVersions(t *testing.T) {
	onLockStores(t, func(t *testing.T, url string) {
		t.Setenv("LITESTASH_STORE", url)
		db := filepath.Join(t.TempDir(), "app.db")
		sh(t, db, fill("zero", 500))
		var last pushed
		for range 3 {
			last = pushJSON(t, db, "--full")
		}
		mustLite(t, "push", db, "--name", "other.db")
		mustLite(t, "hold", "app.db", "latest")
		mustLite(t, "verify", "app.db", "--check", "quick")
		mustLite(t, "delete", "app.db", snapshotsIn(t, url, "app.db")[0])
		rootThief(t, url).overwrite(last.Key, "something else")

		mustLite(t, "delete", "app.db", "--all-snapshots", "--confirm", "app.db", "--even-held")
		for v, err := range openS3(t, url).Versions(t.Context(), store.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Dir(v.Key) != "other.db" {
				t.Errorf("left is %+v", v)
			}
		}
		mustLite(t, "verify", "other.db")
		if code, _, _ := runWith(t, "delete", "app.db", "--all-snapshots", "--confirm", "app.db"); code != exitNotFound {
			t.Errorf("once more it ends with %d", code)
		}

		// What is locked stays until the lock ends.
		locked := pushJSON(t, db, "--lock-for", "1h")
		if code, stdout, _ := runWith(t, "delete", "app.db", "--all-snapshots", "--dry-run"); code != exitRefused || len(stdout) > 0 {
			t.Errorf("a dry run ends with %d and %s", code, stdout)
		}
		code, _, stderr := runWith(t, "delete", "app.db", "--all-snapshots", "--confirm", "app.db")
		if _, err := store.Oldest(t.Context(), openS3(t, url), locked.Key); code != exitRefused || err != nil {
			t.Errorf("it ends with %d and %s, and of %s is left: %v", code, stderr, locked.Key, err)
		}
	})
}
