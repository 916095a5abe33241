package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"regexp"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// A RegionError says that the bucket is in another region than the one that was asked.
type RegionError struct {
	Bucket string
	Asked  string
	Want   string // where the bucket is; empty if the server did not say
}

func (e *RegionError) Error() string {
	if e.Want == "" {
		return fmt.Sprintf("bucket %s is not in region %s", e.Bucket, e.Asked)
	}
	return fmt.Sprintf("bucket %s is in region %s, not in %s", e.Bucket, e.Want, e.Asked)
}

// A ClockError says that the server refused a request because the clocks differ too much.
type ClockError struct {
	Local time.Time // this host's time
	Store time.Time // the server's time; zero if it did not say
}

func (e *ClockError) Error() string {
	return fmt.Sprintf("the store's clock says %s and this host's %s",
		e.Store.UTC().Format(time.RFC3339), e.Local.UTC().Format(time.RFC3339))
}

// An s3Error says in one line what the SDK says in three, and unwraps to what it means and to
// the original.
type s3Error struct {
	text    string
	meaning error // may be nil
	cause   error
}

func (e *s3Error) Error() string {
	if e.meaning == nil {
		return e.text
	}
	return e.meaning.Error() + ": " + e.text
}

func (e *s3Error) Unwrap() []error {
	if e.meaning == nil {
		return []error{e.cause}
	}
	return []error{e.meaning, e.cause}
}

// ErrPlainHTTP says that a server which was asked by https answers by http.
var ErrPlainHTTP = http.ErrSchemeMismatch

var (
	errTaken   = errors.New("a precondition does not hold")
	errNotMade = errors.New("the server does not know this kind of request")
	errAgain   = errors.New("another request to the same key was under way")
)

// What servers call an error by its code. A HEAD has no body and so no code: then it is the
// status that tells.
var meanings = map[string]error{
	"NoSuchBucket":                 ErrNoBucket,
	"InvalidRange":                 ErrChanged, // never asked for beyond the size that was listed
	"NoSuchKey":                    fs.ErrNotExist,
	"PreconditionFailed":           errTaken,
	"ConditionalRequestConflict":   errAgain,
	"OperationAborted":             errAgain,
	"NotImplemented":               errNotMade,
	"AccessDenied":                 ErrForbidden,
	"AccountProblem":               ErrDenied,
	"AllAccessDisabled":            ErrDenied,
	"ExpiredToken":                 ErrDenied,
	"InvalidAccessKeyId":           ErrDenied,
	"InvalidToken":                 ErrDenied,
	"SignatureDoesNotMatch":        ErrDenied,
	"XAdminUserNotFound":           ErrDenied, // versitygw's for an unknown access key, with a 404
	"SlowDown":                     ErrUnreachable,
	"RequestTimeout":               ErrUnreachable,
	"TooManyRequests":              ErrUnreachable,
	"XMinioServerNotInitialized":   ErrUnreachable,
	"KMS.DisabledException":        ErrDenied,
	"KMS.NotFoundException":        ErrDenied,
	"KMS.KMSInvalidStateException": ErrDenied,
}

var statuses = map[int]error{
	http.StatusUnauthorized:       ErrDenied,
	http.StatusForbidden:          ErrDenied,
	http.StatusNotFound:           fs.ErrNotExist,
	http.StatusRequestTimeout:     ErrUnreachable,
	http.StatusConflict:           errAgain,
	http.StatusPreconditionFailed: errTaken,
	http.StatusTooManyRequests:    ErrUnreachable,
	http.StatusNotImplemented:     errNotMade,
}

// expecting finds the region in the message of AuthorizationHeaderMalformed.
var expecting = regexp.MustCompile(`expecting '([a-z0-9-]+)'`)

// explain turns an error of the SDK into one that this package's callers understand.
func (s *S3) explain(err error) error {
	if err == nil {
		return nil
	}
	// A name server or a host that does not answer in time is a context.DeadlineExceeded to package net, too.
	var canceled *smithy.CanceledError
	switch {
	case errors.As(err, &canceled):
		return canceled.Err
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case err == context.DeadlineExceeded:
		return err
	}
	e := &s3Error{text: root(err).Error(), cause: err}
	if errors.Is(err, ErrDenied) {
		return e // no credentials
	}
	var answer *awshttp.ResponseError
	if !errors.As(err, &answer) || answer.HTTPResponse() == nil || answer.HTTPStatusCode() == 0 {
		if isBroken(err) {
			e.text = s.server() + ": " + e.text
			e.meaning = ErrUnreachable
		}
		return e
	}
	status := answer.HTTPStatusCode()
	e.text = fmt.Sprintf("%s (status %d, request %q)", http.StatusText(status), status, answer.ServiceRequestID())
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() != "" {
		e.text = fmt.Sprintf("%s: %s (status %d, request %q)", api.ErrorCode(), api.ErrorMessage(), status, answer.ServiceRequestID())
		e.meaning = meanings[api.ErrorCode()]
	}
	if special := s.special(api, answer); special != nil {
		e.meaning = special
	}
	if e.meaning == nil {
		e.meaning = statuses[status]
	}
	if e.meaning == nil && (status >= 500 || status == http.StatusOK) {
		e.meaning = ErrUnreachable // 200: the answer ended before it was whole
	}
	return e
}

// special returns the errors that carry facts, or nil.
func (s *S3) special(api smithy.APIError, answer *awshttp.ResponseError) error {
	var code, message string
	if api != nil {
		code, message = api.ErrorCode(), api.ErrorMessage()
	}
	header := http.Header{}
	if answer.Response != nil {
		header = answer.Response.Header
	}
	if code == "RequestTimeTooSkewed" {
		e := &ClockError{Local: time.Now()}
		if date, err := http.ParseTime(header.Get("Date")); err == nil {
			e.Store = date
		}
		return e
	}
	want := header.Get("X-Amz-Bucket-Region")
	if m := expecting.FindStringSubmatch(message); m != nil {
		want = m[1]
	}
	redirected := answer.HTTPStatusCode() == http.StatusMovedPermanently ||
		answer.HTTPStatusCode() == http.StatusTemporaryRedirect || code == "PermanentRedirect" ||
		code == "AuthorizationHeaderMalformed" || code == "IllegalLocationConstraintException" ||
		answer.HTTPStatusCode() == http.StatusBadRequest && want != "" && want != s.region
	if redirected {
		return &RegionError{Bucket: s.opts.Bucket, Asked: s.region, Want: want}
	}
	return nil
}

// server names who should have answered.
func (s *S3) server() string {
	if s.endpoint == "" {
		return "Amazon S3 in " + s.region
	}
	return s.endpoint
}

// isBroken says whether err is one of a connection, and not of a request or an answer.
func isBroken(err error) bool {
	var send *smithyhttp.RequestSendError
	var network net.Error
	return errors.As(err, &send) || errors.As(err, &network) || errors.Is(err, errStalled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// root returns the innermost error that is a whole sentence: what the layers of the SDK add says
// nothing to its caller.
func root(err error) error {
	for {
		switch err.(type) {
		case *net.OpError, *tls.CertificateVerificationError:
			return err
		}
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// isAbsent says whether the server knows neither the key nor a reason to say more.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNoBucket) }
