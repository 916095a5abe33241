package restore

import "github.com/litestash/litestash/internal/durable"

// startFrom is how much has to be written at once for the disk to begin with it. Less is pages all over the file, between which
// others are still to come: they are better written together.
const startFrom = 128 << 10

// A behind writes to a file whose disk begins to write meanwhile: the sync at the end is a good part of a restore's
// time otherwise. It may be used concurrently.
type behind struct{ file }

func (b behind) WriteAt(p []byte, off int64) (int, error) {
	n, err := b.file.WriteAt(p, off)
	if n >= startFrom {
		durable.StartWriting(b.Fd(), off, int64(n))
	}
	return n, err
}
