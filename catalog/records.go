package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// beside are the places of records: objects that say something of one snapshot each, whose name theirs
// begin with. They are copied where it is.
var beside = []string{HoldPrefix, ProofPrefix}

// A Record is an object that says something of a snapshot: that it is held, or what a check found.
type Record struct {
	Snapshot format.Name
	Object   store.Object
}

// Records returns the holds and proofs of a database, of whatever version.
func Records(ctx context.Context, st store.Store, database string) ([]Record, error) {
	var all []Record
	for _, place := range beside {
		for o, err := range st.List(ctx, store.Query{Prefix: place + database + "/", Shallow: true}) {
			if err != nil {
				return nil, fmt.Errorf("list holds and proofs: %w", err)
			}
			if n, ok := leadingName(o.Key); ok {
				all = append(all, Record{n, o})
			}
		}
	}
	return all, nil
}

// Portable returns those of records, as listed, that are as true of a copy of the database in another store: the holds,
// and what SQLite or an assertion finds wrong with a snapshot and has not taken back. What was found of its objects
// is about these in their store. That it is good is, too: the copy has been read by nobody.
func Portable(records []Record) []Record {
	var inside []Proof
	for _, r := range records {
		if p, ok := parseProof(r.Object.Key); ok && !p.rot() {
			inside = append(inside, p)
		}
	}
	standing := Standing(inside)
	return slices.DeleteFunc(slices.Clone(records), func(r Record) bool {
		if strings.HasPrefix(r.Object.Key, HoldPrefix) {
			return false
		}
		p, ok := parseProof(r.Object.Key)
		return !ok || p != standing[p.Snapshot] || p.Outcome.Good()
	})
}

// About returns what the keys of all objects about snapshots of a database begin with, before a last part
// without a slash.
func About(database string) []string {
	return []string{ProofPrefix + database + "/", HoldPrefix + database + "/", AnnouncementPrefix + database + "/"}
}

// NewName returns the name of something that is made now, such as a hold or an announcement: no other has it.
func NewName() format.Name {
	return format.Name{Time: format.TimeOf(time.Now()), ID: format.NewID(format.NewLineage())}
}

// nameLen is the length of each name, written out.
var nameLen = len(format.Name{ID: 1}.String())

// leadingName returns the name that the last part of a key begins with, up to a dot.
func leadingName(key string) (format.Name, bool) {
	base := path.Base(key)
	if len(base) <= nameLen || base[nameLen] != '.' {
		return format.Name{}, false
	}
	name, err := format.ParseName(base[:nameLen])
	return name, err == nil
}

// createJSON stores v as JSON under a new key.
func createJSON(ctx context.Context, st store.Store, key string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = st.Create(ctx, key, bytes.NewReader(text), int64(len(text)))
	return err
}
