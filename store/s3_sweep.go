package store

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// A stray is an upload whose parts are still in the bucket.
type stray struct{ name, uploadID string }

// abort removes an upload that failed. If that fails too, the next Create of parts will, or a later sweep.
func (s *S3) abort(ctx context.Context, u stray) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	if err := s.explain(s.abortUpload(ctx, u)); err != nil && !isAbsent(err) {
		s.opts.Logger.WarnContext(ctx, "abort upload", "name", u.name, "upload", u.uploadID, "err", err)
		s.mu.Lock()
		s.stray = append(s.stray, u)
		s.mu.Unlock()
	}
}

// abortStray removes what abort could not.
func (s *S3) abortStray(ctx context.Context) {
	s.mu.Lock()
	strays := s.stray
	s.stray = nil
	s.mu.Unlock()
	for _, u := range strays {
		s.abort(ctx, u)
	}
}

func (s *S3) abortUpload(ctx context.Context, u stray) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &s.opts.Bucket, Key: &u.name, UploadId: &u.uploadID,
	})
	return err
}

// sweepNow removes what killed uploads to the folder of key left, if that was not done lately. It is
// best effort: whoever may store need not be allowed to list uploads.
func (s *S3) sweepNow(ctx context.Context, key string) {
	folder := path.Dir(key) + "/"
	if folder == "./" && s.opts.Prefix == "" {
		return // the bucket may be shared with anyone
	}
	if folder == "./" {
		folder = ""
	}
	s.mu.Lock()
	last, swept := s.swept[folder]
	swept = swept && time.Since(last) < s.opts.SweepAfter
	if !swept {
		s.swept[folder] = time.Now()
	}
	s.mu.Unlock()
	if swept {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cleanTime)
	defer cancel()
	n, err := s.Sweep(ctx, folder, s.opts.SweepAfter)
	s.opts.Logger.DebugContext(ctx, "swept uploads", "folder", folder, "aborted", n, "err", err)
}

// Sweep aborts the uploads to keys that begin with prefix in which nothing has happened for the
// time idle, and returns how many. Their parts cost money and are not listed as objects; servers
// other than Amazon's ignore the lifecycle rule that would remove them.
func (s *S3) Sweep(ctx context.Context, prefix string, idle time.Duration) (int, error) {
	skew, err := s.Skew(ctx)
	if err != nil {
		return 0, err
	}
	before := time.Now().Add(skew).Add(-idle)
	n := 0
	err = s.eachUpload(ctx, prefix, func(u stray, begun time.Time) error {
		aborted, err := s.sweepUpload(ctx, u, begun, before)
		if aborted && err == nil {
			n++
		}
		return s.explain(err)
	})
	return n, err
}

// DropUnfinished aborts the uploads, also those that go on, to the keys that q selects and ours accepts, and returns how
// many. MinIO does not list them, and removes by itself those that are a day old.
func (s *S3) DropUnfinished(ctx context.Context, q Query, ours func(key string) bool) (int, error) {
	n := 0
	err := s.eachUpload(ctx, q.Prefix, func(u stray, _ time.Time) error {
		key, ok := strings.CutPrefix(u.name, s.prefix())
		if !ok || !q.selects(key) || !ours(key) {
			return nil
		}
		if err := s.explain(s.abortUpload(ctx, u)); err != nil && !isAbsent(err) {
			return err
		}
		n++
		return nil
	})
	if err != nil && !errors.Is(err, errNotMade) && !isAbsent(err) { // some servers answer 404 if there is none
		return n, fmt.Errorf("drop uploads to %q that were not finished in %s: %w", q.Prefix, s, err)
	}
	return n, nil
}

// eachUpload calls do for each upload to a key that begins with prefix, up to the first error.
func (s *S3) eachUpload(ctx context.Context, prefix string, do func(u stray, begun time.Time) error) error {
	pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{
		Bucket: &s.opts.Bucket, Prefix: aws.String(s.prefix() + prefix), EncodingType: types.EncodingTypeUrl,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.explain(err)
		}
		for _, u := range page.Uploads {
			name, err := decodeName(aws.ToString(u.Key), page.EncodingType)
			if err != nil {
				return err
			}
			if err := do(stray{name, aws.ToString(u.UploadId)}, aws.ToTime(u.Initiated)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepUpload aborts an upload if it began before the time given and no part came since.
func (s *S3) sweepUpload(ctx context.Context, u stray, begun, before time.Time) (bool, error) {
	if begun.After(before) {
		return false, nil
	}
	parts := s3.NewListPartsPaginator(s.client, &s3.ListPartsInput{
		Bucket: &s.opts.Bucket, Key: &u.name, UploadId: &u.uploadID,
	})
	for parts.HasMorePages() {
		page, err := parts.NextPage(ctx)
		if err != nil {
			return false, err
		}
		for _, p := range page.Parts {
			if aws.ToTime(p.LastModified).After(before) {
				return false, nil // a slow upload, but alive
			}
		}
	}
	return true, s.abortUpload(ctx, u)
}
