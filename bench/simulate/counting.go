package main

import (
	"context"
	"io"
	"iter"
	"sync"

	"github.com/litestash/litestash/store"
)

// Requests are how often a store was asked, by what is paid for where requests are. A put may be several
// requests, if it is of more than one part.
type requests struct {
	Puts  int `json:"puts"`
	Gets  int `json:"gets"`
	Lists int `json:"lists"`
}

// A counting store counts.
type counting struct {
	store.Store
	mu sync.Mutex
	requests
}

func (c *counting) count(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

func (c *counting) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	c.count(&c.Puts)
	return c.Store.Create(ctx, key, body, most)
}

func (c *counting) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	c.count(&c.Gets)
	return c.Store.Open(ctx, o, off, n)
}

func (c *counting) List(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
	c.count(&c.Lists)
	return c.Store.List(ctx, q)
}
