package store

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// firstPause is the longest pause while nobody has ever listened at the server's address: five
// attempts then take two seconds.
const firstPause = 500 * time.Millisecond

// A retryer is the SDK's, except that it is quick to tell of an address that is likely wrong. One
// whose server has answered before is that of a server which is being restarted, and worth all
// the time there is. A host's name that nobody knows is not tried again at all, by the SDK's rules.
type retryer struct {
	*retry.Standard
	answered *atomic.Bool // the server has answered a request
}

// IsErrorRetryable says no where a certificate cannot be verified: no other try will change that.
func (r retryer) IsErrorRetryable(err error) bool {
	var cert *tls.CertificateVerificationError
	return !errors.As(err, &cert) && r.Standard.IsErrorRetryable(err)
}

func (r retryer) RetryDelay(attempt int, cause error) (time.Duration, error) {
	delay, err := r.Standard.RetryDelay(attempt, cause)
	if !r.answered.Load() && errors.Is(cause, syscall.ECONNREFUSED) {
		delay = min(delay, firstPause)
	}
	return delay, err
}
