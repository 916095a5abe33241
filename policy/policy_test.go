package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

var here = Place{Bucket: "bucket", Prefix: "backups/db"}

// may reports whether a role may do something with a key of the store.
func may(t *testing.T, role Role, action, key string) bool {
	t.Helper()
	doc, err := For(role, here, 0)
	if err != nil {
		t.Fatal(err)
	}
	allowed := false
	for _, s := range doc.Statement {
		if !slices.Contains(s.Action, action) || !slices.ContainsFunc(s.Resource, func(r string) bool { return names(r, key) }) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// names reports whether a resource of a policy, with one star or none, is that of a key.
func names(resource, key string) bool {
	name := "arn:aws:s3:::" + here.Bucket + "/" + here.Prefix + "/" + key
	before, after, star := strings.Cut(resource, "*")
	if !star {
		return resource == name
	}
	return len(name) >= len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// stored returns the keys that are stored by do.
func stored(t *testing.T, do func(st store.Store) error) []string {
	t.Helper()
	st, err := store.Open(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := do(st); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for o, err := range st.List(t.Context(), store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// What each role may create and delete is told of the keys that are really stored.
func TestKeys(t *testing.T) {
	const database = "app.db"
	n := catalog.NewName()
	for _, c := range []struct {
		what    string
		keys    []string
		creates []Role
		deletes []Role
	}{
		{"snapshots", []string{
			format.FullKey(database, n).String(),
			format.Key{Database: database, Name: n, Kind: format.Full, Encrypted: true}.String(),
			format.Key{Database: database, Name: n, Kind: format.Delta, HasParent: true}.String(),
			format.Key{Database: database, Name: n, Kind: format.Delta, HasParent: true, Encrypted: true}.String(),
		}, []Role{Push, Recover}, []Role{Prune, Recover}},
		{"proofs", stored(t, func(st store.Store) error {
			return catalog.RecordProof(t.Context(), st, &catalog.Proof{Database: database, Snapshot: n, Outcome: catalog.Sound}, catalog.ProofDetail{})
		}), []Role{Push, Verify}, []Role{Prune, Recover}},
		{"holds", stored(t, func(st store.Store) error {
			_, err := catalog.PlaceHold(t.Context(), st, database, n)
			return err
		}), []Role{Prune}, []Role{Prune}},
		{"announcements", stored(t, func(st store.Store) error {
			return catalog.Announce(t.Context(), st, database, catalog.NewName(), []format.Name{n})
		}), []Role{Prune}, []Role{Prune, Recover}},
		// Pushes are allowed whatever ends as a snapshot does, and so that is denied to them where holds are.
		{"what looks like a snapshot among holds", []string{catalog.HoldPrefix + format.FullKey(database, n).String()}, []Role{Prune, Recover}, []Role{Prune, Recover}},
		{"another object", []string{"index.html"}, nil, []Role{Prune}},
	} {
		if len(c.keys) == 0 {
			t.Errorf("%s: nothing is stored", c.what)
		}
		for _, key := range c.keys {
			for _, role := range Roles() {
				if got, want := may(t, role, "s3:PutObject", key), slices.Contains(c.creates, role); got != want {
					t.Errorf("%s: %s may create %s: %v", c.what, role, key, got)
				}
				if got, want := may(t, role, "s3:DeleteObject", key), slices.Contains(c.deletes, role); got != want {
					t.Errorf("%s: %s may delete %s: %v", c.what, role, key, got)
				}
				if !may(t, role, "s3:GetObject", key) {
					t.Errorf("%s: %s may not read %s", c.what, role, key)
				}
			}
		}
	}
}

func TestForRefuses(t *testing.T) {
	for _, c := range []struct {
		role    Role
		at      Place
		lockFor time.Duration
		says    string
	}{
		{"all", here, 0, `no role is called "all"`},
		{Restore, here, time.Hour, "restore does not lock"},
		{Push, Place{Bucket: "bucket", Prefix: "a*"}, 0, `cannot name the prefix "a*"`},
	} {
		if _, err := For(c.role, c.at, c.lockFor); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s, %v: %v", c.role, c.at, err)
		}
	}
}
