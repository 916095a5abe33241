package store

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

const (
	attempts   = 5
	maxBackoff = 5 * time.Second
	dialTime   = 10 * time.Second

	// An instance's metadata service answers within milliseconds; where there is none, packets to
	// it may just vanish.
	metadataTime = 700 * time.Millisecond
	// Other sources ask a server or run a program. The SDK asks them anew in the middle of a request, which no
	// watchdog sees then.
	credentialTime = 30 * time.Second
)

// connect makes the client from the options and the settings that the AWS tools share.
func (s *S3) connect(ctx context.Context) error {
	// It has to be this type for AWS_CA_BUNDLE to have an effect.
	client := awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = min(dialTime, s.opts.StallTimeout)
	})
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(client.WithTimeout(credentialTime)), config.WithLogger(sdkLogger(s.opts.Logger))}
	if s.opts.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(s.opts.Profile))
	}
	if s.opts.Region != "" {
		load = append(load, config.WithRegion(s.opts.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return usagef("read the AWS settings: %v", err)
	}
	if err := findCredentials(ctx, &cfg); err != nil {
		return err
	}
	s.wire = &wire{inner: unlimited(cfg.HTTPClient), stall: s.opts.StallTimeout, log: s.opts.Logger}
	s.client = s3.NewFromConfig(cfg, s.configure)
	if s.region == "" {
		return usagef("no region is set: add ?region= to the store's URL or set AWS_REGION")
	}
	return nil
}

// unlimited returns a client without a limit to how long a request may take as a whole: a [wire] has its own.
func unlimited(c aws.HTTPClient) aws.HTTPClient {
	if b, ok := c.(*awshttp.BuildableClient); ok {
		return b.WithTimeout(0)
	}
	return c
}

// sdkLogger makes what the SDK would write to the standard error a message at debug level.
func sdkLogger(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(class logging.Classification, format string, v ...any) {
		log.Debug("aws sdk", "class", string(class), "says", fmt.Sprintf(format, v...))
	})
}

// configure is called by the SDK once the settings for S3 alone are in o, such as
// AWS_ENDPOINT_URL_S3: they do not show anywhere before.
func (s *S3) configure(o *s3.Options) {
	o.HTTPClient = s.wire
	if s.opts.Endpoint != "" {
		o.BaseEndpoint = aws.String(s.opts.Endpoint)
	}
	s.endpoint = aws.ToString(o.BaseEndpoint)
	// The checksums of AWS are what other servers trip over: over https they come in a trailer of
	// a chunked body, which old Ceph answers with 400 and OpenStack Swift with 501, and which two
	// servers store inside the object.
	checksum := s.opts.Checksum
	if checksum == "" && s.endpoint != "" && !envChecksum() {
		checksum = "required"
	}
	switch checksum {
	case "required":
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	case "supported":
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
	}
	s.md5 = o.RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired
	o.DisableLogOutputChecksumValidationSkipped = true
	if s.endpoint != "" {
		o.APIOptions = append(o.APIOptions, signNoEncoding)
		o.UsePathStyle = true
		if o.Region == "" {
			o.Region = "us-east-1"
		}
	}
	if s.opts.PathStyle != nil {
		o.UsePathStyle = *s.opts.PathStyle
	}
	s.region = o.Region
	if o.RetryMaxAttempts == 0 {
		o.RetryMaxAttempts = attempts
	}
	standard := retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = o.RetryMaxAttempts
		r.MaxBackoff = s.opts.backoff
		r.RateLimiter = ratelimit.None // a quota would let the calls after an outage fail at once
	})
	o.Retryer = retryer{standard, &s.wire.answered}
}

// findCredentials gets the first credentials, so that their lack is told before work begins.
func findCredentials(ctx context.Context, cfg *aws.Config) error {
	if cfg.Credentials == nil {
		return fmt.Errorf("%w: no credentials were found", ErrDenied)
	}
	limit := credentialTime
	metadata := aws.IsCredentialsProvider(cfg.Credentials, (*ec2rolecreds.Provider)(nil))
	if metadata {
		limit = metadataTime
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	source := credentialSource{cfg.Credentials}
	_, err := source.Retrieve(limited)
	switch {
	case err == nil:
		cfg.Credentials = source
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case metadata:
		return fmt.Errorf("%w: no credentials were found in the environment or a profile, and no instance role", ErrDenied)
	case limited.Err() != nil:
		return fmt.Errorf("%w: get credentials: no answer within %v", ErrDenied, limit)
	}
	return err
}

// A credentialSource makes a failure to get credentials an [ErrDenied].
type credentialSource struct{ inner aws.CredentialsProvider }

func (c credentialSource) Retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := c.inner.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: get credentials: %w", ErrDenied, err)
	}
	return got, err
}
