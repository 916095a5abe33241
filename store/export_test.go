package store

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// SetBackoff shortens the pauses between attempts for tests.
func (o *S3Options) SetBackoff(d time.Duration) { o.backoff = d }

// RetryDelay returns the pause after the attempt that failed with cause.
func (s *S3) RetryDelay(attempt int, cause error) (time.Duration, error) {
	return s.client.Options().Retryer.RetryDelay(attempt, cause)
}

// SetPageMost makes listings come in pages of n.
func (o *S3Options) SetPageMost(n int32) { o.pageMost = n }

// SetCopyMost makes copies of more than n bytes go in parts.
func (o *S3Options) SetCopyMost(n int64) { o.copyMost = n }

// Overwrite puts another object under a key.
func (s *S3) Overwrite(ctx context.Context, key string, body []byte) error {
	sum := md5.Sum(body)
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.opts.Bucket, Key: s.name(key), Body: bytes.NewReader(body),
		ContentMD5: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	})
	return err
}
