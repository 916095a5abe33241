package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/litestash/litestash/internal/durable"
	"github.com/litestash/litestash/internal/ioctx"
	"github.com/litestash/litestash/internal/tempfile"
)

// dirPerm keeps others out: snapshots are copies of private data.
const dirPerm = 0o700

// A Dir is a [Store] in a directory of a file system, local or mounted. A key is the path of a
// file below the directory, so one key cannot be an object and the beginning of others at once.
//
// The directory itself may be a symbolic link, but nothing is followed below it: List passes
// over symbolic links, and the other methods refuse a key that leads through one. Whoever wants
// parts of a store on another disk points a store of its own there. Files that are no keys and
// the lost+found of a disk's own root are left alone too.
//
// Files being written are in the folder .litestash-tmp, which goes with the last of them. They are
// locked with flock(2) while their writer lives, so those that a killed process left are told apart
// and removed by the next process's first Create.
//
// An error keeps its errno, such as syscall.ENOSPC, and names the path.
type Dir struct {
	root     string
	allowNew bool        // see [Options]
	known    atomic.Bool // see [Dir.Known]

	sweep sync.Once
}

// OpenDir returns the store in the directory path, which need not exist yet: the first Create
// makes it, though not its parent. Until then all else is [ErrNoBucket], because a mistyped path
// or a disk that is not mounted must not look like an empty store.
func OpenDir(path string) (*Dir, error) {
	if path == "" {
		return nil, usagef("the path of the store's directory is empty")
	}
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find directory: %w", err)
	}
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		return nil, usagef("%s is a file, and a store needs a directory", root)
	}
	return &Dir{root: root}, nil
}

// String returns the absolute path of the directory.
func (d *Dir) String() string { return d.root }

// Known says that the directory is known to have held objects: if it is not there now, a disk is not
// mounted, and it must be neither made nor taken for an empty store.
func (d *Dir) Known() { d.known.Store(true) }

// mayBeNew reports whether a directory that is missing may stand for an empty store.
func (d *Dir) mayBeNew() bool { return d.allowNew && !d.known.Load() }

// Create implements [Store]. It does not return while body.Read blocks.
func (d *Dir) Create(ctx context.Context, key string, body io.Reader, most int64) (Object, error) {
	if err := d.check(ctx, key); err != nil {
		return Object{}, err
	}
	o, err := d.create(ctx, key, body)
	if err != nil {
		return Object{}, fmt.Errorf("create %s in %s: %w", key, d.root, explain(err))
	}
	return o, nil
}

func (d *Dir) create(ctx context.Context, key string, body io.Reader) (_ Object, err error) {
	if err := d.makeRoot(); err != nil {
		return Object{}, err
	}
	if err := d.walk(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Object{}, err
	}
	if _, err := os.Lstat(d.path(key)); err == nil {
		return Object{}, fs.ErrExist // before reading the body; link decides in the end
	}
	if err := d.sweepOnce(); err != nil {
		return Object{}, err
	}

	f, err := createTemp(d.temp())
	if err != nil {
		return Object{}, err
	}
	defer func() {
		derr := discardTemp(f)
		if err != nil { // once the object is there its second name hurts nobody, and the next sweep removes it
			err = errors.Join(err, derr)
		}
	}()
	if _, err := io.Copy(f, ioctx.Reader(ctx, body)); err != nil {
		return Object{}, err
	}
	if err := f.Sync(); err != nil {
		return Object{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Object{}, err
	}
	if err := ctx.Err(); err != nil {
		return Object{}, err
	}
	if err := d.place(f.Name(), key); err != nil {
		return Object{}, err
	}
	return object(key, info), nil
}

// sweepOnce removes what processes that were killed have left, the first time.
func (d *Dir) sweepOnce() (err error) {
	d.sweep.Do(func() { err = tempfile.Sweep(d.temp(), "") })
	return err
}

// place gives the file temp the name that key stands for, durably.
func (d *Dir) place(temp, key string) error {
	name := d.path(key)
	for try := 0; ; try++ {
		err := d.makeParents(key)
		if err == nil {
			err = linkNew(temp, name)
		}
		if err == nil {
			break
		}
		// A Delete of the last sibling may remove the parent before the name is in it.
		if !errors.Is(err, fs.ErrNotExist) || try == 100 {
			return err
		}
		if _, terr := os.Lstat(temp); terr != nil {
			return terr
		}
	}
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if err := durable.SyncDir(dir); err != nil {
			if rerr := os.Remove(name); rerr != nil {
				return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(err, rerr))
			}
			return err
		}
		if dir == d.root {
			return nil
		}
	}
}

// linkNew gives the file old the additional or only name new, unless that is taken.
func linkNew(old, new string) error {
	err := os.Link(old, new)
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return err
	case errors.Is(err, fs.ErrExist):
		if isSame(old, new) {
			return nil // the answer was lost on a network disk, and it was asked for again: see open(2), O_EXCL
		}
		return err
	}
	// No hard links here, as on FAT and some network disks.
	if !unsupported(err) && !errors.Is(err, syscall.EPERM) {
		return err
	}
	err = durable.RenameNew(old, new)
	if !unsupported(err) {
		return err
	}
	// Nothing atomic is left; keys are unique, so that looking first is as good as it gets.
	if _, err := os.Lstat(new); err == nil {
		return &os.LinkError{Op: "rename", Old: old, New: new, Err: syscall.EEXIST}
	}
	return os.Rename(old, new)
}

func isSame(a, b string) bool {
	x, err := os.Lstat(a)
	if err != nil {
		return false
	}
	y, err := os.Lstat(b)
	return err == nil && os.SameFile(x, y)
}

func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) ||
		errors.Is(err, syscall.EMLINK)
}

// Open implements [Store].
func (d *Dir) Open(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error) {
	if err := d.check(ctx, o.Key); err != nil {
		return nil, err
	}
	r, err := d.open(ctx, o, off, n)
	if err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", o.Key, d.root, d.explainAbsent(err))
	}
	return r, nil
}

func (d *Dir) open(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error) {
	if off < 0 {
		return nil, fmt.Errorf("negative offset %d", off)
	}
	if err := d.walk(o.Key); err != nil {
		return nil, err
	}
	// O_NONBLOCK, or opening a named pipe would wait for its writer.
	f, err := os.OpenFile(d.path(o.Key), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err == nil && o.ETag != "" && object(o.Key, info).ETag != o.ETag {
		err = ErrChanged
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	end := max(info.Size(), o.Size)
	if o.ETag == "" {
		end = info.Size()
	}
	left := max(end-off, 0)
	if n >= 0 {
		left = min(left, n)
	}
	return &dirReader{ctx: ctx, r: io.NewSectionReader(f, off, left), f: f, left: left}, nil
}

// A dirReader reads a range of a file and notices when the file is cut meanwhile.
type dirReader struct {
	ctx  context.Context
	r    io.Reader
	f    *os.File
	left int64
}

func (r *dirReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = fmt.Errorf("read %s: %w", r.f.Name(), io.ErrUnexpectedEOF)
	}
	return n, err
}

func (r *dirReader) Close() error { return r.f.Close() }

// Delete implements [Store]. It also removes the directories that it leaves empty.
func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := d.check(ctx, key); err != nil {
		return err
	}
	err := d.delete(key)
	if err = d.explainAbsent(err); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s in %s: %w", key, d.root, err)
	}
	return nil
}

func (d *Dir) delete(key string) error {
	if err := d.walk(key); err != nil {
		return err
	}
	name := d.path(key)
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fs.ErrNotExist
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if err := durable.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Remove fails on a directory that is not empty, and then all is as it should be.
		if dir == d.root || syscall.Rmdir(dir) != nil {
			return nil
		}
	}
}

// Skew implements [Store]. Disks on a network have clocks of their own, so it asks when a new
// file was written. Where no file can be made nothing can be stored either, and it returns zero.
func (d *Dir) Skew(ctx context.Context) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	dir := d.root
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		dir = filepath.Dir(dir)
	}
	skew, err := skewIn(dir)
	if errors.Is(err, syscall.ENOSPC) && d.sweepOnce() == nil {
		skew, err = skewIn(dir) // what was left may be all that was in the way
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask %s for the time: %w", dir, explain(err))
	}
	return skew, nil
}

// skewIn compares this host's clock with the time that a new file in dir gets.
func skewIn(dir string) (time.Duration, error) {
	before := time.Now()
	f, err := tempfile.Unlinked(dir)
	if err != nil {
		return 0, err
	}
	// The time is the server's only once data has been sent there.
	_, werr := f.WriteString("clock\n")
	info, serr := f.Stat()
	if err := errors.Join(werr, serr, f.Close()); err != nil {
		return 0, err
	}
	now := before.Add(time.Since(before) / 2)
	return info.ModTime().Sub(now), nil
}

func (d *Dir) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

func (d *Dir) temp() string { return filepath.Join(d.root, tempDir) }

// check is where every method that takes a key begins.
func (d *Dir) check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if first, _, _ := strings.Cut(key, "/"); reserved(first) {
		return fmt.Errorf("key %q: %s is reserved in a directory store", key, first)
	}
	return nil
}

// reserved says whether the store's own directory holds name for another purpose.
func reserved(name string) bool { return strings.HasPrefix(name, tempDir) || name == "lost+found" }

// makeRoot makes the store's directory if only that is missing.
func (d *Dir) makeRoot() error {
	if _, err := os.Stat(d.root); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if d.known.Load() {
		return ErrNoBucket
	}
	err := durable.Mkdir(d.root, dirPerm)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: neither does %s", ErrNoBucket, filepath.Dir(d.root))
	}
	return err
}

// makeParents makes the directories that lead to key.
func (d *Dir) makeParents(key string) error {
	for i := range len(key) {
		if key[i] != '/' {
			continue
		}
		// place syncs the names afterwards, of the directories that others made too.
		err := os.Mkdir(d.path(key[:i]), dirPerm)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// walk looks at the directories and the file on the way to key. It returns [fs.ErrNotExist] if
// one is not there, and refuses links and names that are on the disk with another case.
func (d *Dir) walk(key string) error {
	dir := d.root
	for part := range strings.SplitSeq(key, "/") {
		info, err := os.Lstat(filepath.Join(dir, part))
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return &fs.PathError{Op: "follow", Path: filepath.Join(dir, part), Err: errLink}
		}
		if err := checkCase(osDisk{}, dir, part, info); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
	}
	return nil
}

var errLink = errors.New("symbolic links in a store are not followed")

// explainAbsent tells a missing object from a missing store, and explains other errors.
func (d *Dir) explainAbsent(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		err = fs.ErrNotExist // a file where the key needs a directory
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Stat(d.root); errors.Is(serr, fs.ErrNotExist) {
			return ErrNoBucket
		}
	}
	return explain(err)
}

// explain adds the package's own errors to those of the system where they fit.
func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrDenied), errors.Is(err, ErrUnreachable):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.ENOTCONN),
		errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTDOWN):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// object describes the file with info. The inode tells files apart that were written within one
// tick of the clock.
func object(key string, info fs.FileInfo) Object {
	var inode uint64
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return Object{
		Key:    key,
		Size:   info.Size(),
		Stored: info.ModTime(),
		ETag:   fmt.Sprintf("%x-%x-%x", inode, info.ModTime().UnixNano(), info.Size()),
	}
}
