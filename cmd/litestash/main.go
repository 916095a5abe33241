// Litestash takes snapshots of live SQLite databases, keeps them in S3-compatible storage or in a
// directory, and gives back any of them, proved.
package main

import (
	"context"
	"os"
	"runtime/debug"
)

// memoryLimit is what the garbage collector keeps the heap and all else of the runtime below, if it can. A
// push lives on buffers of a few MiB that come and go; without a limit as much garbage as data may pile
// up. GOMEMLIMIT sets another.
const memoryLimit = 80 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	ignoreBrokenPipes()
	os.Exit(run(withSignals(context.Background()), os.Args, os.Stdin, os.Stdout, os.Stderr))
}
