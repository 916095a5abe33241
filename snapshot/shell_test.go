package snapshot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/sqliteshell"
)

// unsynced makes tests faster: no power fails in them.
const unsynced = "PRAGMA synchronous=off"

// run runs sql in the sqlite3 shell on the database at path and returns what it prints.
func run(t testing.TB, path, sql string) string {
	t.Helper()
	out, err := sqliteshell.Run(path, unsynced, sql)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// A shell is a sqlite3 process that stays.
type shell struct{ *sqliteshell.Shell }

// startShell starts a sqlite3 shell on the database at path, as the given user if it is not 0. It
// ends with the test.
func startShell(t testing.TB, path string, uid uint32) *shell {
	t.Helper()
	s, err := sqliteshell.StartAs(uid, path, unsynced)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill() })
	return &shell{s}
}

// do runs sql and returns what it prints.
func (s *shell) do(t testing.TB, sql string) string {
	t.Helper()
	out, err := s.Ask(sql + ";")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// prints returns a line for each of the database and its side files that is there: its owner and
// mode and, but for the -shm, which readers write to, time and content.
func prints(t testing.TB, path string) string {
	t.Helper()
	var b strings.Builder
	for _, suffix := range append([]string{""}, sideSuffixes...) {
		info, err := os.Stat(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%q %v %d:%d %d", suffix, info.Mode(), st.Uid, st.Gid, st.Ino)
		if suffix != "-shm" {
			content, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %v %x", info.ModTime().UnixNano(), sha256.Sum256(content))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// names returns the names in a directory.
func names(t testing.TB, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// take takes a snapshot, checks everything about it that does not depend on the database, and that
// the source is as before. The image is closed with the test.
func take(t testing.TB, path string, opts Options) *Image {
	t.Helper()
	opts.TempDir = t.TempDir()
	before := prints(t, path)
	m, err := Take(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if after := prints(t, path); before != after {
		t.Errorf("the source was changed: before\n%safter\n%s", before, after)
	}
	if left := names(t, opts.TempDir); len(left) > 0 {
		t.Errorf("temporary files %q have names", left)
	}
	checkImage(t, m)
	return m
}

// checkImage compares the hashes and the root of m with those of its bytes.
func checkImage(t testing.TB, m *Image) {
	t.Helper()
	hashes := make([]format.PageHash, m.Pages())
	if err := m.ReadHashes(1, hashes); err != nil {
		t.Fatal(err)
	}
	hasher := format.NewPageHasher(m.Salt())
	root := format.NewRootHasher(m.PageSize(), m.Pages(), m.Salt())
	page := make([]byte, m.PageSize())
	for i, h := range hashes {
		if _, err := m.ReadAt(page, int64(i)*int64(len(page))); err != nil {
			t.Fatal(err)
		}
		if want := hasher.Hash(page); h != want {
			t.Fatalf("page %d has the hash %x, want %x", i+1, h, want)
		}
		root.Write(h[:])
	}
	if m.Root() != root.Sum() {
		t.Errorf("root %v, want %v", m.Root(), root.Sum())
	}
	if n, err := m.ReadAt(make([]byte, 1), m.Size()); n != 0 || err != io.EOF {
		t.Errorf("after its end the image reads %d, %v", n, err)
	}
}

// content returns the bytes of m.
func content(t testing.TB, m *Image) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write makes m a file and returns its path.
func write(t testing.TB, m *Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.db")
	if err := os.WriteFile(path, content(t, m), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// plain returns a copy of the database file b without the header fields in which an image
// may differ.
func plain(b []byte) []byte {
	b = append([]byte(nil), b...)
	if len(b) >= headerSize {
		clear(b[24:28])
		clear(b[40:44])
		clear(b[92:100])
	}
	return b
}

// nobody is the user of that name.
const nobody = 65534

// needRoot skips a test that has to become other users, or to mount.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: cannot become other users or mount file systems")
	}
}

// openDir returns a new directory that belongs to uid and can be reached by everybody.
func openDir(t *testing.T, uid int) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "litestash-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	return dir
}
