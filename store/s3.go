package store

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// DefaultPartSize is what [S3Options].PartSize defaults to.
const DefaultPartSize = 8 << 20

// What the others default to, as they say.
const (
	defaultConcurrency  = 4
	defaultStallTimeout = 30 * time.Second
	defaultSweepAfter   = 24 * time.Hour
)

// S3Options say which bucket a store is in and how to talk to its server. Only Bucket is
// required. Credentials come from where the AWS tools look for them, too: the environment,
// profiles, SSO, web identity, container and instance roles.
type S3Options struct {
	Bucket string
	Prefix string // what the store's keys begin with in the bucket, without the slash that follows it

	Endpoint string // URL of the server; default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's, AWS itself
	Region   string // default: AWS_REGION, the profile's, and with an endpoint us-east-1
	Profile  string // default: AWS_PROFILE

	PathStyle *bool // whether the bucket is in the path and not in the host; default: with an endpoint

	PartSize    int64 // bytes of a part of an upload, 5 MiB to 5 GiB; default [DefaultPartSize]
	Concurrency int   // parts of one upload in flight; default 4

	StorageClass string // default: the bucket's
	SSE          string // "AES256" or "aws:kms"; default: the bucket's
	KMSKeyID     string // with "aws:kms"; default: the account's own key

	// Checksum is "supported" for the checksums that AWS recommends, or "required" for none but
	// a Content-MD5, which every server knows. Default: "required" with an endpoint, unless
	// AWS_REQUEST_CHECKSUM_CALCULATION is set, else "supported". Over https, "supported" sends
	// bodies in chunks with a trailer, which other servers refuse or even store.
	Checksum string

	// NoCreateOnly does without If-None-Match: Create looks first and then puts plainly. Servers
	// that answer 501 to the header get the same without being told.
	NoCreateOnly bool

	StallTimeout time.Duration // how long a request may stand still; default 30 seconds
	SweepAfter   time.Duration // age of abandoned uploads that are removed; default a day
	TempDir      string        // where parts go that are too large for memory; default [os.TempDir]
	Logger       *slog.Logger  // gets each request at debug level; nil discards

	backoff  time.Duration // the longest pause before trying again; default maxBackoff
	copyMost int64         // bytes that the server copies by one request; default maxPart
	pageMost int32         // entries in a page of a listing; default 1,000
}

// An S3 is a [Store] in a bucket of Amazon S3 or of a server that speaks its protocol.
//
// Requests are repeated with growing pauses, five times unless AWS_MAX_ATTEMPTS says otherwise, and
// given up when nothing moves for S3Options.StallTimeout. The pauses stay short while a server that
// has not answered yet refuses connections. All uploads of one S3 together hold at most about 48
// MiB of parts in memory; larger parts go to unlinked temporary files.
type S3 struct {
	opts     S3Options
	client   *s3.Client
	wire     *wire
	endpoint string // empty: AWS itself
	region   string
	md5      bool // every request that stores carries a Content-MD5

	plain    atomic.Bool // the server does not know If-None-Match, or is not to be asked
	lockable atomic.Bool // the bucket is known to be able to lock objects
	parts    *partPool

	mu    sync.Mutex
	swept map[string]time.Time // when Create swept a folder; guarded by mu
	stray []stray              // uploads that could not be aborted; guarded by mu
}

// OpenS3 returns the store that opts describes. It finds credentials but sends the server
// nothing yet. Errors are [UsageError] for a wrong option and [ErrDenied] for no credentials.
func OpenS3(ctx context.Context, opts S3Options) (*S3, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	s := &S3{opts: opts, swept: map[string]time.Time{}, parts: newPartPool(opts.PartSize, opts.TempDir)}
	s.plain.Store(opts.NoCreateOnly)
	if err := s.connect(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	return s, nil
}

// complete checks the options and fills in defaults.
func (o *S3Options) complete() error {
	o.Prefix = strings.Trim(o.Prefix, "/")
	o.PartSize = cmp.Or(o.PartSize, DefaultPartSize)
	o.Concurrency = cmp.Or(o.Concurrency, defaultConcurrency)
	o.StallTimeout = cmp.Or(o.StallTimeout, defaultStallTimeout)
	o.SweepAfter = cmp.Or(o.SweepAfter, defaultSweepAfter)
	o.backoff = cmp.Or(o.backoff, maxBackoff)
	o.copyMost = cmp.Or(o.copyMost, maxPart)
	o.pageMost = cmp.Or(o.pageMost, 1000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Bucket == "":
		return usagef("the store's URL names no bucket")
	case o.Prefix != "" && checkKey(o.Prefix) != nil:
		return usagef("the store's prefix is not usable: %v", checkKey(o.Prefix))
	case o.PartSize < minPart || o.PartSize > maxPart:
		return usagef("part size of %d bytes: must be from 5 MiB, which are %d, to 5 GiB", o.PartSize, minPart)
	case o.Concurrency < 1 || o.Concurrency > 64:
		return usagef("concurrency %d: must be from 1 to 64", o.Concurrency)
	case o.SSE != "" && o.SSE != "AES256" && o.SSE != "aws:kms":
		return usagef("server-side encryption %q: must be AES256 or aws:kms", o.SSE)
	case o.KMSKeyID != "" && o.SSE != "aws:kms":
		return usagef("a KMS key needs server-side encryption aws:kms")
	case o.Checksum != "" && o.Checksum != "required" && o.Checksum != "supported":
		return usagef("checksum %q: must be required or supported", o.Checksum)
	case o.StallTimeout < 0 || o.SweepAfter < 0:
		return usagef("a timeout is negative")
	}
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return usagef("endpoint %q: must be a URL such as https://minio.example:9000", hideUser(o.Endpoint))
		}
		if u.User != nil {
			return usagef("the endpoint holds a user name or a password: %s", whereSecretsGo)
		}
	}
	return nil
}

// readable undoes what [url.Values] escapes of an endpoint although a query may hold it as it is
// (RFC 3986, section 3.4; for the brackets of IPv6 addresses: the parser of net/url).
var readable = strings.NewReplacer("%3A", ":", "%2F", "/", "%5B", "[", "%5D", "]")

// String returns the store's URL, which [ParseS3] understands. It holds no secrets.
func (s *S3) String() string {
	q := url.Values{}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	set("endpoint", s.opts.Endpoint)
	set("region", s.opts.Region)
	set("profile", s.opts.Profile)
	if s.opts.PathStyle != nil {
		q.Set("path-style", strconv.FormatBool(*s.opts.PathStyle))
	}
	u := url.URL{Scheme: "s3", Host: s.opts.Bucket, RawQuery: readable.Replace(q.Encode())}
	if s.opts.Prefix != "" {
		u.Path = "/" + s.opts.Prefix
	}
	return u.String()
}

// name returns the key's name in the bucket.
func (s *S3) name(key string) *string {
	if s.opts.Prefix == "" {
		return &key
	}
	return aws.String(s.opts.Prefix + "/" + key)
}

// check is where every method that takes a key begins.
func (s *S3) check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if n := len(*s.name(key)); n > 1024 {
		return fmt.Errorf("key %q: %d bytes with its prefix, and S3 allows 1024", key, n)
	}
	return nil
}

// Delete implements [Store].
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, key); err != nil {
		return err
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.opts.Bucket, Key: s.name(key)})
	if err = s.explain(err); err != nil && !isAbsent(err) {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// Skew implements [Store] by the Date header of the answers.
func (s *S3) Skew(ctx context.Context) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if skew, ok := s.wire.skew(); ok {
		return skew, nil
	}
	_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &s.opts.Bucket, Prefix: aws.String(s.prefix()), MaxKeys: aws.Int32(1),
	})
	skew, ok := s.wire.skew()
	switch {
	case ok:
		return skew, nil // the clock is told with a refusal, too
	case err != nil:
		return 0, fmt.Errorf("ask %s for the time: %w", s, s.explain(err))
	}
	return 0, fmt.Errorf("ask %s for the time: the answer has no Date", s)
}

// prefix returns what all names in the bucket begin with.
func (s *S3) prefix() string { return strings.TrimPrefix(s.opts.Prefix+"/", "/") }

// metaID is the metadata under which an object names the Create that made it.
const metaID = "litestash-create"

// head returns the object under key, or one of its versions, and the id of the Create that made it if it
// has one.
func (s *S3) head(ctx context.Context, key, version, etag string) (o Object, id string, err error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &s.opts.Bucket, Key: s.name(key), VersionId: orNil(version), IfMatch: ifMatch(etag),
	})
	if err != nil {
		return Object{}, "", s.explain(err)
	}
	for k, v := range out.Metadata {
		if strings.EqualFold(k, metaID) {
			id = v
		}
	}
	o = Object{
		Key:    key,
		Size:   aws.ToInt64(out.ContentLength),
		Stored: aws.ToTime(out.LastModified),
		ETag:   unquote(aws.ToString(out.ETag)),
	}
	if etag != "" && o.ETag != etag {
		return Object{}, "", ErrChanged // the server does not know If-Match
	}
	return o, id, nil
}

// unquote returns an ETag as an [Object] has it: some servers quote them in headers but not in
// lists. Weak ones, W/"...", stay as they are.
func unquote(etag string) string {
	if strings.HasPrefix(etag, `"`) {
		return strings.Trim(etag, `"`)
	}
	return etag
}

// ifMatch returns the header for an ETag, or nil for a weak one, which it can never match
// (RFC 9110, section 13.1.1). All answers are compared besides.
func ifMatch(etag string) *string {
	if etag == "" || strings.HasPrefix(etag, "W/") {
		return nil
	}
	return aws.String(`"` + etag + `"`)
}

// orNil returns what an input has for a string that may be empty: nothing then.
func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func (s *S3) encryption() (types.ServerSideEncryption, *string) {
	if s.opts.KMSKeyID == "" {
		return types.ServerSideEncryption(s.opts.SSE), nil
	}
	return types.ServerSideEncryption(s.opts.SSE), &s.opts.KMSKeyID
}

func envChecksum() bool { return os.Getenv("AWS_REQUEST_CHECKSUM_CALCULATION") != "" }
