// Package seed lets tests with random steps be repeated: each logs what it began with.
package seed

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// variable is the one that sets the seed.
const variable = "LITESTASH_TEST_SEED"

// New returns the seed that LITESTASH_TEST_SEED sets, or else a random one, and logs it.
func New(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv(variable); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
	}
	t.Logf("%s=%d", variable, seed)
	return seed
}

// Rand returns a source of random numbers that begins with a [New] seed.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(New(t), 0))
}
