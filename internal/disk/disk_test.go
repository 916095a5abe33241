package disk

import (
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"
)

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	if err := Reserve(dir, 1); err != nil {
		t.Error(err)
	}
	err := Reserve(dir, math.MaxInt64)
	space, ok := errors.AsType[*SpaceError](err)
	if !ok || space.Dir != dir || space.Need != math.MaxInt64 || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "9.2 EB needed") {
		t.Errorf("more than any disk has: %v", err)
	}
	if err := Reserve(dir+"/absent", math.MaxInt64); err != nil {
		t.Errorf("a disk that does not tell: %v", err)
	}
}

func TestSpaceErrorOfQuota(t *testing.T) {
	err := &SpaceError{Dir: "dir", Err: syscall.EDQUOT}
	if !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, syscall.EDQUOT) || !strings.Contains(err.Error(), syscall.EDQUOT.Error()) {
		t.Errorf("it is not both: %v", err)
	}
}
