package format

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// A Time is a moment in milliseconds since the Unix epoch. Its text has a fixed width, so that
// the order of texts is the order of moments.
type Time int64

const (
	timeLayout = "20060102T150405.000Z"
	maxTime    = Time(253402300799999) // 9999-12-31T23:59:59.999Z, the last with four digits of year
	nameLen    = len(timeLayout) + 1 + idDigits
)

// TimeOf returns the millisecond that t falls in.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// UTC returns t as a [time.Time] in UTC.
func (t Time) UTC() time.Time { return time.UnixMilli(int64(t)).UTC() }

// String returns the text that [ParseTime] reads, such as 20261122T073500.004Z.
func (t Time) String() string { return t.UTC().Format(timeLayout) }

// ParseTime reads a time from 1970 to 9999 in its only spelling.
func ParseTime(s string) (Time, error) {
	p, err := time.Parse(timeLayout, s)
	if err != nil {
		return 0, fmt.Errorf("time %q: want the form 20261122T073500.004Z", s)
	}
	t := TimeOf(p)
	if t < 0 || t > maxTime || t.String() != s {
		return 0, fmt.Errorf("time %q: out of range or not in its only spelling", s)
	}
	return t, nil
}

// An ID makes a snapshot's name unique across hosts and clocks. Its upper 24 bits are the
// [Lineage], so that a listing alone tells two histories under one name apart; the rest is random.
type ID uint64

// A Lineage marks the history of one source file: 24 bits that are drawn when a source's first snapshot is
// taken and when a source takes over another's name, such as [LineageOf].
type Lineage uint32

const (
	lineageBits = 24
	idDigits    = 13 // of five bits each; the first holds four
)

// digits is Crockford's base 32 in lower case: in the order of their value, and without the
// letters that are mistaken for digits.
const digits = "0123456789abcdefghjkmnpqrstvwxyz"

// NewLineage returns a random lineage.
func NewLineage() Lineage {
	return Lineage(randomUint64() >> (64 - lineageBits))
}

// LineageOf returns the lineage of a source's history under the name of a database. It is always the same,
// so that who cannot read snapshots knows whose they are.
func LineageOf(database string, s Source) Lineage {
	h := sha256.New()
	for _, part := range []string{"litestash lineage v1", database, stored(s.Host), stored(s.Path)} {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return Lineage(binary.BigEndian.Uint32(h.Sum(nil)) >> (32 - lineageBits))
}

// NewID returns an id of the lineage with its other 40 bits random.
func NewID(l Lineage) ID {
	const free = 64 - lineageBits
	return ID(uint64(l)<<free | randomUint64()>>lineageBits)
}

func randomUint64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails, see its documentation
	return binary.LittleEndian.Uint64(b[:])
}

// Lineage returns the lineage that the id carries.
func (id ID) Lineage() Lineage { return Lineage(id >> (64 - lineageBits)) }

// String returns the five digits with which the ids of the lineage begin.
func (l Lineage) String() string {
	const lineageDigits = 5
	return ID(uint64(l) << (64 - lineageBits)).String()[:lineageDigits]
}

// String returns the 13 digits that [ParseID] reads.
func (id ID) String() string {
	var b [idDigits]byte
	for i := range b {
		b[i] = digits[id>>(5*(idDigits-1-i))&31]
	}
	return string(b[:])
}

// ParseID reads an id in its only spelling.
func ParseID(s string) (ID, error) {
	if len(s) != idDigits {
		return 0, fmt.Errorf("id %q: want %d characters", s, idDigits)
	}
	var id ID
	for i := range len(s) {
		v := strings.IndexByte(digits, s[i])
		if v < 0 || i == 0 && v > 15 {
			return 0, fmt.Errorf("id %q: want the digits %s, the first at most f", s, digits)
		}
		id = id<<5 | ID(v)
	}
	return id, nil
}

// A Name names one snapshot for ever: when it was taken and an [ID]. The zero Name is none.
type Name struct {
	Time Time
	ID   ID
}

// String returns the text that [ParseName] reads, such as
// 20261122T073500.004Z-7q3dk29f0a1bc. Names sort as their texts do.
func (n Name) String() string { return n.Time.String() + "-" + n.ID.String() }

// IsZero reports whether n is no name at all.
func (n Name) IsZero() bool { return n == Name{} }

// Compare orders names by time, then by id.
func (n Name) Compare(o Name) int {
	return cmp.Or(cmp.Compare(n.Time, o.Time), cmp.Compare(n.ID, o.ID))
}

// valid reports whether n has a text that [ParseName] reads.
func (n Name) valid() bool { return n.Time >= 0 && n.Time <= maxTime && !n.IsZero() }

// ParseName reads a name in its only spelling. The text of the zero Name is none.
func ParseName(s string) (Name, error) {
	t, id, ok := strings.Cut(s, "-")
	if !ok {
		return Name{}, fmt.Errorf("snapshot name %q: want the form 20261122T073500.004Z-7q3dk29f0a1bc", s)
	}
	var n Name
	var err error
	if n.Time, err = ParseTime(t); err != nil {
		return Name{}, fmt.Errorf("snapshot name %q: %w", s, err)
	}
	if n.ID, err = ParseID(id); err != nil {
		return Name{}, fmt.Errorf("snapshot name %q: %w", s, err)
	}
	if n.IsZero() {
		return Name{}, fmt.Errorf("snapshot name %q: it stands for none", s)
	}
	return n, nil
}

// MarshalText implements [encoding.TextMarshaler]. The zero Name is the empty text.
func (n Name) MarshalText() ([]byte, error) {
	if n.IsZero() {
		return []byte{}, nil
	}
	return []byte(n.String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *Name) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*n = Name{}
		return nil
	}
	*n, err = ParseName(string(text))
	return err
}
