package snapshot

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// lockHolders returns the processes that hold locks for writing on the database at path, and
// whether one of them shuts out readers, as far as /proc/locks shows it: other containers'
// processes are not in there, and locks of an open file description have no owner.
func lockHolders(path string) (pids []int, exclusive bool) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false
	}
	st := info.Sys().(*syscall.Stat_t)
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		l, ok := parseLock(lines.Text())
		if !ok || l.inode != st.Ino || l.typ != "WRITE" {
			continue
		}
		if l.pid > 0 && l.pid != os.Getpid() && !slices.Contains(pids, l.pid) {
			pids = append(pids, l.pid)
		}
		exclusive = exclusive || l.start <= sharedFirst && sharedFirst <= l.end
	}
	return pids, exclusive
}

// A heldLock is a line of /proc/locks, see proc_locks(5).
type heldLock struct {
	typ        string
	pid        int
	inode      uint64
	start, end int64
}

func parseLock(line string) (l heldLock, ok bool) {
	f := strings.Fields(line)
	if len(f) != 8 { // a waiter's line has an arrow more
		return l, false
	}
	dev := strings.Split(f[5], ":")
	if len(dev) != 3 {
		return l, false
	}
	l.typ = f[3]
	var errs [4]error
	l.pid, errs[0] = strconv.Atoi(f[4])
	l.inode, errs[1] = strconv.ParseUint(dev[2], 10, 64)
	l.start, errs[2] = strconv.ParseInt(f[6], 10, 64)
	if f[7] == "EOF" {
		l.end = 1<<63 - 1
	} else {
		l.end, errs[3] = strconv.ParseInt(f[7], 10, 64)
	}
	for _, err := range errs {
		if err != nil {
			return l, false
		}
	}
	return l, true
}
