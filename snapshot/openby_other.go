//go:build !linux

package snapshot

import "os"

func openBy(string, *os.File) []int { return nil }
