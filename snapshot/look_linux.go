package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// localFS lists file systems whose times are set by this machine's clock and whose files can be
// read beside those who have mapped them, by their number in linux/magic.h and the kernel's
// sources. On others, such as FUSE, what this machine sees may be what it has seen before.
var localFS = map[uint32]bool{
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.EXT4_SUPER_MAGIC:      true, // and ext2 and ext3
	unix.F2FS_SUPER_MAGIC:      true,
	unix.OVERLAYFS_SUPER_MAGIC: true,
	unix.RAMFS_MAGIC:           true,
	unix.TMPFS_MAGIC:           true,
	unix.XFS_SUPER_MAGIC:       true,
	0x2fc12fc1:                 true, // ZFS
	0xca451a4e:                 true, // bcachefs
}

// glance returns the facts about the database at path, which was resolved, by which a look is told
// from others, or the empty string if they prove nothing. Files that changed after the time settled
// prove nothing where their times are what counts.
//
// What a commit changes depends on the journal mode:
//
//   - In the rollback-journal modes it writes to the database file before it becomes valid. That
//     changes the time of the file and, but for a writer in exclusive locking mode, the change
//     counter.
//   - In WAL mode it appends to the -wal and then changes the index header in the -shm; that makes
//     it valid. With frames in the WAL their salts, number and running checksum never come back.
//     Without, they may, when all have closed the database; but then its content has been written
//     to the database file.
//   - A database in WAL mode without side files is open nowhere. Whoever opens, changes and closes
//     it writes to the database file on closing.
func glance(path string, settled time.Time) (string, error) {
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var disk unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &disk); err != nil {
		return "", &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	db, err := f.Stat()
	if err != nil {
		return "", err
	}
	var h header
	if n, err := f.ReadAt(h[:], 0); n < len(h) {
		if err == io.EOF {
			err = nil
		}
		return "", err
	}
	journal, err := lstat(path + "-journal")
	if err != nil {
		return "", err
	}
	wal, err := lstat(path + "-wal")
	if err != nil {
		return "", err
	}
	shm, err := lstat(path + "-shm")
	if err != nil {
		return "", err
	}
	// SQLite itself tells by the 16 bytes from the change counter on whether pages that it has
	// cached are still good.
	seen := fingerprint{boot: boot, db: identityOf(db), fact: fmt.Sprintf("%d %d %d %x %x",
		db.Size(), db.ModTime().UnixNano(), changeTime(db).UnixNano(), h[offChangeCounter:][:16], h[offValidFor:][:4])}
	inWAL := h[offWriteVersion] == 2 && h[offReadVersion] == 2
	inRollback := h[offWriteVersion] == 1 && h[offReadVersion] == 1
	switch {
	case !localFS[uint32(disk.Type)], !bytes.HasPrefix(h[:], []byte(magic)):
		return "", nil
	case journal != nil && journal.Size() > 0:
		return "", nil // somebody is writing, or crashed while writing
	case inWAL && wal != nil && shm != nil:
		x, ok, err := readIndexHeader(path+"-shm", shm)
		if err != nil || !ok || x.frames() == 0 && !unchangedSince(db, settled) {
			return "", err
		}
		// Not the change time of the -wal: SQLite, as root, gives it to the owner of the database
		// whenever it opens it.
		seen.wal, seen.shm, seen.index = identityOf(wal), identityOf(shm), x
		seen.walFact = fmt.Sprintf("%d %d %d", wal.Size(), wal.ModTime().UnixNano(), shm.Size())
		return seen.String(), nil
	case (inWAL || inRollback) && wal == nil && shm == nil && unchangedSince(db, settled):
		return seen.String(), nil
	}
	return "", nil
}

// bootID returns what tells this run of the kernel from others. After a loss of power files can be
// as they were before, and the -shm older than the -wal.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	if len(bytes.TrimSpace(id)) == 0 {
		return "", errors.New("this run of the kernel has no id")
	}
	return strings.TrimSpace(string(id)), nil
}

// lstat describes the file at path; nil if there is none.
func lstat(path string) (os.FileInfo, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

func identityOf(info os.FileInfo) string {
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

func changeTime(info os.FileInfo) time.Time {
	c := info.Sys().(*syscall.Stat_t).Ctim
	return time.Unix(int64(c.Sec), int64(c.Nsec))
}

// unchangedSince reports whether the file has only times before t. A time in the future is none.
func unchangedSince(info os.FileInfo, t time.Time) bool {
	return info.ModTime().Before(t) && changeTime(info).Before(t)
}

// readIndexHeader reads the index header of a database that somebody has open from its -shm, which
// info describes. It is not ok while somebody writes it, or if nobody has the -shm open: it is left
// from a crash then, and whoever has the database open in exclusive locking mode does not use it.
//
// The second copy is written first and read last, as SQLite does it: if they are the same, so they
// were when the first was read.
func readIndexHeader(path string, info os.FileInfo) (first indexHeader, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return first, false, err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(now, info) {
		return first, false, err
	}
	// The byte on which all who use the -shm have a lock: UNIX_SHM_DMS in SQLite's os_unix.c.
	const deadManSwitch = (22+8)*4 + 8
	used, _, err := testLock(f, unix.F_WRLCK, deadManSwitch, 1)
	if err != nil || !used {
		return first, false, err
	}
	var second indexHeader
	for i, x := range []*indexHeader{&first, &second} {
		if n, err := f.ReadAt(x[:], int64(i*len(x))); n < len(x) {
			if err == io.EOF {
				err = nil
			}
			return first, false, err
		}
	}
	return first, first == second && first.valid(), nil
}
