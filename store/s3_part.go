package store

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sync/semaphore"

	"github.com/litestash/litestash/internal/ioctx"
	"github.com/litestash/litestash/internal/tempfile"
)

// The limits of S3, from
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html.
const (
	minPart   = 5 << 20
	maxPart   = 5 << 30
	maxParts  = 10_000
	maxObject = 5 << 40
)

// partMemory bounds what all parts of a store hold in memory at a time, in bytes.
const partMemory = 48 << 20

// spoolOver is the largest part that is kept in memory: with larger ones too few would be in
// flight at once.
const spoolOver = 16 << 20

// partSize returns the size in bytes of the parts of a body of at most most bytes, or of an
// unknown length if most is 0. All parts of an upload but the last have the same size, as
// Cloudflare R2 demands (https://developers.cloudflare.com/r2/objects/multipart-objects/).
func partSize(usual, most int64) (int64, error) {
	if most > maxObject {
		return 0, fmt.Errorf("%d bytes are more than the 5 TiB that S3 allows", most)
	}
	size := usual
	if most > size*maxParts {
		const step = 1 << 20
		size = (most + maxParts - 1) / maxParts
		size = (size + step - 1) / step * step
	}
	return size, nil
}

// A partPool hands out memory for parts, all in all no more than partMemory.
type partPool struct {
	usual int64 // bytes of the buffers that are kept for the next user
	dir   string
	sem   *semaphore.Weighted
	free  chan []byte
}

func newPartPool(usual int64, dir string) *partPool {
	return &partPool{usual: usual, dir: dir, sem: semaphore.NewWeighted(partMemory), free: make(chan []byte, 16)}
}

// drop forgets the memory that waits for its next user.
func (p *partPool) drop() {
	for {
		select {
		case <-p.free:
		default:
			return
		}
	}
}

// A part is a piece of a body that can be sent more than once. Its holder frees it.
type part struct {
	pool *partPool
	mem  []byte   // the content, if it is in memory
	file *os.File // the content, if it is not
	held int64    // of the pool's memory
	size int64
	md5  hash.Hash // nil: not wanted
}

// fill reads the next part of body, of up to size bytes. It waits for memory.
func (p *partPool) fill(ctx context.Context, body io.Reader, size int64, sum bool) (_ *part, err error) {
	pt := &part{pool: p}
	if sum {
		pt.md5 = md5.New()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, pt.release())
		}
	}()
	body = ioctx.Reader(ctx, body)
	if size > spoolOver {
		return pt, pt.spool(body, size)
	}
	if err := p.sem.Acquire(ctx, size); err != nil {
		return nil, err
	}
	pt.held = size
	pt.mem = p.buffer(size)
	// Not io.ReadFull: its io.ErrUnexpectedEOF could be the body's own, and that is no end.
	for pt.size < size {
		n, err := body.Read(pt.mem[pt.size:])
		pt.size += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if sum {
		pt.md5.Write(pt.mem[:pt.size])
	}
	return pt, nil
}

// spool keeps up to size bytes of body in a file without a name.
func (pt *part) spool(body io.Reader, size int64) error {
	f, err := tempfile.Unlinked(pt.pool.dir)
	if err != nil {
		return fmt.Errorf("keep part: %w", err)
	}
	pt.file = f
	var w io.Writer = f
	if pt.md5 != nil {
		w = io.MultiWriter(f, pt.md5)
	}
	if pt.size, err = io.Copy(w, io.LimitReader(body, size)); err != nil {
		return fmt.Errorf("keep part: %w", err)
	}
	return nil
}

func (p *partPool) buffer(size int64) []byte {
	if size != p.usual {
		return make([]byte, size)
	}
	select {
	case b := <-p.free:
		return b
	default:
		return make([]byte, size)
	}
}

// reader returns the content from its beginning.
func (pt *part) reader() io.ReadSeeker {
	if pt.file != nil {
		return io.NewSectionReader(pt.file, 0, pt.size)
	}
	return bytes.NewReader(pt.mem[:pt.size])
}

// contentMD5 returns the value of the header, or nil if it is not wanted.
func (pt *part) contentMD5() *string {
	if pt.md5 == nil {
		return nil
	}
	sum := base64.StdEncoding.EncodeToString(pt.md5.Sum(nil))
	return &sum
}

// release gives the part's memory or file back. The part must not be used any more.
func (pt *part) release() error {
	if pt.file != nil {
		return pt.file.Close()
	}
	if int64(len(pt.mem)) == pt.pool.usual {
		select {
		case pt.pool.free <- pt.mem:
		default:
		}
	}
	pt.mem = nil
	pt.pool.sem.Release(pt.held)
	pt.held = 0
	return nil
}
