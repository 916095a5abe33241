package tempfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nameless makes a file in dir that never has a name, or returns [errors.ErrUnsupported].
func nameless(dir string) (*os.File, error) {
	for {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), filepath.Join(dir, "(temporary)")), nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EISDIR), errors.Is(err, unix.EOPNOTSUPP):
			return nil, errors.ErrUnsupported
		default:
			return nil, &fs.PathError{Op: "create file in", Path: dir, Err: err}
		}
	}
}
