package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Version is the format version that this package writes, and the only one that it reads.
const Version = 1

const (
	headerMagic = "LITESTSH"
	indexMagic  = "LSTINDEX"

	// MaxFacts bounds the stored size of a header or an index frame, in bytes.
	MaxFacts  = 1 << 20
	envelope  = 8 + 4                                                     // magic and version before the JSON
	factsTail = sha256.Size                                               // a hash after it
	maxText   = MaxFacts - skippableHeader - envelope - factsTail - 1<<10 // leaving room for text that does not compress

	minPageSize = 512
	maxPageSize = 65536
	maxPages    = 1<<32 - 2 // https://www.sqlite.org/limits.html, "Maximum Number Of Pages"
)

// The members that must be there.
var (
	headerMembers = []string{"database", "snapshot", "parent", "page_size", "pages"}
	indexMembers  = append(headerMembers[:len(headerMembers):len(headerMembers)],
		"carried", "salt", "root", "chain", "source", "creator")
)

// A Header stands at the start of every object and says what it is.
type Header struct {
	Database string `json:"database"`
	Snapshot Name   `json:"snapshot"`
	Parent   Name   `json:"parent"`    // of a delta; none for a full
	PageSize int    `json:"page_size"` // bytes; 0 for an empty database
	Pages    uint32 `json:"pages"`     // of the whole image
}

// Kind returns what the object holds.
func (h *Header) Kind() Kind {
	if h.Parent.IsZero() {
		return Full
	}
	return Delta
}

// Size returns the size of the whole image in bytes.
func (h *Header) Size() int64 { return int64(h.Pages) * int64(h.PageSize) }

// An Index stands near the end of every object and says all that there is to know about it.
type Index struct {
	Header
	Carried    uint32            `json:"carried"` // pages that this object holds
	Salt       Salt              `json:"salt"`
	Root       Root              `json:"root"`
	ParentRoot *Root             `json:"parent_root,omitempty"`
	Chain      []Link            `json:"chain"`             // what it rests on, the full first, its parent last
	Replaces   Name              `json:"replaces,omitzero"` // a snapshot whose path was lost, in its stead
	Source     Source            `json:"source"`
	Creator    string            `json:"creator"` // program and version
	Tags       map[string]string `json:"tags,omitempty"`
}

// A Link is an object that a delta rests on.
type Link struct {
	Key  string `json:"key"`  // its last part, see [Key.Base]
	Size int64  `json:"size"` // stored bytes
}

// In returns the whole key of the object, which is a snapshot's of the database of that name. A
// link that an index could not hold has the zero Key.
func (l Link) In(database string) Key {
	k, _ := ParseKey(database + "/" + l.Key)
	return k
}

// A Source says where the database was when the snapshot was taken.
type Source struct {
	Host string `json:"host"`
	Path string `json:"path"` // absolute, symbolic links resolved
}

// Same reports whether two snapshots were taken of the same file. One source may be read from an
// index and the other not: JSON has no bytes that are not UTF-8 and holds U+FFFD in their place.
func (s Source) Same(o Source) bool {
	return stored(s.Host) == stored(o.Host) && stored(s.Path) == stored(o.Path)
}

// stored returns s as it is after a trip through JSON.
func stored(s string) string { return string([]rune(s)) }

func (h *Header) validate() error {
	name, err := ParseDatabase(h.Database)
	switch {
	case err != nil:
		return damaged("%v", err)
	case name != h.Database:
		return damaged("database name %q is not normalised", h.Database)
	case !h.Snapshot.valid() || !h.Parent.IsZero() && !h.Parent.valid():
		return damaged("no snapshot name")
	case h.Pages > maxPages, (h.PageSize == 0) != (h.Pages == 0):
		return damaged("%d pages of %d bytes", h.Pages, h.PageSize)
	case h.PageSize != 0 && (h.PageSize < minPageSize || h.PageSize > maxPageSize || h.PageSize&(h.PageSize-1) != 0):
		return damaged("page size %d", h.PageSize)
	case !h.Parent.IsZero() && h.Snapshot.Time <= h.Parent.Time:
		return damaged("the snapshot %v is not later than its parent %v", h.Snapshot, h.Parent)
	}
	return nil
}

func (x *Index) validate() error {
	if err := x.Header.validate(); err != nil {
		return err
	}
	full := x.Kind() == Full
	switch {
	case full && x.Carried != x.Pages, x.Carried > x.Pages:
		return damaged("%d pages in a %v of %d", x.Carried, x.Kind(), x.Pages)
	case full && len(x.Chain) > 0, !full && len(x.Chain) == 0:
		return damaged("a %v on a chain of %d", x.Kind(), len(x.Chain))
	case !x.Replaces.IsZero() && (!full || !x.Replaces.valid()):
		return damaged("a %v in the stead of %v", x.Kind(), x.Replaces)
	case full == (x.ParentRoot != nil):
		return damaged("a %v with or without a parent's root", x.Kind())
	}
	return x.validateChain()
}

// validateChain checks that the chain is one: a full, then deltas each on the one before, and the
// parent last.
func (x *Index) validateChain() error {
	var last Name
	for i, l := range x.Chain {
		k, ok := ParseKey(x.Database + "/" + l.Key)
		if !ok || k.Base() != l.Key || (k.Kind == Full) != (i == 0) || k.Kind == Unknown || l.Size <= 0 ||
			i > 0 && (k.Parent != last.ID || k.Name.Time <= last.Time) {
			return damaged("the chain has %q of %d bytes as its number %d", l.Key, l.Size, i+1)
		}
		last = k.Name
	}
	if last != x.Parent {
		return damaged("the chain ends with %v, not with the parent %v", last, x.Parent)
	}
	return nil
}

// AppendHeader appends the stored form of h, one skippable frame.
func AppendHeader(dst []byte, h *Header) ([]byte, error) {
	if err := h.validate(); err != nil {
		return nil, err
	}
	return appendFacts(dst, headerMagic, h)
}

// ParseHeader reads a header frame.
func ParseHeader(frame []byte) (*Header, error) {
	h := new(Header)
	if err := parseFacts(frame, headerMagic, h, headerMembers); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := h.validate(); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return h, nil
}

// AppendIndex appends the stored form of x, one skippable frame.
func AppendIndex(dst []byte, x *Index) ([]byte, error) {
	if err := x.validate(); err != nil {
		return nil, err
	}
	y := *x
	if y.Chain == nil {
		y.Chain = []Link{} // JSON: [] rather than null
	}
	return appendFacts(dst, indexMagic, &y)
}

// ParseIndex reads an index frame.
func ParseIndex(frame []byte) (*Index, error) {
	x := new(Index)
	if err := parseFacts(frame, indexMagic, x, indexMembers); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if err := x.validate(); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return x, nil
}

// appendFacts appends a frame of magic, version, the JSON of v, in an index compressed, and the
// SHA-256 of these three.
func appendFacts(dst []byte, magic string, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("encode %T: %d bytes are too many", v, len(text))
	}
	if magic == indexMagic {
		text = compressText(text)
	}
	return appendSkippable(dst, ownMagic, func(b []byte) []byte {
		start := len(b)
		b = append(b, magic...)
		b = binary.LittleEndian.AppendUint32(b, Version)
		b = append(b, text...)
		sum := sha256.Sum256(b[start:])
		return append(b, sum[:]...)
	}), nil
}

// parseFacts reads a frame that appendFacts made into v.
func parseFacts(frame []byte, magic string, v any, members []string) error {
	p, err := skippable(frame, ownMagic)
	if err != nil {
		return err
	}
	if err := checkMagic(p, magic); err != nil {
		return err
	}
	if len(p) < envelope+factsTail || len(frame) > MaxFacts {
		return damaged("%d bytes", len(frame))
	}
	body := p[:len(p)-factsTail]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], p[len(body):]) {
		return damaged("hash")
	}
	text := body[envelope:]
	if magic == indexMagic {
		if text, err = decompressText(text); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(text, v); err != nil {
		return damaged("%v", err)
	}
	if err := checkJSON(text, members); err != nil {
		return damaged("%v", err)
	}
	return nil
}

func checkMagic(payload []byte, magic string) error {
	if len(payload) < envelope || string(payload[:8]) != magic {
		return damaged("it is none of ours")
	}
	if v := binary.LittleEndian.Uint32(payload[8:]); v != Version {
		return &VersionError{v}
	}
	return nil
}

// Identify looks at the first bytes of an object, 20 or more, and says what is wrong with them: not
// ours ([ErrDamaged]) or of another version ([VersionError]). It returns nil for what this package
// reads. It tells why the end of an object could not be understood.
func Identify(head []byte) error {
	if len(head) < skippableHeader+envelope || binary.LittleEndian.Uint32(head) != ownMagic {
		return damaged("it does not begin like a snapshot")
	}
	return checkMagic(head[skippableHeader:], headerMagic)
}
