//go:build race

package restore_test

// raceEnabled says that the race detector makes all that computes ten times slower.
const raceEnabled = true
