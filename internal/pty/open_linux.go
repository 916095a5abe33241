package pty

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open returns both ends of a new pseudoterminal: what is written to tty is read from master (pty(7)). The
// caller closes both.
func Open() (master, tty *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	tty, err = other(master)
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, tty, nil
}

// other opens the other end.
func other(master *os.File) (*os.File, error) {
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock the terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("ask for the number of the terminal: %w", err)
	}
	return os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
}
