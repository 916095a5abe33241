package store

import (
	"os"
	"path/filepath"
	"strings"
)

// Within reports whether what is stored in inner is in outer too: whether it is the same place, or one below it. It
// asks no server, so that one under two names is taken for two.
func Within(inner, outer Store) bool {
	switch in := inner.(type) {
	case *S3:
		out, ok := outer.(*S3)
		return ok && in.endpoint == out.endpoint && in.opts.Bucket == out.opts.Bucket &&
			(out.opts.Prefix == "" || strings.HasPrefix(in.opts.Prefix+"/", out.opts.Prefix+"/"))
	case *Dir:
		out, ok := outer.(*Dir)
		return ok && isBelow(in.root, out.root)
	}
	return false
}

// isBelow reports whether path, the end of which may be missing, is a directory or below it.
func isBelow(path, dir string) bool {
	top, err := os.Stat(dir)
	if err != nil {
		return path == dir
	}
	for at := resolved(path); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && os.SameFile(info, top) {
			return true
		}
		if at == filepath.Dir(at) {
			return false
		}
	}
}

// resolved returns path without symbolic links, as far as it exists.
func resolved(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if parent := filepath.Dir(path); err != nil && parent != path {
		return filepath.Join(resolved(parent), filepath.Base(path))
	}
	return real
}
