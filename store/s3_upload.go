package store

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/litestash/litestash/internal/ioctx"
)

// cleanTime is for what has to be done after a failure, even after the end of the context.
const cleanTime = 10 * time.Second

// assembly is how many times longer than usual a server may keep silent while it puts parts
// together; on large objects that is minutes.
const assembly = 10

// Create implements [Store]. A body of up to one part goes by a single PutObject, a longer one in
// parts. Without a bound, it may have 10,000 parts of S3Options.PartSize.
//
// It does not return while body.Read blocks.
func (s *S3) Create(ctx context.Context, key string, body io.Reader, most int64) (Object, error) {
	return s.createLocked(ctx, key, body, most, Lock{})
}

// createLocked is Create of an object with a lock, if that is not zero.
func (s *S3) createLocked(ctx context.Context, key string, body io.Reader, most int64, lock Lock) (Object, error) {
	if err := s.check(ctx, key); err != nil {
		return Object{}, err
	}
	o, err := s.create(ctx, key, body, most, lock)
	if err != nil {
		return Object{}, fmt.Errorf("create %s in %s: %w", key, s, err)
	}
	return o, nil
}

func (s *S3) create(ctx context.Context, key string, body io.Reader, most int64, lock Lock) (Object, error) {
	size, err := partSize(s.opts.PartSize, most)
	if err != nil {
		return Object{}, err
	}
	first := size
	if most > 0 && most < size {
		first = most // a small object does not take the memory of a part
	}
	u := &upload{s: s, key: key, id: rand.Text(), lock: lock, partSize: size}
	u.body = bufio.NewReaderSize(ioctx.Reader(ctx, body), 64<<10)
	pt, err := s.parts.fill(ctx, u.body, first, s.md5)
	if err != nil {
		return Object{}, err
	}
	more, err := u.more()
	if err != nil {
		return Object{}, errors.Join(err, pt.release())
	}
	if !more {
		o, err := u.put(ctx, pt)
		return o, errors.Join(err, pt.release())
	}
	if first < size {
		return Object{}, errors.Join(fmt.Errorf("the body is longer than the %d bytes announced", most), pt.release())
	}
	return u.parts(ctx, pt)
}

// An upload is one call of Create.
type upload struct {
	s        *S3
	key      string
	id       string // random, kept with the object: it tells this upload's object from any other
	lock     Lock   // zero: none
	body     *bufio.Reader
	partSize int64
	size     int64 // bytes of all parts
}

// more says whether the body goes on.
func (u *upload) more() (bool, error) {
	_, err := u.body.Peek(1)
	if err == io.EOF {
		return false, nil
	}
	return err == nil, err
}

// put stores the one part of the body.
func (u *upload) put(ctx context.Context, pt *part) (Object, error) {
	s := u.s
	u.size = pt.size
	sse, kms := s.encryption()
	return u.commit(ctx, func(ctx context.Context, create *string) error {
		_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket:                    &s.opts.Bucket,
			Key:                       s.name(u.key),
			Body:                      pt.reader(),
			ContentLength:             &pt.size,
			ContentMD5:                pt.contentMD5(),
			ContentType:               aws.String(contentType),
			IfNoneMatch:               create,
			Metadata:                  map[string]string{metaID: u.id},
			ObjectLockMode:            types.ObjectLockMode(u.lock.mode()),
			ObjectLockRetainUntilDate: u.lock.until(),
			SSEKMSKeyId:               kms,
			ServerSideEncryption:      sse,
			StorageClass:              types.StorageClass(s.opts.StorageClass),
		})
		return err
	})
}

// contentType keeps servers and proxies from guessing, and from compressing.
const contentType = "application/octet-stream"

// parts stores the body in parts, of which the first is read already.
func (u *upload) parts(ctx context.Context, first *part) (_ Object, err error) {
	s := u.s
	defer s.parts.drop()
	s.abortStray(ctx)
	s.sweepNow(ctx, u.key)
	sse, kms := s.encryption()
	begun, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:                    &s.opts.Bucket,
		Key:                       s.name(u.key),
		ChecksumAlgorithm:         s.checksum(),
		ContentType:               aws.String(contentType),
		Metadata:                  map[string]string{metaID: u.id},
		ObjectLockMode:            types.ObjectLockMode(u.lock.mode()),
		ObjectLockRetainUntilDate: u.lock.until(),
		SSEKMSKeyId:               kms,
		ServerSideEncryption:      sse,
		StorageClass:              types.StorageClass(s.opts.StorageClass),
	})
	if err != nil {
		return Object{}, errors.Join(s.explain(err), first.release())
	}
	uploadID := aws.ToString(begun.UploadId)
	defer func() {
		if err != nil {
			s.abort(ctx, stray{aws.ToString(s.name(u.key)), uploadID})
		}
	}()
	done, err := u.sendParts(ctx, uploadID, first)
	if err != nil {
		return Object{}, err
	}
	return u.commit(ctx, func(ctx context.Context, create *string) error {
		if create != nil {
			// Some servers ignore the condition here, so that it is worth a look of our own.
			if err := u.vacant(ctx); err != nil {
				return err
			}
		}
		_, err := s.client.CompleteMultipartUpload(withPatience(ctx, assembly), &s3.CompleteMultipartUploadInput{
			Bucket:          &s.opts.Bucket,
			Key:             s.name(u.key),
			UploadId:        &uploadID,
			IfNoneMatch:     create,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		})
		return err
	})
}

// sendParts sends the first part and those that it reads from the body, several at a time.
func (u *upload) sendParts(ctx context.Context, uploadID string, first *part) ([]types.CompletedPart, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(1 + u.s.opts.Concurrency) // the reader, too
	var mu sync.Mutex
	var done []types.CompletedPart
	send := func(number int32, pt *part) {
		u.size += pt.size
		g.Go(func() error {
			p, err := u.sendPart(ctx, uploadID, number, pt)
			if err := errors.Join(err, pt.release()); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done = append(done, p)
			return nil
		})
	}
	g.Go(func() error {
		send(1, first)
		return u.readParts(ctx, send)
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(done, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
	return done, nil
}

// readParts reads the body from the second part on and hands the parts to send.
func (u *upload) readParts(ctx context.Context, send func(int32, *part)) error {
	for number := int32(2); ; number++ {
		more, err := u.more()
		if err != nil || !more {
			return err
		}
		if number > maxParts {
			return fmt.Errorf("the body has more than %d parts of %d bytes", maxParts, u.partSize)
		}
		pt, err := u.s.parts.fill(ctx, u.body, u.partSize, u.s.md5)
		if err != nil {
			return err
		}
		send(number, pt)
	}
}

// checksum names the checksum of the parts. An upload has to announce it: versitygw finds parts
// invalid that come with one which was not.
func (s *S3) checksum() types.ChecksumAlgorithm {
	if s.md5 {
		return ""
	}
	return types.ChecksumAlgorithmCrc32
}

func (u *upload) sendPart(ctx context.Context, uploadID string, number int32, pt *part) (types.CompletedPart, error) {
	s := u.s
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:            &s.opts.Bucket,
		Key:               s.name(u.key),
		UploadId:          &uploadID,
		PartNumber:        &number,
		Body:              pt.reader(),
		ChecksumAlgorithm: s.checksum(),
		ContentLength:     &pt.size,
		ContentMD5:        pt.contentMD5(),
	})
	if err != nil {
		return types.CompletedPart{}, fmt.Errorf("part %d: %w", number, s.explain(err))
	}
	return types.CompletedPart{
		PartNumber:        &number,
		ETag:              out.ETag,
		ChecksumCRC32:     out.ChecksumCRC32,
		ChecksumCRC32C:    out.ChecksumCRC32C,
		ChecksumCRC64NVME: out.ChecksumCRC64NVME,
		ChecksumSHA1:      out.ChecksumSHA1,
		ChecksumSHA256:    out.ChecksumSHA256,
	}, nil
}

// commit makes the object appear by request, which is given the value of If-None-Match, and
// makes sure of what came of it.
func (u *upload) commit(ctx context.Context, request func(ctx context.Context, create *string) error) (Object, error) {
	for try := 1; ; try++ {
		ctx, sent := withSent(ctx)
		err := u.s.explain(u.attempt(ctx, request))
		if err == nil {
			return u.confirm(ctx)
		}
		// Of several attempts the first may have been carried out, and its answer lost.
		if n := sent.Load(); !errors.Is(err, errTaken) && (n == 0 || n == 1 && isRefusal(err)) {
			return Object{}, err
		}
		o, serr := u.settle(ctx, err)
		if serr == nil || !errors.Is(serr, errAgain) {
			return o, serr
		}
		if try == attempts {
			return Object{}, fmt.Errorf("%w: %w", ErrUnreachable, serr)
		}
		if err := sleep(ctx, min(u.s.opts.backoff, 100*time.Millisecond<<try)); err != nil {
			return Object{}, err
		}
	}
}

// attempt makes the request create-only, or looks first where the server cannot do that.
func (u *upload) attempt(ctx context.Context, request func(ctx context.Context, create *string) error) error {
	s := u.s
	if !s.plain.Load() {
		err := request(ctx, aws.String("*"))
		if !errors.Is(s.explain(err), errNotMade) {
			return err
		}
	}
	if err := u.vacant(ctx); err != nil {
		return err
	}
	err := request(ctx, nil)
	if err == nil && !s.plain.Swap(true) {
		s.opts.Logger.InfoContext(ctx, "the server cannot create only what is new; looking before each upload", "store", s.String())
	}
	return err
}

// vacant returns an error if the key is taken, or if it cannot be seen whether it is.
func (u *upload) vacant(ctx context.Context) error {
	_, _, err := u.s.head(ctx, u.key, "", "")
	switch {
	case err == nil:
		return errTaken
	case isAbsent(err):
		return nil
	}
	return fmt.Errorf("look: %w", err)
}

// isRefusal says whether a request that failed with err certainly had no effect. One that found
// the key taken may have: an earlier attempt's answer can be lost.
func isRefusal(err error) bool {
	var region *RegionError
	var clock *ClockError
	return errors.Is(err, ErrDenied) || errors.Is(err, ErrNoBucket) || errors.Is(err, errNotMade) ||
		errors.As(err, &region) || errors.As(err, &clock)
}

// settle looks at what became of a request that failed with cause.
func (u *upload) settle(ctx context.Context, cause error) (Object, error) {
	ctx, cancel := u.afterwards(ctx)
	defer cancel()
	o, id, err := u.s.head(ctx, u.key, "", "")
	switch {
	case isAbsent(err):
		if errors.Is(cause, errTaken) {
			return Object{}, fmt.Errorf("%w, but now it is gone", fs.ErrExist)
		}
		return Object{}, cause
	case err != nil:
		return Object{}, fmt.Errorf("%w: %w; look: %w", ErrUnknown, cause, err)
	case id == u.id && o.Size == u.size:
		return o, nil
	case id == u.id:
		return Object{}, u.undo(ctx, o)
	case id == "" && o.Size == u.size:
		return Object{}, fmt.Errorf("%w: the key holds an object of that size whose maker is not known: %w", ErrUnknown, cause)
	}
	return Object{}, fs.ErrExist
}

// afterwards returns a context for a look at what was stored, even if that of the upload has ended.
func (u *upload) afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), max(cleanTime, 2*u.s.opts.StallTimeout))
}

// confirm checks that the object is what was sent.
func (u *upload) confirm(ctx context.Context) (Object, error) {
	ctx, cancel := u.afterwards(ctx)
	defer cancel()
	o, id, err := u.s.head(ctx, u.key, "", "")
	switch {
	case err != nil:
		return Object{}, fmt.Errorf("%w: it was accepted; look: %w", ErrUnknown, err)
	case id != "" && id != u.id:
		return Object{}, fmt.Errorf("%w: another upload took the key meanwhile", fs.ErrExist)
	case o.Size != u.size:
		return Object{}, u.undo(ctx, o)
	}
	return o, nil
}

// undo removes the object that this upload made and that is not what was sent.
func (u *upload) undo(ctx context.Context, o Object) error {
	err := fmt.Errorf("the store holds %d bytes of the %d sent", o.Size, u.size)
	if derr := u.s.Delete(ctx, u.key); derr != nil {
		return fmt.Errorf("%w: %w; %w", ErrUnknown, err, derr)
	}
	return err
}
