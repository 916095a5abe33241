package snapshot

import (
	"encoding/hex"
	"strings"
)

// A fingerprint is what a look sees of a database. As text it is compared as a whole; of a database in WAL mode parts of
// it are read as well.
type fingerprint struct {
	boot string // this run of the kernel
	db   string // which file the database is
	fact string // its size, times and counters

	// The rest is empty if it is not open in WAL mode.
	wal, shm string // which files they are
	walFact  string // their sizes, and the time of the -wal
	index    indexHeader
}

// separator is in none of the parts.
const separator = "|"

// fingerprintVersion is that of the text: one of another is of no use.
const fingerprintVersion = "2"

func (f *fingerprint) String() string {
	parts := []string{fingerprintVersion, f.boot, f.db, f.fact}
	if f.inWAL() {
		parts = append(parts, f.wal, f.shm, f.walFact, hex.EncodeToString(f.index[:]))
	}
	return strings.Join(parts, separator)
}

// parseFingerprint reads what a look has returned. It is not ok if that says nothing.
func parseFingerprint(text string) (f fingerprint, ok bool) {
	parts := strings.Split(text, separator)
	if parts[0] != fingerprintVersion || len(parts) != 4 && len(parts) != 8 {
		return f, false
	}
	f.boot, f.db, f.fact = parts[1], parts[2], parts[3]
	if len(parts) == 4 {
		return f, true
	}
	f.wal, f.shm, f.walFact = parts[4], parts[5], parts[6]
	n, err := hex.Decode(f.index[:], []byte(parts[7]))
	return f, err == nil && n == len(f.index)
}

// inWAL reports whether the database is open in WAL mode.
func (f *fingerprint) inWAL() bool { return f.wal != "" }

// sameFiles reports whether the files are those that they were, and whether the kernel has run since.
func (f *fingerprint) sameFiles(other *fingerprint) bool {
	return f.boot == other.boot && f.db == other.db && f.wal == other.wal && f.shm == other.shm
}
