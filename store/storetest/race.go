//go:build race

package storetest

// raceEnabled cuts down what is only long: the race detector makes it ten times longer.
const raceEnabled = true
