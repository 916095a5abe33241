package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/litestash/litestash/internal/durable"
)

// A Tree is a directory into which databases are restored, each under its name, whose parts are
// directories. Use [FileOptions.MakeParents] with its paths. It is not for concurrent use.
type Tree struct {
	dir   string
	paths map[string][]string // that were handed out, by names in which case is ignored
}

// NewTree returns the tree in dir, which need not exist.
func NewTree(dir string) *Tree { return &Tree{dir, map[string][]string{}} }

// Path returns where a database goes, which is a valid name. On a disk that ignores case it may be where
// another one of the tree has gone already: that is [ErrExists], whatever may be replaced.
func (t *Tree) Path(database string) (string, error) {
	local := filepath.FromSlash(database)
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("restore %s: it is no path below a directory", database)
	}
	path := filepath.Join(t.dir, local)
	fold := strings.ToLower(database)
	for _, other := range t.paths[fold] {
		if sameFile(path, other) {
			return "", fmt.Errorf("restore to %s: %w: on this disk it is %s, which has just been restored", path, ErrExists, other)
		}
	}
	t.paths[fold] = append(t.paths[fold], path)
	return path, nil
}

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}

// makeParents makes the directories that lead to the target, durably, and returns those that it made, the
// outermost first. If it fails none is left.
func (t *target) makeParents() (made []string, err error) {
	var missing []string
	for dir := t.dir; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break // it is there, or making what is below it will tell why not
		}
		missing = append(missing, dir)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := durable.Mkdir(missing[i], 0o777); err != nil {
			removeEmpty(made)
			return nil, fmt.Errorf("make the directory of %s: %w", t.path, err)
		}
		made = append(made, missing[i])
	}
	return made, nil
}

// removeEmpty removes directories, the outermost first, as far as nothing has come into them.
func removeEmpty(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		if os.Remove(made[i]) != nil {
			return
		}
	}
}
