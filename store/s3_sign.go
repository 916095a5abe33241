package store

import (
	"fmt"

	"github.com/aws/smithy-go/middleware"
)

// signNoEncoding makes the SDK set Accept-Encoding after it has signed the request and not before.
// Google's servers append to that header before they check the signature
// (https://github.com/aws/aws-sdk-go-v2/issues/1816). It has to be sent all the same: net/http
// would ask for gzip without it.
func signNoEncoding(stack *middleware.Stack) error {
	const setter, signer = "DisableAcceptEncodingGzip", "Signing"
	set, err := stack.Finalize.Remove(setter)
	if err != nil {
		return fmt.Errorf("find what sets Accept-Encoding: %w", err)
	}
	return stack.Finalize.Insert(set, signer, middleware.After)
}
