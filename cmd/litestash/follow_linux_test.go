package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/litestash/litestash/internal/sqliteshell"
)

// TestPushFollows pushes a database in WAL mode that an application has open. Each push is a process of its own, and
// what they know of each other is what is remembered.
func TestPushFollows(t *testing.T) {
	r := newWatchRig(t)
	sh(t, r.db, fill("0", 2000))
	app, err := sqliteshell.Start(r.db, "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; UPDATE words SET word='first'")
	if err != nil {
		t.Fatal(err)
	}
	defer app.Kill()
	for _, step := range []struct {
		sql                 string
		flags               []string
		followed, unchanged bool
	}{
		{"", nil, false, false}, // a full
		{"UPDATE words SET word='1'", nil, true, false},
		{"UPDATE noise SET bytes=randomblob(100) WHERE id=77", nil, true, false},
		{"PRAGMA wal_checkpoint", nil, true, true},                                  // which leaves the WAL as it is
		{"", nil, false, true},                                                      // nothing is read
		{"UPDATE noise SET bytes=randomblob(100) WHERE id=1077", nil, false, false}, // the first after a checkpoint begins the WAL anew
		{"UPDATE words SET word='2'", []string{"--check", "full"}, false, false},
		{"UPDATE words SET word='3'", nil, true, false},
		{"UPDATE words SET word='4'", []string{"--full"}, false, false},
		{"INSERT INTO noise(bytes) VALUES(zeroblob(30000))", nil, true, false},
		{"DELETE FROM noise WHERE id > 1500", nil, true, false},
	} {
		if err := app.Do(step.sql + ";"); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"push", "--json", "--host", "h", r.db}, append(step.flags, r.global()...)...)
		var result pushed
		if err := json.Unmarshal([]byte(mustLite(t, args...)), &result); err != nil {
			t.Fatal(err)
		}
		if result.Followed != step.followed || result.Unchanged != step.unchanged {
			t.Errorf("%q %q: the WAL was followed: %v, unchanged: %v", step.sql, step.flags, result.Followed, result.Unchanged)
		}
		target := filepath.Join(r.dir, "restored.db")
		mustLite(t, append([]string{"restore", "app.db", "-o", target, "--check", "full"}, r.global()...)...)
		if got, want := sh(t, target, ".sha3sum"), sh(t, r.db, ".sha3sum"); got != want {
			t.Fatalf("%q: what is restored is not what was pushed", step.sql)
		}
		if err := os.Remove(target); err != nil {
			t.Fatal(err)
		}
	}
}
