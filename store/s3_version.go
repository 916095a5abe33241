package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

var _ Versioner = (*S3)(nil)

// Versions implements [Versioner]. It holds one page of up to 1,000 versions in memory. Where the server
// knows no versions at all it yields the objects that there are.
func (s *S3) Versions(ctx context.Context, q Query) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		err := s.versions(ctx, q, yield)
		if errors.Is(err, errNotMade) {
			err = s.list(ctx, q, func(o Object, err error) bool { return yield(Version{Object: o, Newest: true}, err) })
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(Version{}, fmt.Errorf("list versions of %q in %s: %w", q.Prefix, s, err))
		}
	}
}

func (s *S3) versions(ctx context.Context, q Query, yield func(Version, error) bool) error {
	if dir, found := folder(q.Prefix); found && checkKey(dir) != nil {
		return ctx.Err() // as in list
	}
	in := &s3.ListObjectVersionsInput{
		Bucket:       &s.opts.Bucket,
		Prefix:       aws.String(s.prefix() + q.Prefix),
		EncodingType: types.EncodingTypeUrl,
		MaxKeys:      &s.opts.pageMost,
	}
	if q.After != "" {
		in.KeyMarker = aws.String(s.prefix() + q.After)
	}
	if q.Shallow {
		in.Delimiter = aws.String("/")
	}
	last := ""
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := s.client.ListObjectVersions(ctx, in)
		if err != nil {
			return s.explain(err)
		}
		if last, err = s.versionPage(page, last, q, yield); err != nil {
			return err
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		key, err := decodeName(aws.ToString(page.NextKeyMarker), page.EncodingType)
		if err != nil {
			return err
		}
		if key == "" || key == aws.ToString(in.KeyMarker) && aws.ToString(page.NextVersionIdMarker) == aws.ToString(in.VersionIdMarker) {
			return fmt.Errorf("the server says there is more after %q but not how to get it", last)
		}
		in.KeyMarker, in.VersionIdMarker = &key, page.NextVersionIdMarker
	}
}

// versionPage yields what q selects of a page. last is the last name of the page before it; that of
// this one is returned.
func (s *S3) versionPage(page *s3.ListObjectVersionsOutput, last string, q Query, yield func(Version, error) bool) (string, error) {
	all, err := mergeVersions(page)
	if err != nil {
		return last, err
	}
	for _, v := range all {
		if v.Key < last {
			return last, fmt.Errorf("the server lists %q after %q, which is not in order", v.Key, last)
		}
		last = v.Key
		key, ok := strings.CutPrefix(v.Key, s.prefix())
		if !ok || !q.selects(key) || checkKey(key) != nil {
			continue
		}
		v.Key = key
		if !yield(v, nil) {
			return last, errStop
		}
	}
	return last, nil
}

// mergeVersions returns the versions and the markers of a page, with their names in the bucket as keys, as
// one list: the SDK takes them apart. Each of its two lists is in order.
func mergeVersions(page *s3.ListObjectVersionsOutput) ([]Version, error) {
	var versions, markers, all []Version
	for _, v := range page.Versions {
		name, err := decodeName(aws.ToString(v.Key), page.EncodingType)
		if err != nil {
			return nil, err
		}
		o := Object{name, aws.ToInt64(v.Size), aws.ToTime(v.LastModified), unquote(aws.ToString(v.ETag))}
		versions = append(versions, Version{Object: o, ID: aws.ToString(v.VersionId), Newest: aws.ToBool(v.IsLatest)})
	}
	for _, m := range page.DeleteMarkers {
		name, err := decodeName(aws.ToString(m.Key), page.EncodingType)
		if err != nil {
			return nil, err
		}
		o := Object{Key: name, Stored: aws.ToTime(m.LastModified)}
		markers = append(markers, Version{Object: o, ID: aws.ToString(m.VersionId), Marker: true, Newest: aws.ToBool(m.IsLatest)})
	}
	for len(versions) > 0 && len(markers) > 0 {
		if before(versions[0], markers[0]) {
			all, versions = append(all, versions[0]), versions[1:]
		} else {
			all, markers = append(all, markers[0]), markers[1:]
		}
	}
	return append(append(all, versions...), markers...), nil
}

// before says whether a version comes before a marker. Where their times, which servers tell to the second, are
// the same nobody can say any more.
func before(v, m Version) bool {
	if c := strings.Compare(v.Key, m.Key); c != 0 {
		return c < 0
	}
	return v.Newest || !m.Newest && v.Stored.After(m.Stored)
}

// OpenVersion implements [Versioner].
func (s *S3) OpenVersion(ctx context.Context, v Version, off, n int64) (io.ReadCloser, error) {
	if err := s.check(ctx, v.Key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("open %s: negative offset %d", v.Key, off)
	}
	if v.Marker {
		return nil, fmt.Errorf("open %s: %w: it was deleted", v.Key, fs.ErrNotExist)
	}
	r, err := s.open(ctx, v.Object, v.ID, off, n)
	if err != nil {
		return nil, fmt.Errorf("open version %s of %s: %w", v.ID, v.Key, err)
	}
	return r, nil
}

// DeleteVersion implements [Versioner].
func (s *S3) DeleteVersion(ctx context.Context, v Version) error {
	if err := s.check(ctx, v.Key); err != nil {
		return err
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{
		Bucket: &s.opts.Bucket, Key: s.name(v.Key), VersionId: orNil(v.ID),
	})
	err = s.explain(err)
	if err == nil || isAbsent(err) {
		return nil
	}
	// Servers have different words for it, and Amazon's are those for a right that is missing.
	if !v.Marker && ctx.Err() == nil {
		if lock, lerr := s.LockOf(ctx, v.Key, v.ID); lerr == nil && s.inForce(lock) {
			err = fmt.Errorf("%w: %w", &LockedError{v.Key, lock}, err)
		}
	}
	return fmt.Errorf("delete version %s of %s from %s: %w", v.ID, v.Key, s, err)
}

// inForce says whether a lock has not ended by the server's clock.
func (s *S3) inForce(l Lock) bool {
	skew, _ := s.wire.skew()
	return l.Until.After(time.Now().Add(skew))
}

// CopyVersion implements [Versioner]. The server copies; more than 5 GiB in parts.
func (s *S3) CopyVersion(ctx context.Context, v Version) (Object, error) {
	if err := s.check(ctx, v.Key); err != nil {
		return Object{}, err
	}
	o, err := s.copyVersion(ctx, v)
	if err != nil {
		return Object{}, fmt.Errorf("copy version %s of %s to the top in %s: %w", v.ID, v.Key, s, err)
	}
	return o, nil
}

func (s *S3) copyVersion(ctx context.Context, v Version) (Object, error) {
	if v.Marker {
		return Object{}, fmt.Errorf("%w: it was deleted", fs.ErrNotExist)
	}
	source := s.opts.Bucket + "/" + *s.name(v.Key)
	// Slashes may stay; a plus sign would be read as a space.
	source = strings.ReplaceAll(url.QueryEscape(source), "+", "%20") + "?versionId=" + url.QueryEscape(v.ID)
	var err error
	if v.Size <= s.opts.copyMost {
		err = s.copyWhole(ctx, v, source)
	} else {
		err = s.copyParts(ctx, v, source)
	}
	if err != nil {
		return Object{}, err
	}
	o, _, err := s.head(ctx, v.Key, "", "")
	if err == nil && o.Size != v.Size {
		err = fmt.Errorf("the copy has %d bytes of %d", o.Size, v.Size)
	}
	return o, err
}

func (s *S3) copyWhole(ctx context.Context, v Version, source string) error {
	sse, kms := s.encryption()
	_, err := s.client.CopyObject(withPatience(ctx, assembly), &s3.CopyObjectInput{
		Bucket:               &s.opts.Bucket,
		Key:                  s.name(v.Key),
		CopySource:           &source,
		CopySourceIfMatch:    ifMatch(v.ETag),
		SSEKMSKeyId:          kms,
		ServerSideEncryption: sse,
		StorageClass:         types.StorageClass(s.opts.StorageClass),
	})
	return missed(s.explain(err))
}

// copyParts copies what is too large for one request.
func (s *S3) copyParts(ctx context.Context, v Version, source string) (err error) {
	_, id, err := s.head(ctx, v.Key, v.ID, v.ETag)
	if err != nil {
		return missed(err)
	}
	sse, kms := s.encryption()
	begun, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:               &s.opts.Bucket,
		Key:                  s.name(v.Key),
		ContentType:          aws.String(contentType),
		Metadata:             map[string]string{metaID: id},
		SSEKMSKeyId:          kms,
		ServerSideEncryption: sse,
		StorageClass:         types.StorageClass(s.opts.StorageClass),
	})
	if err != nil {
		return s.explain(err)
	}
	uploadID := aws.ToString(begun.UploadId)
	defer func() {
		if err != nil {
			s.abort(ctx, stray{*s.name(v.Key), uploadID})
		}
	}()
	var done []types.CompletedPart
	for off := int64(0); off < v.Size; off += s.opts.copyMost {
		number := int32(len(done) + 1)
		end := min(v.Size, off+s.opts.copyMost)
		out, err := s.client.UploadPartCopy(withPatience(ctx, assembly), &s3.UploadPartCopyInput{
			Bucket:            &s.opts.Bucket,
			Key:               s.name(v.Key),
			UploadId:          &uploadID,
			PartNumber:        &number,
			CopySource:        &source,
			CopySourceIfMatch: ifMatch(v.ETag),
			CopySourceRange:   aws.String(fmt.Sprintf("bytes=%d-%d", off, end-1)),
		})
		if err != nil {
			return fmt.Errorf("part %d: %w", number, missed(s.explain(err)))
		}
		done = append(done, types.CompletedPart{PartNumber: &number, ETag: out.CopyPartResult.ETag})
	}
	_, err = s.client.CompleteMultipartUpload(withPatience(ctx, assembly), &s3.CompleteMultipartUploadInput{
		Bucket: &s.opts.Bucket, Key: s.name(v.Key), UploadId: &uploadID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	})
	return s.explain(err)
}
