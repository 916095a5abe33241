//go:build race

package format_test

// raceEnabled says that the race detector makes all that computes ten times slower.
const raceEnabled = true
