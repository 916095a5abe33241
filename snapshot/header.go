package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/ncruces/go-sqlite3"
)

// Offsets in the database header, https://sqlite.org/fileformat.html section 1.3.
const (
	headerSize       = 100
	offPageSize      = 16
	offWriteVersion  = 18
	offReadVersion   = 19
	offReserved      = 20
	offChangeCounter = 24
	offPageCount     = 28
	offSchemaCookie  = 40
	offValidFor      = 92
	offVersion       = 96
)

const magic = "SQLite format 3\x00"

// lockByte is where SQLite locks its files. The page that holds it is never used,
// https://sqlite.org/fileformat.html section 1.4.
const lockByte = 1 << 30

// lockPage returns the number of the page that holds the lock byte.
func lockPage(pageSize int) uint32 { return uint32(lockByte/pageSize) + 1 }

// A header is the first 100 bytes of a database.
type header [headerSize]byte

func (h *header) u32(off int) uint32 { return binary.BigEndian.Uint32(h[off:]) }

// pageSize returns the page size in bytes, or 0 if it is not one SQLite uses.
func (h *header) pageSize() int {
	n := int(binary.BigEndian.Uint16(h[offPageSize:]))
	if n == 1 {
		n = 65536
	}
	if n < 512 || n&(n-1) != 0 {
		return 0
	}
	return n
}

// wal reports whether the header asks for WAL mode.
func (h *header) wal() bool { return h[offWriteVersion] == 2 || h[offReadVersion] == 2 }

// size returns the size of the database in bytes, or 0 if the header does not say: a version of
// SQLite older than 3.7.0 wrote last and left the page count alone.
func (h *header) size() int64 {
	if h.u32(offChangeCounter) != h.u32(offValidFor) {
		return 0
	}
	return int64(h.u32(offPageCount)) * int64(h.pageSize())
}

// resolve returns the absolute path of the file that SQLite would open, and whose name its side
// files carry: SQLite follows symbolic links since 3.10.0.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: %w", path, ErrNotFile)
	}
	if real, err = filepath.Abs(real); err != nil {
		return "", err
	}
	if len(real) > maxPath {
		return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ENAMETOOLONG}
	}
	return real, nil
}

// maxPath is the longest path in bytes that leaves room for a suffix. The driver panics on names
// beyond 1,024: _MAX_PATHNAME in its vfs/const.go.
const maxPath = 1000

// readHeader reads the header of f, which is at path. An empty file has none: ok is false. It fails
// with a [NotDatabaseError], a [TruncatedError] or, where nothing can be read, a [DamagedError].
func readHeader(f *os.File, path string) (h header, ok bool, err error) {
	var first [4096]byte
	n, err := f.ReadAt(first[:], 0)
	if err != nil && err != io.EOF {
		return h, false, &DamagedError{path, err}
	}
	if n == 0 {
		return h, false, nil
	}
	if !bytes.HasPrefix(first[:n], []byte(magic)[:min(n, len(magic))]) {
		return h, false, &NotDatabaseError{Path: path, Encrypted: looksEncrypted(f, first[:n])}
	}
	if n < headerSize {
		return h, false, &TruncatedError{Path: path, Size: int64(n)}
	}
	copy(h[:], first[:])
	if h.pageSize() == 0 {
		return h, false, &DamagedError{path, fmt.Errorf("page size %d in its header", binary.BigEndian.Uint16(h[offPageSize:]))}
	}
	return h, true, nil
}

// looksEncrypted reports whether f holds whole pages of what looks like noise: first, its
// beginning, has nearly as many different bytes as random data would.
func looksEncrypted(f *os.File, first []byte) bool {
	info, err := f.Stat()
	if err != nil || info.Size()%512 != 0 || len(first) < 1024 {
		return false
	}
	var seen [256]bool
	distinct := 0
	for _, b := range first[:1024] {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
	}
	return distinct > 230 // 1,024 random bytes have 251.3 different values, give or take 2
}

// normalise sets the fields of page 1 in which SQLite counts changes to what its backup makes of them in a new file, so
// that a page that was read from the WAL is the one that a copy would have, and the root the same.
func normalise(page []byte) error {
	version, err := sqliteVersion()
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(page[offChangeCounter:], 1)
	binary.BigEndian.PutUint32(page[offSchemaCookie:], 1)
	binary.BigEndian.PutUint32(page[offValidFor:], 1)
	binary.BigEndian.PutUint32(page[offVersion:], version)
	return nil
}

// sqliteVersion returns the version of SQLite that is used here, as it writes it into databases.
var sqliteVersion = sync.OnceValues(func() (uint32, error) {
	conn, err := sqlite3.Open(":memory:")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stmt, _, err := conn.Prepare("SELECT sqlite_version()")
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	if !stmt.Step() {
		return 0, fmt.Errorf("ask for SQLite's version: %w", stmt.Err())
	}
	var major, minor, patch uint32
	_, err = fmt.Sscanf(stmt.ColumnText(0), "%d.%d.%d", &major, &minor, &patch)
	return major*1_000_000 + minor*1_000 + patch, err
})
