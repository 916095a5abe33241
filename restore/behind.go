package restore

import (
	"sync/atomic"

	"github.com/litestash/litestash/internal/durable"
)

// startEvery is after how many bytes the disk begins with them.
const startEvery = 16 << 20

// A behind writes to a file whose disk begins to write meanwhile: the sync at the end is a good part of a restore's
// time otherwise. It may be used concurrently.
type behind struct {
	file
	written atomic.Int64
}

func (b *behind) WriteAt(p []byte, off int64) (int, error) {
	n, err := b.file.WriteAt(p, off)
	now := b.written.Add(int64(n))
	if now/startEvery != (now-int64(n))/startEvery {
		durable.StartWriting(b.Fd())
	}
	return n, err
}
