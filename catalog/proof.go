package catalog

import (
	"context"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// ProofPrefix is what the keys of proofs begin with.
const ProofPrefix = format.Reserved + "/proofs/"

// proofSuffix is what the keys of proofs end with.
const proofSuffix = ".json"

// A Level says how deep a check looked. Deeper is greater.
type Level int

const (
	LevelPages Level = iota // every page was compared with its hash, and all with the root
	LevelQuick              // and SQLite did its quick check
	LevelFull               // and SQLite looked at the indexes as well
)

var levels = []string{"pages", "quick", "full"}

// String returns one lower-case word.
func (l Level) String() string { return levels[l] }

// An Outcome is what a check of a snapshot came to, one lower-case word.
type Outcome string

const (
	Sound     Outcome = "sound"     // it was rebuilt, and SQLite finds nothing wrong
	Unchecked Outcome = "unchecked" // it was rebuilt, but SQLite cannot tell or was not asked
	Unmet     Outcome = "unmet"     // it was rebuilt and is not damaged, but is not what its owner says it has to be
	Damaged   Outcome = "damaged"   // its objects are, if the level is pages; else the database was when it was pushed
)

func (o Outcome) known() bool { return o == Sound || o == Unchecked || o == Unmet || o == Damaged }

// Good reports whether the outcome proves that the snapshot restores.
func (o Outcome) Good() bool { return o == Sound || o == Unchecked }

// A Proof remembers, beside the snapshots, that one of them was checked. Its key says all that is in
// it, so that a listing tells what was proved and when.
type Proof struct {
	Database string
	Snapshot format.Name
	Check    format.Name // when the check ended, by the clock of its host, and an id that makes it unique
	Level    Level
	Outcome  Outcome
}

// A ProofDetail is what the object of a proof holds for people. Whoever may list the store may read it,
// also if the snapshots are encrypted: nothing of what is in the database belongs in it.
type ProofDetail struct {
	Host       string  `json:"host,omitempty"`            // that checked
	Creator    string  `json:"creator,omitempty"`         // program and version
	Assertions int     `json:"assertions,omitempty"`      // of the owner, that were looked at
	Fetched    int64   `json:"fetched,omitempty"`         // bytes that were read from the store
	Restore    float64 `json:"restore_seconds,omitempty"` // to fetch and rebuild, without the check
}

func (p *Proof) key() string {
	return ProofPrefix + p.Database + "/" + p.Snapshot.String() + "." + p.Check.String() + "." +
		p.Level.String() + "." + string(p.Outcome) + proofSuffix
}

// Ahead reports whether the check is said to be of a time that has not come, by more than clocks may be off:
// it was recorded by a host with a wrong one.
func (p *Proof) Ahead(now time.Time) bool { return p.Check.Time.UTC().Sub(now) > MaxSkew }

// Believable returns proofs without those which are said to be of a time to come and find something good: they
// would outdo for so long whatever is found.
func Believable(proofs []Proof, now time.Time) []Proof {
	return slices.DeleteFunc(slices.Clone(proofs), func(p Proof) bool { return p.Ahead(now) && p.Outcome.Good() })
}

// RecordProof stores that the snapshot of p has just been checked, under a new p.Check. It returns a [SkewError] if
// the clock is off: checks are weighed by their times.
func RecordProof(ctx context.Context, st store.Store, p *Proof, d ProofDetail) error {
	skew, err := st.Skew(ctx)
	if err == nil {
		err = CheckClock(time.Now(), skew)
	}
	if err != nil {
		return fmt.Errorf("record a proof: %w", err)
	}
	p.Check = NewName()
	if err := createJSON(ctx, st, p.key(), d); err != nil {
		return fmt.Errorf("record a proof: %w", err)
	}
	return nil
}

// Proofs returns the proofs of a database in the order of their snapshots and, for each of these, of
// their times. It reads none of them. What is not understood, such as a later version's, is left out.
func Proofs(ctx context.Context, st store.Store, database string) ([]Proof, error) {
	return proofsBelow(ctx, st, database+"/")
}

// ProofsOf returns the proofs of one snapshot of a database in the order of their times.
func ProofsOf(ctx context.Context, st store.Store, database string, name format.Name) ([]Proof, error) {
	return proofsBelow(ctx, st, database+"/"+name.String()+".")
}

func proofsBelow(ctx context.Context, st store.Store, prefix string) ([]Proof, error) {
	var all []Proof
	for p, err := range listProofs(ctx, st, store.Query{Prefix: ProofPrefix + prefix, Shallow: true}) {
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// AllProofs yields the proofs of all databases, those of each in the order of [Proofs], and stops after the
// first error.
func AllProofs(ctx context.Context, st store.Store) iter.Seq2[Proof, error] {
	return listProofs(ctx, st, store.Query{Prefix: ProofPrefix})
}

func listProofs(ctx context.Context, st store.Store, q store.Query) iter.Seq2[Proof, error] {
	return func(yield func(Proof, error) bool) {
		for o, err := range st.List(ctx, q) {
			if err != nil {
				yield(Proof{}, fmt.Errorf("list proofs: %w", err))
				return
			}
			if p, ok := parseProof(o.Key); ok && !yield(p, nil) {
				return
			}
		}
	}
}

// parseProof takes the key of a proof apart. It reports false for one that is not understood.
func parseProof(key string) (Proof, bool) {
	p, rest, ok := parseCheck(key)
	if !ok {
		return p, false
	}
	level, outcome, _ := strings.Cut(strings.TrimSuffix(rest, proofSuffix), ".")
	p.Outcome = Outcome(outcome)
	for i, l := range levels {
		if l == level {
			p.Level = Level(i)
		}
	}
	return p, p.Outcome.known() && p.key() == key
}

// parseCheck takes apart the part of a proof's key that says which check of which snapshot it is about,
// and returns the rest, which a later version may have another of.
func parseCheck(key string) (p Proof, rest string, ok bool) {
	dir, base := path.Split(strings.TrimPrefix(key, ProofPrefix))
	n := nameLen
	if len(base) <= 2*(n+1) || base[n] != '.' || base[2*n+1] != '.' {
		return p, "", false
	}
	var errs [3]error
	p.Database, errs[0] = format.ParseDatabase(strings.TrimSuffix(dir, "/"))
	p.Snapshot, errs[1] = format.ParseName(base[:n])
	p.Check, errs[2] = format.ParseName(base[n+1 : 2*n+1])
	return p, base[2*(n+1):], errs == [3]error{} && p.Database+"/" == dir
}

// Standing returns what is known of each snapshot that proofs, in the order in which they are listed,
// are about: the newest of its proofs. But damage that SQLite found stands until a check that looks as deep
// does not find it, as a quick check does not tell of indexes that a full one found damaged; worse is only
// that by now the objects are damaged as well. What a check asked is not in its key: that something was unmet
// goes with the next one, whatever that asked.
func Standing(proofs []Proof) map[format.Name]Proof {
	all, inside := map[format.Name]Proof{}, map[format.Name]Proof{}
	for _, p := range proofs {
		all[p.Snapshot] = p
		if p.depth() < inside[p.Snapshot].Level || p.rot() {
			continue
		}
		delete(inside, p.Snapshot)
		if p.Outcome == Damaged {
			inside[p.Snapshot] = p
		}
	}
	for n, p := range inside {
		if last := all[n]; !last.rot() {
			all[n] = p
		}
	}
	return all
}

// rot reports whether objects are damaged in the store.
func (p *Proof) rot() bool { return p.Outcome == Damaged && p.Level == LevelPages }

// depth returns how deep a check really looked.
func (p *Proof) depth() Level {
	if p.Outcome == Unchecked {
		return LevelPages
	}
	return p.Level
}

// DeleteProofs deletes the proofs of the snapshots in names, also those whose form a later version gave
// them: of a snapshot that is gone they say nothing to anybody.
func DeleteProofs(ctx context.Context, st store.Store, database string, names map[format.Name]bool) error {
	return deleteProofs(ctx, st, database, func(key string) bool {
		p, _, ok := parseCheck(key)
		return ok && names[p.Snapshot]
	})
}

// DeleteRot deletes those proofs of the snapshots in names that say that objects are damaged in the store, for when others
// are there again than those that were checked.
func DeleteRot(ctx context.Context, st store.Store, database string, names map[format.Name]bool) error {
	return deleteProofs(ctx, st, database, func(key string) bool {
		p, ok := parseProof(key)
		return ok && p.rot() && names[p.Snapshot]
	})
}

func deleteProofs(ctx context.Context, st store.Store, database string, doomed func(key string) bool) error {
	var keys []string
	for o, err := range st.List(ctx, store.Query{Prefix: ProofPrefix + database + "/", Shallow: true}) {
		if err != nil {
			return fmt.Errorf("list proofs: %w", err)
		}
		if doomed(o.Key) {
			keys = append(keys, o.Key)
		}
	}
	for _, key := range keys {
		if err := st.Delete(ctx, key); err != nil {
			return fmt.Errorf("delete a proof: %w", err)
		}
	}
	return nil
}
