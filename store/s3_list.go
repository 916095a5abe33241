package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// List implements [Store]. It holds one page of up to 1,000 objects in memory. Keys that are none
// by the rules of [Store], such as the empty "folders" that some tools make, are left out.
func (s *S3) List(ctx context.Context, q Query) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if err := s.list(ctx, q, yield); err != nil && !errors.Is(err, errStop) {
			yield(Object{}, fmt.Errorf("list %q in %s: %w", q.Prefix, s, err))
		}
	}
}

func (s *S3) list(ctx context.Context, q Query, yield func(Object, error) bool) error {
	if dir, found := folder(q.Prefix); found && checkKey(dir) != nil {
		return ctx.Err() // no key begins like that, and MinIO refuses the question
	}
	in := &s3.ListObjectsV2Input{
		Bucket: &s.opts.Bucket,
		Prefix: aws.String(s.prefix() + q.Prefix),
		// XML cannot hold every character of a key.
		EncodingType: types.EncodingTypeUrl,
		MaxKeys:      &s.opts.pageMost,
	}
	if q.After != "" {
		in.StartAfter = aws.String(s.prefix() + q.After)
	}
	if q.Shallow {
		in.Delimiter = aws.String("/")
	}
	last := ""
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			return s.explain(err)
		}
		if last, err = s.listPage(page, last, q, yield); err != nil {
			return err
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		token := aws.ToString(page.NextContinuationToken)
		if token == "" || token == aws.ToString(in.ContinuationToken) {
			return fmt.Errorf("the server says there is more after %q but not how to get it", last)
		}
		in.ContinuationToken = &token
	}
}

// listPage yields what q selects of a page. last is the last name of the page before it; that of
// this one is returned.
func (s *S3) listPage(page *s3.ListObjectsV2Output, last string, q Query, yield func(Object, error) bool) (string, error) {
	for _, c := range page.Contents {
		name, err := decodeName(aws.ToString(c.Key), page.EncodingType)
		if err != nil {
			return last, err
		}
		// Whoever looks for the newest snapshot needs the order, and not all servers keep it.
		if name <= last {
			return last, fmt.Errorf("the server lists %q after %q, which is not in order", name, last)
		}
		last = name
		key, ok := strings.CutPrefix(name, s.prefix())
		if !ok || !q.selects(key) || checkKey(key) != nil {
			continue
		}
		o := Object{key, aws.ToInt64(c.Size), aws.ToTime(c.LastModified), unquote(aws.ToString(c.ETag))}
		if !yield(o, nil) {
			return last, errStop
		}
	}
	return last, nil
}

// selects says whether q selects key. Servers have ignored each of its fields.
func (q Query) selects(key string) bool {
	rest, ok := strings.CutPrefix(key, q.Prefix)
	return ok && key > q.After && !(q.Shallow && strings.Contains(rest, "/"))
}

// decodeName undoes the encoding that the answer says it has, where a space is a plus sign.
func decodeName(name string, encoding types.EncodingType) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return name, nil
	}
	decoded, err := url.QueryUnescape(name)
	if err != nil {
		return "", fmt.Errorf("decode name: %w", err)
	}
	return decoded, nil
}
