package storetest

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/litestash/litestash/store"
)

// A Gathering is a [store.Store] that lets reads wait until there are enough of them at once, and lets all go on then:
// whoever reads one thing after the other waits for ever. Its methods may be called concurrently.
type Gathering struct {
	store.Store
	holds  func(o store.Object, off, n int64) bool
	enough int

	mu      sync.Mutex
	waiting int
	open    chan struct{} // closed when enough are waiting
}

// Gather returns a store that lets reads of s wait, those that holds says, until there are enough at once. It takes a
// context that ends.
func Gather(s store.Store, enough int, holds func(o store.Object, off, n int64) bool) *Gathering {
	return &Gathering{Store: s, holds: holds, enough: enough, open: make(chan struct{})}
}

// Open waits, if it is held, and opens.
func (g *Gathering) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	if g.holds(o, off, n) {
		if err := g.wait(ctx); err != nil {
			return nil, err
		}
	}
	return g.Store.Open(ctx, o, off, n)
}

func (g *Gathering) wait(ctx context.Context) error {
	g.mu.Lock()
	g.waiting++
	waiting := g.waiting
	if waiting == g.enough {
		close(g.open)
	}
	g.mu.Unlock()
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read %d waited for %d at once: %w", waiting, g.enough, ctx.Err())
	}
}

// Gathered reports whether there were enough.
func (g *Gathering) Gathered() bool {
	select {
	case <-g.open:
		return true
	default:
		return false
	}
}
