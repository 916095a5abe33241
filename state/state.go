// Package state is what a host remembers of the snapshots that it pushed: which one was the newest,
// what it rests on and what every page hashed to, so that the next push can be a delta without
// asking the store for page tables. It is trusted no further than its own checksums and may be thrown
// away at any time.
//
// A memory is two files: one of facts, which is replaced as a whole, and a table of the pages, which is
// updated in place. The facts hold the hash of the table, so that an update which was cut short, or
// any other damage, is noticed: nothing is remembered then.
package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/flock"
	"github.com/litestash/litestash/internal/tempfile"
)

// version is that of the files; others are ignored.
const version = 1

// A Key says what a memory is about: one database may be pushed to several stores.
type Key struct {
	Store    string        `json:"store"` // what tells the store from others, such as its URL
	Database string        `json:"database"`
	Source   format.Source `json:"source"`
}

// base returns the name of a memory's files without their suffixes.
func (k Key) base() string {
	sum := sha256.New()
	for _, s := range []string{k.Store, k.Database, k.Source.Host, k.Source.Path} {
		fmt.Fprintf(sum, "%d %s\n", len(s), s)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Facts are what is remembered of the newest snapshot that was pushed.
type Facts struct {
	Path     []Link      `json:"path"` // what it rests on, the full first, itself last
	Salt     format.Salt `json:"salt"`
	PageSize int         `json:"page_size"`
	Pages    uint32      `json:"pages"`
	// Look is what the source looked like when it was taken, in the words of whoever looked. While it
	// looks the same nothing has been committed. Empty if it could not be told.
	Look string `json:"look,omitempty"`
	// Read is when the source was last read as a whole, not only what was told to have changed. Zero if that is
	// not known.
	Read time.Time `json:"read,omitzero"`
	// Illegible are the keys of announced deletions that could not be understood and were there before the full of
	// the path was stored, so that they cannot name any of it.
	Illegible []string `json:"illegible,omitempty"`
	// Passed is the deepest check of the database, as it is in the newest snapshot, that found nothing wrong, in the
	// words of whoever checked. Empty if there was none. Damage is not remembered, so that it is looked for
	// again wherever the store does not tell of it.
	Passed string `json:"passed,omitempty"`
}

// A Link is a snapshot that was pushed, or one that it rests on.
type Link struct {
	format.Link
	Root format.Root `json:"root"`
	// ETag is the object's in the store. None if it was not pushed from here.
	ETag string `json:"etag,omitempty"`
	Lock Lock   `json:"lock,omitzero"`
	// Readers tell for whom it is encrypted, in the words of whoever encrypted it. None if it is not, or
	// if that is not known.
	Readers string `json:"readers,omitempty"`
}

// A Lock is what a link is known to be locked with in the store, at least. Zero is nothing.
type Lock struct {
	Mode  string    `json:"mode"`
	Until time.Time `json:"until"`
}

// Newest returns the newest snapshot.
func (f *Facts) Newest() Link { return f.Path[len(f.Path)-1] }

// A Memory is what is remembered under one key. Until it is closed it belongs to one process. Same may
// be called concurrently, but not beside the other methods, which belong to one goroutine.
type Memory struct {
	facts *Facts // nil if nothing is remembered
	key   Key
	dir   string
	lock  *os.File // nil if nothing will outlive the memory
	table *os.File
	sum   string // hash of the table, if there are facts
}

// file is the form of the facts on disk: JSON, after a line with its SHA-256.
type file struct {
	Version int    `json:"version"`
	Key     Key    `json:"key"`
	Table   string `json:"table"` // SHA-256
	*Facts
}

// Open returns what is remembered in dir under key. If dir cannot be used or another process is using
// the memory, nothing is remembered and nothing will be: the table is then an unlinked file in tempDir
// (empty is [os.TempDir]). That makes a push slower and is no error, so it is logged; as is what was
// saved and turns out damaged. A nil log discards.
func Open(dir string, key Key, tempDir string, log *slog.Logger) (*Memory, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Memory{key: key, dir: dir}
	if err := m.open(); err != nil {
		log.Warn("nothing is remembered of this push", "dir", dir, "err", err)
		m.Close()
		return New(tempDir)
	}
	if err := m.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("what was remembered of earlier pushes is damaged and not used", "dir", dir, "err", err)
	}
	return m, nil
}

// New returns a memory of nothing, of which nothing will remain. It is kept in an unlinked file in tempDir;
// empty is [os.TempDir].
func New(tempDir string) (*Memory, error) {
	table, err := tempfile.Unlinked(tempDir)
	if err != nil {
		return nil, fmt.Errorf("make a page table: %w", err)
	}
	return &Memory{table: table}, nil
}

// Facts returns what is remembered, or nil.
func (m *Memory) Facts() *Facts { return m.facts }

// Forgotten reports whether another process has dropped what is remembered, see [ForgetDeleted]. Facts still
// returns it.
func (m *Memory) Forgotten() bool {
	if m.lock == nil || m.facts == nil {
		return false
	}
	_, err := os.Stat(m.path(".facts"))
	return errors.Is(err, fs.ErrNotExist)
}

var errLocked = errors.New("another process is pushing this database")

func (m *Memory) open() (err error) {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	if m.lock, err = os.OpenFile(m.path(".lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	ok, err := flock.TryLock(m.lock.Fd())
	if err != nil {
		// Also on a disk without locks: the table is read all through a push, and if another process
		// changed it meanwhile, a delta would lack pages. The hash would show that too late.
		return err
	}
	if !ok {
		return errLocked
	}
	m.table, err = os.OpenFile(m.path(".pages"), os.O_RDWR|os.O_CREATE, 0o600)
	return err
}

func (m *Memory) path(suffix string) string { return filepath.Join(m.dir, m.key.base()+suffix) }

// load reads the facts and compares the table with its hash.
func (m *Memory) load() error {
	f, err := readFacts(m.path(".facts"))
	if err != nil {
		return err
	}
	if f.Key != m.key {
		return errors.New("it is about another database")
	}
	table, err := m.sumTable(f.Pages)
	if err != nil {
		return err
	}
	if table != f.Table {
		return errors.New("hash of the page table")
	}
	m.facts, m.sum = f.Facts, table
	return nil
}

// readFacts reads a file of facts.
func readFacts(name string) (*file, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	sum, text, ok := bytes.Cut(text, []byte("\n"))
	if !ok || string(sum) != hashOf(text) {
		return nil, errors.New("hash of the facts")
	}
	f := &file{Facts: new(Facts)}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, err
	}
	switch {
	case f.Version != version:
		return nil, fmt.Errorf("version %d", f.Version)
	case len(f.Path) == 0:
		return nil, errors.New("no snapshot")
	}
	return f, nil
}

// Remembered returns the newest snapshot of each database that is remembered in dir to be in a store, of whatever
// source. What cannot be read is not remembered.
func Remembered(dir, store string) (map[string]format.Name, error) {
	names := map[string]format.Name{}
	err := eachFacts(dir, func(_ string, f *file) error {
		if f.Key.Store != store {
			return nil
		}
		l := f.Newest()
		if n := l.In(f.Key.Database).Name; n.Compare(names[f.Key.Database]) > 0 {
			names[f.Key.Database] = n
		}
		return nil
	})
	return names, err
}

// ForgetDeleted drops what is remembered in dir about a database in a store, of whatever source, if it
// rests on a snapshot that was deleted on purpose: the next push is not to take that for lost. keys are
// the last parts of the deleted ones' keys. Where dir cannot be used nothing is remembered.
func ForgetDeleted(dir, store, database string, keys map[string]bool) error {
	return eachFacts(dir, func(name string, f *file) error {
		if f.Key.Store != store || f.Key.Database != database || !slices.ContainsFunc(f.Path, func(l Link) bool { return keys[l.Key] }) {
			return nil
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// Forget removes all that is remembered in dir about a database in a store, of whatever source.
func Forget(dir, store, database string) error {
	return eachFacts(dir, func(name string, f *file) error {
		if f.Key.Store != store || f.Key.Database != database {
			return nil
		}
		for _, suffix := range []string{".facts", ".pages"} {
			err := os.Remove(strings.TrimSuffix(name, ".facts") + suffix)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// eachFacts calls do with each file of facts in dir and its name. What is damaged is as good as forgotten.
func eachFacts(dir string, do func(name string, f *file) error) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir) // not a glob: the directory's name may hold what that would expand
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		return nil
	case err != nil:
		return err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".facts" {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := readFacts(name)
		if err != nil {
			continue
		}
		if err := do(name, f); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what is remembered.
func (m *Memory) forget() error {
	m.facts = nil
	if m.lock == nil {
		return nil
	}
	err := os.Remove(m.path(".facts"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Close lets other processes have the memory.
func (m *Memory) Close() {
	if m.lock != nil {
		_ = flock.Unlock(m.lock.Fd()) // else closing ends it, if later
	}
	for _, f := range []*os.File{m.table, m.lock} {
		if f != nil {
			f.Close() // nothing is written on close
		}
	}
	m.table, m.lock = nil, nil
}

// Detach makes m a memory of nothing, as [New] returns it. It is for when what is remembered on disk can no longer be
// written: that is other processes' from here on.
func (m *Memory) Detach(tempDir string) error {
	other, err := New(tempDir)
	if err != nil {
		return err
	}
	m.Close()
	*m = *other
	return nil
}

// Save remembers facts instead of what was remembered, and the hash of every page. begins says of which
// spans the newest snapshot is the first one.
func (m *Memory) Save(facts *Facts, begins [Spans]bool, hashes func(first uint32, dst []format.PageHash) error) error {
	keep := byte(0)
	for s, b := range begins {
		if !b {
			keep |= 1 << s
		}
	}
	return m.replace(facts, func(first uint32, pages []format.PageHash, before, after []byte) error {
		if err := hashes(first, pages); err != nil {
			return err
		}
		update(before, after, pages, keep)
		return nil
	})
}

// Rebuild remembers facts that were read from the store instead of what was remembered. pages fills in,
// for the pages from first on, the hashes and which spans' bits are set: those since whose first snapshot the
// page has changed.
func (m *Memory) Rebuild(facts *Facts, pages func(first uint32, hashes []format.PageHash, bits []byte) error) error {
	bits := make([]byte, chunk)
	return m.replace(facts, func(first uint32, hashes []format.PageHash, before, after []byte) error {
		if err := pages(first, hashes, bits[:len(hashes)]); err != nil {
			return err
		}
		for i := range hashes {
			e := after[i*entrySize:]
			copy(e, hashes[i][:])
			e[format.PageHashSize] = bits[i]
		}
		return nil
	})
}

// replace updates the table with fill and then the facts. While the table is being updated it
// belongs to no facts.
func (m *Memory) replace(facts *Facts, fill fillFunc) error {
	old := m.facts
	if err := m.forget(); err != nil {
		return err
	}
	sum, err := m.updateTable(old, facts, fill)
	if err != nil {
		return fmt.Errorf("update the remembered page table: %w", err)
	}
	if err := m.saveFacts(facts, sum); err != nil {
		return fmt.Errorf("remember the snapshot: %w", err)
	}
	m.facts, m.sum = facts, sum
	return nil
}

// SetLook remembers what the source looks like, of which the newest snapshot, which must be
// remembered, is still what it holds, and when it was last read as a whole. It leaves the table alone.
func (m *Memory) SetLook(look string, read time.Time) error {
	if m.facts.Look == look && m.facts.Read.Equal(read) {
		return nil
	}
	facts := *m.facts
	facts.Look, facts.Read = look, read
	if err := m.amend(&facts); err != nil {
		return fmt.Errorf("remember what the source looks like: %w", err)
	}
	return nil
}

// SetPassed remembers that the newest snapshot, which must be remembered, passed a check. It leaves the table alone.
func (m *Memory) SetPassed(check string) error {
	facts := *m.facts
	facts.Passed = check
	if err := m.amend(&facts); err != nil {
		return fmt.Errorf("remember the check: %w", err)
	}
	return nil
}

// SetPath remembers the path of the newest snapshot, which must be remembered, with other locks. It leaves the
// table alone.
func (m *Memory) SetPath(path []Link) error {
	facts := *m.facts
	facts.Path = path
	if err := m.amend(&facts); err != nil {
		return fmt.Errorf("remember what is locked: %w", err)
	}
	return nil
}

// amend replaces the facts by others about the same snapshot.
func (m *Memory) amend(facts *Facts) error {
	if _, err := os.Lstat(m.path(".facts")); m.lock != nil && errors.Is(err, fs.ErrNotExist) {
		return nil // somebody has deleted the snapshot meanwhile, see ForgetDeleted
	}
	if err := m.saveFacts(facts, m.sum); err != nil {
		return err
	}
	m.facts = facts
	return nil
}

func (m *Memory) saveFacts(facts *Facts, sum string) error {
	if m.lock == nil {
		return nil
	}
	text, err := json.Marshal(file{version, m.key, sum, facts})
	if err != nil {
		return err
	}
	temp := m.path(".facts.tmp") // the lock keeps others from it
	if err := os.WriteFile(temp, append([]byte(hashOf(text)+"\n"), text...), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, m.path(".facts"))
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
