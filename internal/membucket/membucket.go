// Package membucket is the memory of a fake S3 server, for tests.
package membucket

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

// A Backend keeps buckets in memory. It lists after keys that do not exist as well, where that of
// gofakes3 loses the next, and the versions of a key newest first, where that lists the oldest first.
type Backend struct{ *s3mem.Backend }

// New returns a backend without buckets.
func New() *Backend { return &Backend{s3mem.New()} }

// ListBucket implements [gofakes3.Backend].
func (b *Backend) ListBucket(ctx context.Context, name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if page.Marker != "" {
		all, err := b.Backend.ListBucket(ctx, name, nil, gofakes3.ListBucketPage{})
		if err != nil {
			return nil, err
		}
		n, _ := slices.BinarySearchFunc(all.Contents, page.Marker, func(c *gofakes3.Content, marker string) int {
			if c.Key <= marker {
				return -1
			}
			return 1
		})
		if page = (gofakes3.ListBucketPage{MaxKeys: page.MaxKeys}); n > 0 {
			page.Marker, page.HasMarker = all.Contents[n-1].Key, true
		}
	}
	return b.Backend.ListBucket(ctx, name, prefix, page)
}

// ListBucketVersions implements [gofakes3.VersionedBackend]. The order is right within a page.
func (b *Backend) ListBucketVersions(name string, prefix *gofakes3.Prefix, page *gofakes3.ListBucketVersionsPage) (*gofakes3.ListBucketVersionsResult, error) {
	r, err := b.Backend.ListBucketVersions(name, prefix, page)
	if err != nil {
		return nil, err
	}
	slices.Reverse(r.Versions)
	slices.SortStableFunc(r.Versions, func(a, b gofakes3.VersionItem) int { return strings.Compare(keyOf(a), keyOf(b)) })
	return r, nil
}

func keyOf(v gofakes3.VersionItem) string {
	switch v := v.(type) {
	case *gofakes3.Version:
		return v.Key
	case *gofakes3.DeleteMarker:
		return v.Key
	}
	panic(fmt.Sprintf("membucket: a version that is a %T", v))
}
