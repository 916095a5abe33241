package store

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkKey reports why key is not one that a [Store] takes, or nil.
func checkKey(key string) error {
	switch {
	case !utf8.ValidString(key):
		return fmt.Errorf("key %q: not UTF-8", key)
	case strings.ContainsFunc(key, unicode.IsControl):
		return fmt.Errorf("key %q: control character", key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("key %q: %q is no part of a key", key, part)
		}
	}
	return nil
}

// folder returns the part of a prefix or key before its last slash.
func folder(prefix string) (dir string, found bool) {
	i := strings.LastIndexByte(prefix, '/')
	if i < 0 {
		return "", false
	}
	return prefix[:i], true
}
