//go:build !race

// Package race tells tests whether the race detector watches them: all that computes is ten times slower then.
package race

// Enabled reports whether the race detector watches.
const Enabled = false
