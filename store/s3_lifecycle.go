package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// A LifecycleRule is what a bucket does by itself to objects of a store.
type LifecycleRule struct {
	ID     string // as its owner named it; may be empty
	Prefix string // of the names in the bucket that it is about; empty is all

	Expires bool      // it deletes objects
	Days    int       // after so many days, if there is no Date
	Date    time.Time // or all at this time; zero if there is none

	// Archives is the storage class that objects are moved to and cannot be read from until they
	// are restored, such as DEEP_ARCHIVE; empty if there is none.
	Archives string

	// ExpiresOld says that it removes what was deleted or overwritten in a versioned bucket.
	ExpiresOld bool
}

// Lifecycle returns the bucket's rules that are in force and are about objects of this store,
// which carry no tags. Most who may use a bucket may not ask for them: that is an [ErrDenied].
// From servers that know no rules there are none.
func (s *S3) Lifecycle(ctx context.Context) ([]LifecycleRule, error) {
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &s.opts.Bucket})
	if err = s.explain(err); isUnset(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the lifecycle rules of bucket %s: %w", s.opts.Bucket, err)
	}
	var rules []LifecycleRule
	for _, r := range out.Rules {
		if rule, ok := lifecycleRule(r); ok && s.concerns(rule.Prefix) {
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

// Versioned says whether the bucket keeps what is deleted in it as old versions. From servers that
// know no versions the answer is no.
func (s *S3) Versioned(ctx context.Context) (bool, error) {
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.opts.Bucket})
	if err = s.explain(err); isUnset(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask whether bucket %s keeps versions: %w", s.opts.Bucket, err)
	}
	return out.Status == types.BucketVersioningStatusEnabled, nil
}

// CreateOnly says whether Create asks the server not to overwrite. It becomes false with the first
// Create that the server answers with 501; from then on Create looks first, and puts plainly.
func (s *S3) CreateOnly() bool { return !s.plain.Load() }

// isUnset says whether err is a server's way to say that there is no such setting: 404 with a code
// of its own, or 501.
func isUnset(err error) bool {
	return errors.Is(err, errNotMade) || errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNoBucket)
}

// concerns says whether names that begin with prefix can be names of this store.
func (s *S3) concerns(prefix string) bool {
	return strings.HasPrefix(prefix, s.prefix()) || strings.HasPrefix(s.prefix(), prefix)
}

// lifecycleRule returns what a rule does, or false if it does nothing to untagged objects.
func lifecycleRule(r types.LifecycleRule) (LifecycleRule, bool) {
	if r.Status != types.ExpirationStatusEnabled {
		return LifecycleRule{}, false
	}
	//lint:ignore SA1019 rules that were made before there were filters have it
	rule := LifecycleRule{ID: aws.ToString(r.ID), Prefix: aws.ToString(r.Prefix)}
	if f := r.Filter; f != nil {
		if f.Tag != nil || f.And != nil && len(f.And.Tags) > 0 {
			return LifecycleRule{}, false
		}
		rule.Prefix = aws.ToString(f.Prefix)
		if f.And != nil {
			rule.Prefix = aws.ToString(f.And.Prefix)
		}
	}
	if e := r.Expiration; e != nil && (e.Days != nil || e.Date != nil) {
		rule.Expires, rule.Days, rule.Date = true, int(aws.ToInt32(e.Days)), aws.ToTime(e.Date)
	}
	for _, t := range r.Transitions {
		if t.StorageClass == types.TransitionStorageClassGlacier || t.StorageClass == types.TransitionStorageClassDeepArchive {
			rule.Archives = string(t.StorageClass)
		}
	}
	rule.ExpiresOld = r.NoncurrentVersionExpiration != nil
	return rule, rule.Expires || rule.Archives != "" || rule.ExpiresOld
}
