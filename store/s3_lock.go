package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

var _ Locker = (*S3)(nil)

// LockRules are what a bucket does about locks by itself.
type LockRules struct {
	Enabled bool          // it can lock, which it was made for and cannot lose
	Mode    LockMode      // of the lock that each new object gets by itself; empty if it gets none
	For     time.Duration // and how long that is; years have 365 days
}

// LockRules returns the bucket's rules. On servers that know no locks, and in buckets that were made without
// them, nothing is enabled.
func (s *S3) LockRules(ctx context.Context) (LockRules, error) {
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.opts.Bucket})
	if err = s.explain(err); isUnset(err) || isInvalid(err) {
		return LockRules{}, nil
	}
	if err != nil {
		return LockRules{}, fmt.Errorf("ask whether bucket %s can lock objects: %w", s.opts.Bucket, err)
	}
	c := out.ObjectLockConfiguration
	if c == nil || c.ObjectLockEnabled != types.ObjectLockEnabledEnabled {
		return LockRules{}, nil
	}
	rules := LockRules{Enabled: true}
	if c.Rule != nil && c.Rule.DefaultRetention != nil {
		d := c.Rule.DefaultRetention
		rules.Mode = LockMode(strings.ToLower(string(d.Mode)))
		rules.For = time.Duration(aws.ToInt32(d.Days)+365*aws.ToInt32(d.Years)) * 24 * time.Hour
	}
	return rules, nil
}

// CanLock implements [Locker].
func (s *S3) CanLock(ctx context.Context) error {
	if s.lockable.Load() {
		return nil
	}
	rules, err := s.LockRules(ctx)
	if err != nil {
		return err
	}
	if !rules.Enabled {
		return fmt.Errorf("bucket %s: %w", s.opts.Bucket, ErrCannotLock)
	}
	s.lockable.Store(true)
	return nil
}

// CreateLocked implements [Locker]. It has to ask first: MinIO stores an object without the lock where the
// bucket cannot lock.
func (s *S3) CreateLocked(ctx context.Context, key string, body io.Reader, most int64, lock Lock) (Object, error) {
	if err := lock.check(); err != nil {
		return Object{}, fmt.Errorf("create %s: %w", key, err)
	}
	if err := s.CanLock(ctx); err != nil {
		return Object{}, fmt.Errorf("create %s: %w", key, err)
	}
	o, err := s.createLocked(ctx, key, body, most, lock)
	return o, unlockable(err)
}

// ExtendLock implements [Locker]. It takes one request, and a second one if that is refused, which is how
// servers say that the lock is longer or stricter already.
func (s *S3) ExtendLock(ctx context.Context, key string, lock Lock) error {
	if err := s.check(ctx, key); err != nil {
		return err
	}
	if err := lock.check(); err != nil {
		return fmt.Errorf("lock %s: %w", key, err)
	}
	_, err := s.client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket:    &s.opts.Bucket,
		Key:       s.name(key),
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionMode(lock.mode()), RetainUntilDate: lock.until()},
	})
	if err = s.explain(err); err == nil {
		return nil
	}
	now, lerr := s.lockOf(ctx, key, "")
	switch {
	case isAbsent(lerr):
		err = lerr // Amazon answers 405 where a marker hides the object
	case lerr != nil: // what was refused first tells more
	case now.Covers(lock):
		return nil
	case s.inForce(now) && now.Mode == Compliance && lock.Mode != Compliance:
		return s.ExtendLock(ctx, key, Lock{Compliance, lock.Until})
	case s.inForce(now) && now.Mode != lock.Mode:
		return fmt.Errorf("lock %s in %s: %w: %w", key, s, ErrLockMode, err)
	}
	return fmt.Errorf("lock %s in %s: %w", key, s, unlockable(err))
}

// LockOf implements [Locker].
func (s *S3) LockOf(ctx context.Context, key, id string) (Lock, error) {
	if err := s.check(ctx, key); err != nil {
		return Lock{}, err
	}
	l, err := s.lockOf(ctx, key, id)
	if err != nil {
		return Lock{}, fmt.Errorf("ask how long %s in %s is locked: %w", key, s, err)
	}
	return l, nil
}

func (s *S3) lockOf(ctx context.Context, key, id string) (Lock, error) {
	out, err := s.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{
		Bucket: &s.opts.Bucket, Key: s.name(key), VersionId: orNil(id),
	})
	err = s.explain(err)
	switch {
	case codeOf(err) == "NoSuchObjectLockConfiguration", isInvalid(err), errors.Is(err, errNotMade):
		return Lock{}, nil // nobody has ever locked it, or can
	case codeOf(err) == "MethodNotAllowed":
		return Lock{}, fmt.Errorf("%w: it was deleted: %w", fs.ErrNotExist, err)
	case err != nil:
		return Lock{}, err
	}
	r := out.Retention
	if r == nil || r.Mode == "" || r.RetainUntilDate == nil {
		return Lock{}, nil
	}
	return Lock{LockMode(strings.ToLower(string(r.Mode))), r.RetainUntilDate.UTC()}, nil
}

// check reports what is wrong with a lock that is to be set.
func (l Lock) check() error {
	if l.Mode != Governance && l.Mode != Compliance {
		return usagef("lock mode %q: must be governance or compliance", l.Mode)
	}
	if l.Until.IsZero() {
		return usagef("a lock needs an end")
	}
	return nil
}

// mode returns the mode in the words of S3.
func (l Lock) mode() string { return strings.ToUpper(string(l.Mode)) }

// until returns when the lock ends, or nil for none.
func (l Lock) until() *time.Time {
	if l.Until.IsZero() {
		return nil
	}
	return &l.Until
}

// unlockable makes an error of a store without locks say so.
func unlockable(err error) error {
	if errors.Is(err, errNotMade) || isInvalid(err) {
		return fmt.Errorf("%w: %w", ErrCannotLock, err)
	}
	return err
}

// isInvalid says whether err is what servers answer to anything about locks in a bucket that was made
// without them.
func isInvalid(err error) bool { return codeOf(err) == "InvalidRequest" }

// codeOf returns what the server called an error, or nothing.
func codeOf(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}
