package transfer

import (
	"context"
	"io"

	"github.com/litestash/litestash/seal"
)

// comparedAt is how many bytes at the end of encrypted objects are compared.
const comparedAt = 64 << 10

// bringSealed copies an encrypted snapshot, or compares it with what is there. Without an identity nothing can
// be seen of it but what [seal.Examine] sees.
func (t *transfer) bringSealed(ctx context.Context, s *step) error {
	if s.there != nil {
		return t.compare(ctx, s, comparedAt)
	}
	if err := seal.Examine(ctx, t.from, s.Object); err != nil {
		return err
	}
	return t.create(ctx, s, io.NopCloser)
}
