package snapshot

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// openBy returns the processes that have the database at path or one of its side files open, as far
// as /proc shows them: not those in other containers, and without privileges not those of other
// users. The descriptor of self, which belongs to this process, does not count.
func openBy(path string, self *os.File) (pids []int) {
	var files []os.FileInfo
	for _, suffix := range append([]string{""}, sideSuffixes...) {
		if info, err := os.Stat(path + suffix); err == nil {
			files = append(files, info)
		}
	}
	own := filepath.Join("/proc", strconv.Itoa(os.Getpid()), "fd", strconv.Itoa(int(self.Fd())))
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		panic("internal error: " + err.Error()) // the pattern is right
	}
	for _, fd := range fds {
		info, err := os.Stat(fd)
		if err != nil || fd == own || !slices.ContainsFunc(files, func(f os.FileInfo) bool { return os.SameFile(f, info) }) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(fd))))
		if err == nil && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
