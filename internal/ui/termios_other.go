//go:build !linux

package ui

import "golang.org/x/sys/unix"

// The requests for what a terminal is set to.
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
