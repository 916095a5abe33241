package restore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/snapshot"
)

// A disk is a file system that knows what could be left of a directory if the power went away: the
// contents that were synced, or those that were not; the names as of the last sync of the
// directory, and of the changes since then any, whatever the order they were made in. Nothing more
// is promised, see https://danluu.com/deconstruct-files/.
type disk struct {
	restore.OSFS
	noLinks, noRenameNew bool
	// fail is the number of changes until one fails without effect; 0 is none ever, and then it
	// is noted what may be left.
	fail int
	late bool // a change of a name that fails has its effect all the same

	mu      sync.Mutex
	durable map[string]*inode
	pending []map[string]*inode // changes of names, oldest first; nil is a name that goes
	left    map[[32]byte]crash  // what may have been left so far
	steps   []string
}

// A crash is what may be left when the power goes.
type crash struct {
	after string
	files map[string]content
}

type content struct {
	data []byte
	mode fs.FileMode
}

// An inode is a file without a name.
type inode struct{ now, synced content }

// newDisk returns a disk on which the files in dir have been for long.
func newDisk(t *testing.T, dir string) *disk {
	d := &disk{durable: map[string]*inode{}, left: map[[32]byte]crash{}}
	for _, name := range namesIn(t, dir) {
		d.durable[name] = settled(t, filepath.Join(dir, name))
	}
	d.step("begin")
	return d
}

// settled returns the file at path as one whose contents are durable.
func settled(t *testing.T, path string) *inode {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	c := content{data, info.Mode()}
	return &inode{c, c}
}

// hold holds a database for real. What SQLite does meanwhile to the database and its side files is
// taken to be durable: it syncs in an order of its own, as does [snapshot.Hold].
func (d *disk) hold(t *testing.T) func(context.Context, string) (restore.Held, error) {
	return func(ctx context.Context, path string) (restore.Held, error) {
		h, err := snapshot.Hold(ctx, path)
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			base := filepath.Base(path) + suffix
			delete(d.durable, base)
			if _, err := os.Lstat(path + suffix); err == nil {
				d.durable[base] = settled(t, path+suffix)
			}
		}
		d.step("hold")
		return h, nil
	}
}

// refuse counts a change and says whether it is the one that fails.
func (d *disk) refuse(what string, errno syscall.Errno) error {
	if d.fail == 0 {
		return nil
	}
	if d.fail--; d.fail == 0 {
		d.fail = -1
		d.steps = append(d.steps, what+" fails")
		return &fs.PathError{Op: what, Path: "disk", Err: errno}
	}
	return nil
}

// step takes note of what may be left after a change.
func (d *disk) step(what string) {
	d.steps = append(d.steps, what)
	if d.fail != 0 {
		return
	}
	for subset := range 1 << len(d.pending) {
		names := maps.Clone(d.durable)
		for i, change := range d.pending {
			if subset&(1<<i) != 0 {
				maps.Copy(names, change)
			}
		}
		for _, lost := range []func(*inode) content{
			func(i *inode) content { return i.synced },
			func(i *inode) content { return i.now },
			func(i *inode) content { // the size was durable, the bytes were not
				if bytes.Equal(i.now.data, i.synced.data) {
					return i.now
				}
				return content{make([]byte, len(i.now.data)), i.now.mode}
			},
		} {
			d.leave(what, names, lost)
		}
	}
}

// leave takes note of one outcome. Temporary files do not matter.
func (d *disk) leave(after string, names map[string]*inode, lost func(*inode) content) {
	c := crash{after, map[string]content{}}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] == nil || strings.HasPrefix(name, ".") {
			continue
		}
		c.files[name] = lost(names[name])
		fmt.Fprintf(sum, "%q %v %x\n", name, c.files[name].mode, sha256.Sum256(c.files[name].data))
	}
	if digest := [32]byte(sum.Sum(nil)); d.left[digest].files == nil {
		d.left[digest] = c
	}
}

// find returns the file that has a name now.
func (d *disk) find(name string) *inode {
	for _, change := range slices.Backward(d.pending) {
		if i, ok := change[filepath.Base(name)]; ok {
			return i
		}
	}
	return d.durable[filepath.Base(name)]
}

// change makes a change of names, unless it fails.
func (d *disk) change(what string, do func() error, names func() map[string]*inode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refuse(what, syscall.EIO); err != nil {
		if d.late && what != "create" {
			return errors.Join(err, do())
		}
		return err
	}
	if err := do(); err != nil {
		return err
	}
	d.pending = append(d.pending, names())
	d.step(what)
	return nil
}

func (d *disk) Create(name string, perm fs.FileMode) (restore.TestFile, error) {
	f := &diskFile{d: d, inode: new(inode)}
	err := d.change("create", func() (err error) {
		f.TestFile, err = d.OSFS.Create(name, perm)
		return err
	}, func() map[string]*inode {
		f.inode.now.mode, f.inode.synced.mode = perm, perm
		return map[string]*inode{filepath.Base(name): f.inode}
	})
	return f, err
}

func (d *disk) Link(old, new string) error {
	if d.noLinks {
		return &os.LinkError{Op: "link", Old: old, New: new, Err: syscall.EPERM}
	}
	return d.change("link", func() error { return d.OSFS.Link(old, new) }, func() map[string]*inode {
		return map[string]*inode{filepath.Base(new): d.find(old)}
	})
}

func (d *disk) Rename(old, new string) error {
	return d.change("rename", func() error { return d.OSFS.Rename(old, new) }, d.moved(old, new))
}

func (d *disk) RenameNew(old, new string) error {
	if d.noRenameNew {
		return &os.LinkError{Op: "rename", Old: old, New: new, Err: syscall.EINVAL}
	}
	return d.change("rename", func() error { return d.OSFS.RenameNew(old, new) }, d.moved(old, new))
}

func (d *disk) moved(old, new string) func() map[string]*inode {
	return func() map[string]*inode {
		return map[string]*inode{filepath.Base(old): nil, filepath.Base(new): d.find(old)}
	}
}

func (d *disk) Remove(name string) error {
	return d.change("remove", func() error { return d.OSFS.Remove(name) }, func() map[string]*inode {
		return map[string]*inode{filepath.Base(name): nil}
	})
}

func (d *disk) SyncDir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refuse("syncdir", syscall.EIO); err != nil {
		return err
	}
	for _, change := range d.pending {
		maps.Copy(d.durable, change)
	}
	d.pending = nil
	d.step("syncdir")
	return nil
}

// A diskFile is an open file on a disk.
type diskFile struct {
	restore.TestFile
	d     *disk
	inode *inode
}

func (f *diskFile) change(what string, errno syscall.Errno, do func() error, note func()) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.refuse(what, errno); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	note()
	f.d.step(what)
	return nil
}

func (f *diskFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.change("write", syscall.ENOSPC, func() (err error) {
		n, err = f.TestFile.WriteAt(b, off)
		return err
	}, func() {
		data := make([]byte, max(int64(len(f.inode.now.data)), off+int64(len(b))))
		copy(data, f.inode.now.data)
		copy(data[off:], b)
		f.inode.now.data = data
	})
	return n, err
}

func (f *diskFile) Truncate(size int64) error {
	return f.change("truncate", syscall.ENOSPC, func() error { return f.TestFile.Truncate(size) }, func() {
		data := make([]byte, size)
		copy(data, f.inode.now.data)
		f.inode.now.data = data
	})
}

func (f *diskFile) Chmod(mode fs.FileMode) error {
	return f.change("chmod", syscall.EPERM, func() error { return f.TestFile.Chmod(mode) }, func() { f.inode.now.mode = mode })
}

func (f *diskFile) Sync() error {
	return f.change("sync", syscall.EIO, f.TestFile.Sync, func() { f.inode.synced = f.inode.now })
}

// A scene is a directory into which a database is restored.
type scene struct {
	name string
	// old makes what is at path before.
	old func(t *testing.T, path string)
	// opts are all but what the test itself needs.
	opts restore.FileOptions
	// What the disk cannot do.
	noLinks, noRenameNew bool
	// keeps says that what was there is there afterwards, under other names.
	keeps bool
}

func scenes() []scene {
	replace := restore.FileOptions{Replace: true}
	discard := restore.FileOptions{Replace: true, DiscardOld: true}
	return []scene{
		{name: "new", old: func(*testing.T, string) {}},
		{name: "new without renameat2", old: func(*testing.T, string) {}, noRenameNew: true},
		{name: "wal", old: makeWAL, opts: replace, keeps: true},
		{name: "hot journal", old: makeHotJournal, opts: replace, keeps: true},
		{name: "wal, discard", old: makeWAL, opts: discard},
		{name: "hot journal, discard", old: makeHotJournal, opts: discard},
		{name: "wal without links", old: makeWAL, opts: replace, noLinks: true, keeps: true},
		{name: "hot journal without links", old: makeHotJournal, opts: replace, noLinks: true, keeps: true},
		{name: "wal alone", old: orphan(makeWAL), opts: replace},
		{name: "journal alone", old: orphan(makeHotJournal), opts: replace},
		{name: "damaged", old: damage(makeWAL), opts: replace, keeps: true},
		{name: "damaged without links", old: damage(makeWAL), opts: replace, noLinks: true, keeps: true},
		{name: "damaged, discard", old: damage(makeHotJournal), opts: discard},
	}
}

// damaged says whether the old database is, so that SQLite does not fold its side files into it.
func (s scene) damaged() bool { return strings.HasPrefix(s.name, "damaged") }

// keptIn returns the name of the kept database, if there is one.
func keptIn(files map[string]content) string {
	for name := range files {
		if strings.HasPrefix(name, "app.db.replaced-") && strings.HasSuffix(name, "Z") {
			return name
		}
	}
	return ""
}

// restoreOnto restores p into the scene on a disk that fails where fail says, if not 0.
func (s scene) restoreOnto(t *testing.T, p *pushed, path string, fail int, late bool) (*disk, *restore.Result, error) {
	t.Helper()
	d := newDisk(t, filepath.Dir(path))
	d.noLinks, d.noRenameNew, d.fail, d.late = s.noLinks, s.noRenameNew, fail, late
	opts := s.opts
	opts.TempDir = t.TempDir()
	opts.Hold = d.hold(t)
	opts.On(d)
	r, err := restore.File(t.Context(), p.st, p.snap, path, opts)
	return d, r, err
}

// TestLostPower cuts the power after every change that a restore makes to its directory, and looks
// at all that may be left then.
func TestLostPower(t *testing.T) {
	p, want := pushDatabase(t)
	for _, s := range scenes() {
		t.Run(s.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			s.old(t, path)
			if err := os.Chmod(path, 0o640); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			before := filesIn(t, filepath.Dir(path))
			old := judge(t, before, "app.db")
			if old == want {
				t.Fatalf("the old database cannot be told from the new one: %s", old)
			}
			d, r, err := s.restoreOnto(t, p, path, 0, false)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]int{}
			for _, c := range d.left {
				got := judge(t, c.files, "app.db")
				seen[got]++
				if got == old || got == want {
					continue
				}
				// A damaged database cannot be made one file, but then all of it is aside.
				if kept := keptIn(c.files); !s.damaged() || judge(t, c.files, kept) != old {
					t.Errorf("after %s: %s, not %s; there are %q", c.after, got, old, slices.Sorted(maps.Keys(c.files)))
				}
			}
			if seen[old] == 0 || seen[want] == 0 {
				t.Errorf("seen: %v", seen)
			}
			clear(d.left)
			d.step("success")
			if len(d.left) != 1 {
				t.Errorf("after success, %d outcomes are possible", len(d.left))
			}
			for _, c := range d.left {
				if got := judge(t, c.files, "app.db"); got != want {
					t.Errorf("after success: %s", got)
				}
				if was, ok := before["app.db"]; ok && c.files["app.db"].mode != was.mode {
					t.Errorf("after success the mode is %v, not %v", c.files["app.db"].mode, was.mode)
				}
				s.checkKept(t, before, c.files, r.Kept)
			}
		})
	}
}

// checkKept checks that what was at the path is still there, or if it should not be kept, is not.
func (s scene) checkKept(t *testing.T, before, after map[string]content, kept string) {
	t.Helper()
	if s.opts.DiscardOld && (len(after) != 1 || kept != "") {
		t.Errorf("after success there are %q, kept is %q", slices.Sorted(maps.Keys(after)), kept)
	}
	if !s.keeps {
		return
	}
	base := filepath.Base(kept)
	if got, want := judge(t, after, base), judge(t, before, "app.db"); got != want {
		t.Errorf("kept as %s: %s", kept, got)
	}
	if !s.damaged() {
		return
	}
	for name, c := range before {
		if suffix := strings.TrimPrefix(name, "app.db"); !bytes.Equal(after[base+suffix].data, c.data) {
			t.Errorf("%s is not kept as it was", name)
		}
	}
}

// TestDiskFaults lets every change fail that a restore makes to its directory.
func TestDiskFaults(t *testing.T) {
	p, want := pushDatabase(t)
	for _, s := range scenes() {
		t.Run(s.name+", with effect", func(t *testing.T) { s.failLate(t, p, want) })
		t.Run(s.name, func(t *testing.T) {
			made := filepath.Join(t.TempDir(), "app.db")
			s.old(t, made)
			before := filesIn(t, filepath.Dir(made))
			old := judge(t, before, "app.db")
			for n := 1; ; n++ {
				failed, after, _, err := s.failChange(t, p, before, n, false)
				if failed == "" {
					break
				}
				got := judge(t, after, "app.db")
				if got != want && got != old {
					t.Errorf("change %d, %s: %s", n, failed, got)
				}
				if strings.HasPrefix(failed, "remove") {
					continue // of the temporary file, or of what was kept till then
				}
				if err == nil {
					t.Errorf("change %d, %s: success", n, failed)
				}
				for name := range after {
					_, was := before[name]
					if strings.HasPrefix(name, ".") || got != want && !was {
						t.Errorf("change %d, %s: %s is left", n, failed, name)
					}
				}
			}
		})
	}
}

// filesIn returns what is in a directory.
func filesIn(t *testing.T, dir string) map[string]content {
	t.Helper()
	files := map[string]content{}
	for _, name := range namesIn(t, dir) {
		files[name] = settled(t, filepath.Join(dir, name)).now
	}
	return files
}

// judge returns what the sqlite3 shell says of the database with the given name, beside which are
// its side files.
func judge(t *testing.T, files map[string]content, name string) string {
	t.Helper()
	if _, ok := files[name]; !ok {
		return "nothing"
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "judged.db")
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if c, ok := files[name+suffix]; ok {
			writeFile(t, path+suffix, c.data)
		}
	}
	return contents(path)
}

// pushDatabase stores a database that is in WAL mode, so that any -wal beside it would be taken for
// its own, and returns what the shell says of it.
func pushDatabase(t *testing.T) (*pushed, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "new.db")
	shell(t, path, "PRAGMA journal_mode=WAL;"+rows("new", 700))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := contents(path)
	if !strings.HasPrefix(want, "ok\nnew|700|") {
		t.Fatal(want)
	}
	return pushNew(t, 4096, data), want
}

// damage overwrites the header of a database, and the beginning of a WAL's first page, which may be
// the same header.
func damage(old func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		old(t, path)
		for name, off := range map[string]int64{path: 0, path + "-wal": 32 + 24} {
			f, err := os.OpenFile(name, os.O_RDWR, 0)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt(bytes.Repeat([]byte("damaged "), 20), off)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// orphan removes a database from between its side files.
func orphan(old func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		old(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// failChange restores onto what was there before and lets change n fail, late or not. It returns which one that was, and
// what is there then; none, if there were fewer changes and all went well.
func (s scene) failChange(t *testing.T, p *pushed, before map[string]content, n int, late bool) (failed string, after map[string]content, r *restore.Result, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	for name, c := range before {
		writeFile(t, filepath.Join(filepath.Dir(path), name), c.data)
	}
	d, r, err := s.restoreOnto(t, p, path, n, late)
	if d.fail > 0 { // fewer changes than n
		if err != nil {
			t.Error(err)
		}
		return "", nil, r, err
	}
	failed = d.steps[slices.IndexFunc(d.steps, func(s string) bool { return strings.HasSuffix(s, "fails") })]
	return failed, filesIn(t, filepath.Dir(path)), r, err
}

// failLate lets every change of a name fail though it was made, as on a network disk that loses an answer. What was
// there has to be there, or kept; a success has to be one.
func (s scene) failLate(t *testing.T, p *pushed, want string) {
	made := filepath.Join(t.TempDir(), "app.db")
	s.old(t, made)
	before := filesIn(t, filepath.Dir(made))
	old := judge(t, before, "app.db")
	for n := 1; ; n++ {
		failed, after, r, err := s.failChange(t, p, before, n, true)
		if failed == "" {
			return
		}
		switch got := judge(t, after, "app.db"); {
		case got == want && err == nil:
			s.checkKept(t, before, after, r.Kept)
		case got == want && s.keeps:
			if kept := keptIn(after); judge(t, after, kept) != old {
				t.Errorf("change %d, %s: %v; kept as %q is something else", n, failed, err, kept)
			}
		case got != want && (got != old || err == nil):
			t.Errorf("change %d, %s: %s, %v", n, failed, got, err)
		}
	}
}
