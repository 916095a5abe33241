package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/litestash/litestash/internal/disk"
)

// place gives f the target's name, and returns where it put what had it.
func (t *target) place(ctx context.Context, f *temp) (kept string, err error) {
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	if t.old == nil {
		kept, err = t.placeNew(f)
	} else {
		kept, err = t.placeOver(ctx, f)
	}
	if err != nil {
		return "", fmt.Errorf("restore to %s: %w", t.path, err)
	}
	return kept, nil
}

// placeNew puts f where nothing is. Side files that are there without a database would be taken
// for the new one's: they are put aside first. What somebody else has placed there meanwhile has no
// use for them either.
func (t *target) placeNew(f *temp) (kept string, err error) {
	name, sides, err := t.setAsideOrphans()
	if err == nil {
		err = t.renameNew(f)
	}
	if errors.Is(err, fs.ErrExist) {
		return "", ErrExists
	}
	if err != nil {
		return "", errors.Join(err, t.putBack(name, sides))
	}
	if len(sides) > 0 {
		kept = t.keptName(name, sides[0])
	}
	return kept, t.opts.on.SyncDir(t.dir)
}

// renameNew gives f the target's name, unless that is taken.
func (t *target) renameNew(f *temp) error {
	err := rename(t.opts.on.RenameNew, f.Name(), t.path)
	if !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	// Looking first is all that can be done here.
	if _, err := os.Lstat(t.path); err == nil {
		return fs.ErrExist
	}
	return rename(t.opts.on.Rename, f.Name(), t.path)
}

// rename renames by do and looks, if that fails, whether it was done all the same: on a network disk an answer can
// be lost, and the error is then that of asking again.
func rename(do func(old, new string) error, old, new string) error {
	was, serr := os.Lstat(old)
	err := do(old, new)
	if err == nil || serr != nil {
		return err
	}
	now, nerr := os.Lstat(new)
	if _, oerr := os.Lstat(old); nerr == nil && os.SameFile(was, now) && errors.Is(oerr, fs.ErrNotExist) {
		return nil
	}
	return err
}

// setAsideOrphans renames side files that have no database any more. It returns the name that
// theirs begin with now, and what they were called. It fails with [fs.ErrExist] if there is a
// database: an application may have made one since the target was looked at, and the files are
// in use.
func (t *target) setAsideOrphans() (name string, sides []string, err error) {
	name = t.replacedName()
	for _, s := range sideSuffixes {
		side := t.path + s
		if _, err := os.Lstat(side); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		// In this order: SQLite makes the database before its side files.
		if _, err := os.Lstat(t.path); err == nil {
			return name, sides, fs.ErrExist
		}
		if err := rename(t.opts.on.Rename, side, t.keptName(name, side)); err != nil {
			return name, sides, err
		}
		sides = append(sides, side)
	}
	if len(sides) == 0 {
		return name, nil, nil
	}
	return name, sides, t.opts.on.SyncDir(t.dir)
}

// placeOver puts f in the place of the database that is there, which is held meanwhile. It is
// kept under a second name before its first one is taken away. If that fails, what was there is
// there again.
func (t *target) placeOver(ctx context.Context, f *temp) (kept string, err error) {
	if t.opts.Hold == nil {
		return "", fmt.Errorf("%w: nothing to hold it with", ErrExists)
	}
	if err := takeAfter(f, t.old); err != nil {
		return "", err
	}
	held, err := t.opts.Hold(ctx, t.path)
	if err != nil {
		return "", err
	}
	defer func() {
		if rerr := held.Release(); rerr != nil {
			err = errors.Join(err, fmt.Errorf("release what was there: %w", rerr))
		}
	}()
	now, err := os.Lstat(t.path)
	if err != nil {
		return "", err
	}
	if !os.SameFile(now, t.old) {
		return "", fmt.Errorf("%w: it was replaced meanwhile", ErrInUse)
	}
	sides := held.SideFiles()
	if kept, err = t.setAside(sides); err != nil {
		return "", errors.Join(err, t.putBack(kept, sides))
	}
	if err := held.Confirm(); err != nil {
		return "", errors.Join(err, t.putBack(kept, sides))
	}
	if err := rename(t.opts.on.Rename, f.Name(), t.path); err != nil {
		return "", errors.Join(err, t.putBack(kept, sides))
	}
	if err := t.opts.on.SyncDir(t.dir); err != nil {
		return "", inPlace(kept, err)
	}
	if t.opts.DiscardOld {
		if err := t.discard(kept, sides); err != nil {
			return "", inPlace(kept, err)
		}
		return "", nil
	}
	return kept, nil
}

// inPlace makes err tell that it came when the restored database was in its place already.
func inPlace(kept string, err error) error {
	if kept == "" {
		return fmt.Errorf("the restored database is in place, but %w", err)
	}
	return fmt.Errorf("the restored database is in place, and what was there is %s, but %w", kept, err)
}

// setAside gives the old database a second name, and then moves the side files that could not be
// folded into it: at any moment all of it is there under one name or the other. Only a database
// that is whole in its one file, and not to be kept, needs no second name.
func (t *target) setAside(sides []string) (kept string, err error) {
	if t.opts.DiscardOld && len(sides) == 0 {
		return "", nil
	}
	kept = t.replacedName()
	if err := t.keep(kept); err != nil {
		return "", fmt.Errorf("keep the old database: %w", err)
	}
	if err := t.opts.on.SyncDir(t.dir); err != nil {
		return kept, err
	}
	for _, side := range sides {
		if err := rename(t.opts.on.Rename, side, t.keptName(kept, side)); err != nil {
			return kept, fmt.Errorf("take away %s: %w", side, err)
		}
	}
	if len(sides) == 0 {
		return kept, nil
	}
	return kept, t.opts.on.SyncDir(t.dir)
}

// putBack undoes setAside or setAsideOrphans, which may not have come to their end. If the path is not what it was,
// as when somebody else has put something there, all stays under the name that it is kept as.
func (t *target) putBack(kept string, sides []string) error {
	if kept == "" {
		return nil
	}
	if now, err := os.Lstat(t.path); t.old != nil && (err != nil || !os.SameFile(now, t.old)) {
		return errors.Join(fmt.Errorf("what was there is %s", kept), err)
	}
	for _, side := range sides {
		err := rename(t.opts.on.Rename, t.keptName(kept, side), side)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put back %s: %w", side, err)
		}
	}
	if err := t.opts.on.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.opts.on.SyncDir(t.dir)
}

// discard removes what setAside made, now that it is not needed any more.
func (t *target) discard(kept string, sides []string) error {
	if kept == "" {
		return nil
	}
	for _, side := range sides {
		if err := t.opts.on.Remove(t.keptName(kept, side)); err != nil {
			return err
		}
	}
	if err := t.opts.on.Remove(kept); err != nil {
		return err
	}
	return t.opts.on.SyncDir(t.dir)
}

// replacedName is what the old database is kept as.
func (t *target) replacedName() string {
	return t.path + ".replaced-" + time.Now().UTC().Format("20060102T150405.000Z")
}

// keptName is what a side file of the database that is kept as kept is called.
func (t *target) keptName(kept, side string) string {
	return kept + strings.TrimPrefix(side, t.path)
}

// keep gives the old database the second name, or where the disk has no such thing, copies it.
func (t *target) keep(name string) error {
	err := t.opts.on.Link(t.path, name)
	if now, serr := os.Lstat(name); err != nil && serr == nil && os.SameFile(now, t.old) {
		return nil // the name is a new one: an answer was lost
	}
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK) {
		return t.copyTo(name)
	}
	return err
}

func (t *target) copyTo(name string) error {
	old, err := os.Open(t.path)
	if err != nil {
		return err
	}
	defer old.Close()
	if err := disk.Reserve(t.dir, t.old.Size()); err != nil {
		return err
	}
	f, err := t.newTemp()
	if err != nil {
		return err
	}
	defer f.discard()
	if _, err := io.Copy(io.NewOffsetWriter(f, 0), old); err != nil {
		return err
	}
	if err := takeAfter(f, t.old); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return t.opts.on.Rename(f.Name(), name)
}

// takeAfter gives f the owner and mode of the file that it will replace.
func takeAfter(f file, old os.FileInfo) error {
	if sys, ok := old.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(sys.Uid), int(sys.Gid)); err != nil {
			return fmt.Errorf("give it the owner of the old one: %w", err)
		}
	}
	if err := f.Chmod(old.Mode().Perm()); err != nil {
		return fmt.Errorf("give it the mode of the old one: %w", err)
	}
	return f.Sync()
}
