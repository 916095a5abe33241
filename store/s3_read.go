package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Open implements [Store]. A body that breaks off or stalls is asked for again from there on.
func (s *S3) Open(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error) {
	if err := s.check(ctx, o.Key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("open %s: negative offset %d", o.Key, off)
	}
	r, err := s.open(ctx, o, "", off, n)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Key, err)
	}
	return r, nil
}

// open reads the version with that id, or, if that is empty, the newest.
func (s *S3) open(ctx context.Context, o Object, id string, off, n int64) (io.ReadCloser, error) {
	if o.ETag == "" {
		r, err := s.openNow(ctx, o.Key, id, off, n)
		if !errors.Is(err, errNoRange) {
			return r, err
		}
		if o, _, err = s.head(ctx, o.Key, id, ""); err != nil {
			return nil, err
		}
	}
	end := o.Size
	if n >= 0 && n < o.Size-off {
		end = off + n
	}
	if off >= end {
		// S3 has no name for an empty range, but whether the object is there counts.
		if _, _, err := s.head(ctx, o.Key, id, o.ETag); err != nil {
			return nil, missed(err)
		}
		return http.NoBody, nil
	}
	r := &s3Reader{ctx: ctx, s: s, o: o, id: id, off: off, end: end}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

// errNoRange says that an object ends before the range that was asked for.
var errNoRange = errors.New("the object ends before the range")

// openNow reads what is under a key now. A body may come in pieces, and they have to be of one version: the first answer
// tells which.
func (s *S3) openNow(ctx context.Context, key, id string, off, n int64) (io.ReadCloser, error) {
	if n == 0 {
		return nil, errNoRange
	}
	want := fmt.Sprintf("bytes=%d-", off)
	if n > 0 && n <= math.MaxInt64-off {
		want += strconv.FormatInt(off+n-1, 10)
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &s.opts.Bucket, Key: s.name(key), VersionId: orNil(id), Range: &want,
	})
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok && answer.HTTPStatusCode() == http.StatusRequestedRangeNotSatisfiable {
		return nil, errNoRange
	}
	if err != nil {
		return nil, s.explain(err)
	}
	size, end := aws.ToInt64(out.ContentLength), aws.ToInt64(out.ContentLength)
	if got := aws.ToString(out.ContentRange); got != "" || off > 0 { // else it sends all of it
		var from int64
		_, err := fmt.Sscanf(got, "bytes %d-%d/%d", &from, &end, &size)
		if end++; err != nil || from != off || end > size || end < size && end-off != n {
			out.Body.Close()
			return nil, fmt.Errorf("asked for %s and got %q", want, got)
		}
	} else if n > 0 {
		end = min(n, size)
	}
	o := Object{Key: key, Size: size, ETag: unquote(aws.ToString(out.ETag))}
	return &s3Reader{ctx: ctx, s: s, o: o, id: id, off: off, end: end, body: out.Body}, nil
}

// missed says what an unmet If-Match means.
func missed(err error) error {
	if errors.Is(err, errTaken) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}

// An s3Reader reads the bytes of o from off to end, over as many connections as it takes.
type s3Reader struct {
	ctx  context.Context // of the call of Open, whose continuation Read is
	s    *S3
	o    Object
	id   string // of the version; empty for the newest
	off  int64
	end  int64
	body io.ReadCloser // nil between connections
	idle int           // connections in a row that brought nothing
	err  error         // what the reader ended with
}

func (r *s3Reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	n, err := r.read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read %s at %d: %w", r.o.Key, r.off, err)
	}
	r.err = err
	return n, err
}

func (r *s3Reader) read(p []byte) (int, error) {
	for {
		if r.off == r.end {
			return 0, io.EOF
		}
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if r.body == nil {
			if err := r.connect(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.off)])
		r.off += int64(n)
		if n > 0 {
			r.idle = 0
		}
		if err != nil && r.off < r.end {
			if err := r.broke(err); err != nil {
				return n, err
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

// broke lets go of a connection that ended early with cause. It returns an error when there were
// too many, and else has paused for long enough to try the next.
func (r *s3Reader) broke(cause error) error {
	r.s.opts.Logger.DebugContext(r.ctx, "s3 body broke off", "key", r.o.Key, "at", r.off, "err", cause)
	r.body.Close()
	r.body = nil
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.idle++; r.idle >= attempts {
		if cause == io.EOF {
			cause = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, r.s.server(), cause)
	}
	return sleep(r.ctx, min(r.s.opts.backoff, 100*time.Millisecond<<r.idle))
}

// connect asks for what is left of the range.
func (r *s3Reader) connect() error {
	out, err := r.s.client.GetObject(r.ctx, &s3.GetObjectInput{
		Bucket:    &r.s.opts.Bucket,
		Key:       r.s.name(r.o.Key),
		VersionId: orNil(r.id),
		IfMatch:   ifMatch(r.o.ETag),
		Range:     aws.String(fmt.Sprintf("bytes=%d-%d", r.off, r.end-1)),
	})
	if err != nil {
		return missed(r.s.explain(err))
	}
	if unquote(aws.ToString(out.ETag)) != r.o.ETag {
		out.Body.Close()
		return ErrChanged // the server does not know If-Match
	}
	got, want := aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-%d/", r.off, r.end-1)
	whole := got == "" && r.off == 0 && aws.ToInt64(out.ContentLength) == r.o.Size && r.end == r.o.Size
	if !whole && !strings.HasPrefix(got, want) {
		out.Body.Close()
		return fmt.Errorf("asked for %s and got %q of %d bytes", want, got, aws.ToInt64(out.ContentLength))
	}
	r.body = out.Body
	return nil
}

// Close ends the connection.
func (r *s3Reader) Close() error {
	if r.err == nil {
		r.err = errors.New("read after close")
	}
	if r.body == nil {
		return nil
	}
	// That the rest of the body is not wanted is no error.
	r.body.Close()
	r.body = nil
	return nil
}

// sleep waits for the time to pass or the context to end.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
