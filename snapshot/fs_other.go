//go:build !linux

package snapshot

func onNetwork(string) bool { return false }
func inMemory(string) bool  { return false }
