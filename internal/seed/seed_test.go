package seed_test

import (
	"testing"

	"github.com/litestash/litestash/internal/seed"
)

func TestSeed(t *testing.T) {
	t.Setenv("LITESTASH_TEST_SEED", "")
	if a, b := seed.New(t), seed.New(t); a == b {
		t.Errorf("two seeds are %d", a)
	}
	t.Setenv("LITESTASH_TEST_SEED", "18446744073709551615")
	if got := seed.New(t); got != 1<<64-1 {
		t.Errorf("the seed is %d", got)
	}
	if a, b := seed.Rand(t).Uint64(), seed.Rand(t).Uint64(); a != b {
		t.Errorf("%d and %d come of one seed", a, b)
	}
}
