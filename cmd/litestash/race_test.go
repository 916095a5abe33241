//go:build race

package main

// raceEnabled says that the race detector makes all that computes ten times slower.
const raceEnabled = true
