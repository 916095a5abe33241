//go:build !linux

package durable

import (
	"errors"
	"os"
)

// RenameNew is unsupported here.
func RenameNew(old, new string) error {
	return &os.LinkError{Op: "rename", Old: old, New: new, Err: errors.ErrUnsupported}
}
