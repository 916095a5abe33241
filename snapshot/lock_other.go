//go:build !linux && !darwin

package snapshot

import (
	"errors"
	"os"
)

const canGuard = false

func lockShared(*os.File) (bool, error)    { return false, errors.ErrUnsupported }
func lockExclusive(*os.File) (bool, error) { return false, errors.ErrUnsupported }
