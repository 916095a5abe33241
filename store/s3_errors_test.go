package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// TestExplainTimeouts tells a server, or a server of names, that does not answer in time from a caller that does
// not want to wait: package net calls both a context.DeadlineExceeded.
func TestExplainTimeouts(t *testing.T) {
	s := &S3{endpoint: "https://store.example"}
	for _, broken := range []error{
		&net.DNSError{Err: context.DeadlineExceeded.Error(), Name: "store.example", IsTimeout: true, UnwrapErr: context.DeadlineExceeded},
		&net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded},
	} {
		sent := &url.Error{Op: "Get", URL: "https://store.example/", Err: broken}
		err := s.explain(&smithy.OperationError{ServiceID: "S3", OperationName: "ListObjectsV2", Err: &smithyhttp.RequestSendError{Err: sent}})
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "https://store.example: ") {
			t.Errorf("%v became %v", sent, err)
		}
	}
	denied := fmt.Errorf("%w: get credentials: %w", ErrDenied, context.DeadlineExceeded)
	if err := s.explain(denied); !errors.Is(err, ErrDenied) {
		t.Errorf("%v became %v", denied, err)
	}
	for _, ended := range []error{context.DeadlineExceeded, &smithy.CanceledError{Err: context.DeadlineExceeded}} {
		if err := s.explain(ended); err != context.DeadlineExceeded {
			t.Errorf("%v became %v", ended, err)
		}
	}
}
