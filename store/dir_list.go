package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// List implements [Store]. It holds the names of one directory per level in memory.
func (d *Dir) List(ctx context.Context, q Query) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		l := lister{ctx: ctx, d: d, q: q, yield: yield}
		if err := l.list(); err != nil && !errors.Is(err, errStop) {
			yield(Object{}, fmt.Errorf("list %q in %s: %w", q.Prefix, d.root, d.explainAbsent(err)))
		}
	}
}

// errStop ends a listing that its caller has stopped.
var errStop = errors.New("stop")

type lister struct {
	ctx   context.Context
	d     *Dir
	q     Query
	yield func(Object, error) bool
}

func (l *lister) list() error {
	if _, err := os.Stat(l.d.root); err != nil {
		if errors.Is(err, fs.ErrNotExist) && l.d.mayBeNew() {
			_, err = os.Stat(filepath.Dir(l.d.root))
		}
		if err != nil {
			return err
		}
		return l.ctx.Err()
	}
	// Whole parts of the prefix are directories; only the rest of it selects among names.
	key, found := folder(l.q.Prefix)
	dir := ""
	if found {
		dir = key + "/"
		if checkKey(key) != nil {
			return l.ctx.Err() // no key begins like that
		}
		err := l.d.walk(key)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, errCase) {
			return l.ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return l.walk(dir)
}

// walk yields what is selected below the directory, which is empty or ends with a slash.
func (l *lister) walk(dir string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := readDir(l.d.path(dir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // removed since
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if dir == "" && reserved(strings.TrimSuffix(e.name, "/")) {
			continue
		}
		if err := l.visit(dir+e.name, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) visit(key string, e entry) error {
	if e.isDir() {
		below := strings.HasPrefix(key, l.q.Prefix)
		if !below || l.q.Shallow || key < l.q.After && !strings.HasPrefix(l.q.After, key) {
			return nil
		}
		return l.walk(key)
	}
	if !strings.HasPrefix(key, l.q.Prefix) || key <= l.q.After || checkKey(key) != nil {
		return nil
	}
	if err := l.ctx.Err(); err != nil {
		return err
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() && !l.yield(object(key, info), nil) {
		return errStop
	}
	return nil
}

// An entry is a name in a directory. Those of directories end with a slash.
type entry struct {
	name string
	fs.DirEntry
}

func (e entry) isDir() bool { return strings.HasSuffix(e.name, "/") }

// readDir returns the entries of the directory path in the order of the keys they begin: the
// slash after the name of a directory counts, so that "a-b" and "a.db/c" precede "a/b".
func readDir(path string) ([]entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, len(found))
	for i, e := range found {
		entries[i] = entry{e.Name(), e}
		if e.IsDir() {
			entries[i].name += "/"
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}
