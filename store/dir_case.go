package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// errCase says that a disk which ignores case holds the name already, spelt with another case.
var errCase = errors.New("the disk ignores case and holds the name in another")

// A disk is what [checkCase] asks; a test has one that ignores case.
type disk interface {
	lstat(path string) (fs.FileInfo, error)
	names(dir string) ([]string, error)
	same(a, b fs.FileInfo) bool
}

type osDisk struct{}

func (osDisk) lstat(path string) (fs.FileInfo, error) { return os.Lstat(path) }
func (osDisk) same(a, b fs.FileInfo) bool             { return os.SameFile(a, b) }

func (osDisk) names(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// checkCase returns [errCase] if the file info, found as name in dir, has another name on the
// disk. Disks that heed case cost one call: they do not find the name in the other case.
func checkCase(on disk, dir, name string, info fs.FileInfo) error {
	other := strings.ToUpper(name)
	if other == name {
		other = strings.ToLower(name)
	}
	if other == name {
		return nil
	}
	twin, err := on.lstat(filepath.Join(dir, other))
	if err != nil || !on.same(info, twin) {
		return nil
	}
	names, err := on.names(dir)
	if err != nil || slices.Contains(names, name) {
		return err
	}
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return fmt.Errorf("%w: %s as %s", errCase, filepath.Join(dir, name), n)
		}
	}
	return fmt.Errorf("%w: %s", errCase, filepath.Join(dir, name))
}
