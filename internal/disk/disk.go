// Package disk tells what room there is on the disk of a directory.
package disk

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/litestash/litestash/internal/human"
)

// Lack says that need bytes have no room in the directory dir, where free are free.
func Lack(dir string, need, free int64) string {
	return fmt.Sprintf("%s: not enough room: %s needed, %s free", dir, human.Bytes(need), human.Bytes(free))
}

// Free returns how many bytes this process may still write to the disk of the directory dir.
func Free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("look for room in %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
