package format

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A Kind says what an object holds.
type Kind int

const (
	Full    Kind = iota // every page
	Delta               // the pages that changed since the parent
	Unknown             // a snapshot in a form that this version does not know
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Full:
		return "full"
	case Delta:
		return "delta"
	}
	return "unknown"
}

// A Key is the key of a snapshot's object, taken apart.
type Key struct {
	Database  string // as [ParseDatabase] returns it
	Name      Name
	Kind      Kind
	Parent    ID // if HasParent: of a delta; an unknown kind may have one
	HasParent bool
	Encrypted bool

	suffix string // of an unknown kind, as it was read
}

// What the key of every snapshot of a known kind ends with, plain or encrypted.
const (
	PlainSuffix     = ".zst"
	EncryptedSuffix = ".age"
)

const (
	fullSuffix   = "full.db" + PlainSuffix
	deltaSuffix  = "delta" + PlainSuffix
	parentPrefix = "on-"

	// What any ending consists of, so that nothing else in a bucket is taken for a snapshot, and
	// a listing holds nothing that a terminal would obey.
	suffixChars = "abcdefghijklmnopqrstuvwxyz0123456789.-"
)

// String returns the key, relative to the store: database, slash and [Key.Base].
func (k Key) String() string { return k.Database + "/" + k.Base() }

// Base returns the last part of the key.
func (k Key) Base() string {
	var b strings.Builder
	b.WriteString(k.Name.String())
	if k.HasParent {
		b.WriteString("." + parentPrefix + k.Parent.String())
	}
	switch k.Kind {
	case Full:
		b.WriteString("." + fullSuffix)
	case Delta:
		b.WriteString("." + deltaSuffix)
	default:
		return b.String() + "." + k.suffix
	}
	if k.Encrypted {
		b.WriteString(EncryptedSuffix)
	}
	return b.String()
}

// FullKey returns the key of a full snapshot.
func FullKey(database string, n Name) Key {
	return Key{Database: database, Name: n, Kind: Full}
}

// ParseKey takes a key apart. It reports false for a key that is no snapshot's. A name with an
// unfamiliar suffix is a snapshot of kind [Unknown]: a later version made it, and whatever it
// rests on is still needed.
func ParseKey(key string) (Key, bool) {
	dir, base := path.Split(key)
	database, err := ParseDatabase(strings.TrimSuffix(dir, "/"))
	if err != nil || database+"/" != dir {
		return Key{}, false
	}
	if len(base) <= nameLen+1 || base[nameLen] != '.' {
		return Key{}, false
	}
	name, err := ParseName(base[:nameLen])
	rest := base[nameLen+1:]
	if err != nil || strings.Trim(rest, suffixChars) != "" {
		return Key{}, false
	}
	k := Key{Database: database, Name: name}
	if after, ok := strings.CutPrefix(rest, parentPrefix); ok {
		parent, suffix, _ := strings.Cut(after, ".")
		if id, err := ParseID(parent); err == nil && suffix != "" {
			k.Parent, k.HasParent, rest = id, true, suffix
		}
	}
	plain, encrypted := strings.CutSuffix(rest, EncryptedSuffix)
	switch {
	case plain == fullSuffix && !k.HasParent:
		k.Kind, k.Encrypted = Full, encrypted
	case plain == deltaSuffix && k.HasParent:
		k.Kind, k.Encrypted = Delta, encrypted
	default:
		k.Kind, k.suffix = Unknown, rest
	}
	return k, true
}

// Reserved is what no part of a database's name begins with, in any case: what is not a snapshot is kept in the
// folder of that name.
const Reserved = ".litestash"

const (
	maxDatabase = 512 // bytes, half of what a key in S3 may have
	maxPart     = 200 // bytes, leaving room for a temporary file's affixes in 255
)

// ParseDatabase returns the normalised form (NFC) of a database's name, or says why it cannot be
// one. Names are slash-separated paths without empty, "." or ".." parts and without control
// characters. No part may begin like a snapshot's file or with ".litestash", in any case.
func ParseDatabase(s string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("database name %q: %s", s, why)
	}
	if !utf8.ValidString(s) {
		return bad("it is not valid UTF-8")
	}
	if strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsRune(s, utf8.RuneError) {
		return bad("it holds a control or replacement character")
	}
	name := norm.NFC.String(s)
	if name == "" {
		return bad("it is empty")
	}
	if len(name) > maxDatabase {
		return bad(fmt.Sprintf("it is longer than %d bytes", maxDatabase))
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return bad("it begins or ends with a slash or has two in a row")
		case part == "." || part == "..":
			return bad("it has a part that is . or ..")
		case len(part) > maxPart:
			return bad(fmt.Sprintf("it has a part longer than %d bytes", maxPart))
		case hasPrefixFold(part, Reserved):
			return bad("parts that begin with " + Reserved + " are the program's own")
		case looksLikeSnapshot(part):
			return bad("it has a part that looks like a snapshot")
		}
	}
	return name, nil
}

// hasPrefixFold reports whether s begins with the ASCII prefix to a disk that ignores case. Unlike
// strings.ToLower it knows that such a disk may take U+017F for an s and U+212A for a k.
func hasPrefixFold(s, prefix string) bool {
	r := []rune(s)
	return len(r) >= len(prefix) && strings.EqualFold(string(r[:len(prefix)]), prefix)
}

// looksLikeSnapshot reports whether part begins with a snapshot's name in any case.
func looksLikeSnapshot(part string) bool {
	if len(part) < nameLen {
		return false
	}
	const timeLen = len(timeLayout)
	_, err := ParseName(strings.ToUpper(part[:timeLen]) + strings.ToLower(part[timeLen:nameLen]))
	return err == nil
}
