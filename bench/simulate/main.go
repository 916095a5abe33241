// Command simulate stores a long history of a database by a clock that is not the real one, so that a day
// of snapshots takes minutes.
//
//	simulate --store URL --base app.db --start 2026-11-22T00:00:00Z --every 1s <changes
//
// It goes through the packages as litestash watch does, but for the copy of the database: that is in memory,
// and standard input says what each step changes in it. A step is the number of pages that it changes and the
// size of the database in pages then, both as 32 bits in little-endian order, and then each page: its number,
// also 32 bits, and what is in it. There is a snapshot before the first step and after each, and a line of
// JSON for each of them.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/upload"
)

func main() {
	var (
		storeURL = flag.String("store", "", "where to keep the snapshots")
		base     = flag.String("base", "", "the database, as it is before the first step")
		name     = flag.String("name", "app.db", "what to keep them under")
		start    = flag.String("start", "", "when the first is taken, as RFC 3339")
		every    = flag.Duration("every", time.Second, "time between two")
	)
	flag.Parse()
	if err := run(context.Background(), *storeURL, *base, *name, *start, *every); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, storeURL, base, name, start string, every time.Duration) error {
	at, err := time.Parse(time.RFC3339, start)
	if err != nil {
		return err
	}
	inner, err := store.Open(ctx, storeURL, store.Options{AllowNew: true})
	if err != nil {
		return err
	}
	img, err := load(base)
	if err != nil {
		return err
	}
	memory, err := state.New("")
	if err != nil {
		return err
	}
	defer memory.Close()
	h := &history{
		st:   &counting{Store: inner},
		img:  img,
		opts: upload.Options{Database: name, Source: format.Source{Host: "bench", Path: "/" + name}, Memory: memory},
	}
	steps, out := bufio.NewReaderSize(os.Stdin, 1<<20), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for ; ; at = at.Add(every) {
		img.taken = at
		r, err := h.push(ctx)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(r); err != nil {
			return err
		}
		if err := img.step(steps); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a step: %w", err)
		}
	}
}

// A history is what has been pushed so far.
type history struct {
	st        *counting
	img       *image
	opts      upload.Options
	confirmed time.Time // when all that the newest snapshot rests on was looked for
}

// A pushed is what is told of a snapshot.
type pushed struct {
	Snapshot string      `json:"snapshot"`
	Root     format.Root `json:"root"`
	Kind     string      `json:"kind"`
	Why      string      `json:"why,omitempty"` // it is a full
	Chain    int         `json:"chain"`         // objects that it rests on, itself included
	Carried  uint32      `json:"carried"`       // pages
	Stored   int64       `json:"stored"`        // bytes
	requests             // of this push
}

// push stores a snapshot of what the image is now. As watch does, it trusts that what the snapshot before
// rests on is still there, but for once an hour.
func (h *history) push(ctx context.Context) (*pushed, error) {
	h.st.requests = requests{}
	h.opts.Now = h.img.Taken
	if h.img.taken.Sub(h.confirmed) >= time.Hour {
		h.opts.Confirmed, h.confirmed = nil, h.img.taken
	}
	p, err := upload.Begin(ctx, h.st, h.opts)
	if err != nil {
		return nil, err
	}
	r, err := p.Commit(ctx, func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
		h.img.hashWith(salt)
		return h.img, nil
	})
	if err == nil {
		err = r.Damage
	}
	if err != nil {
		return nil, err
	}
	if r.Index == nil {
		return nil, errors.New("a step changed nothing")
	}
	h.opts.Confirmed = &r.Snapshot
	return &pushed{
		Snapshot: r.Snapshot.Name.String(),
		Root:     r.Root,
		Kind:     r.Snapshot.Kind.String(),
		Why:      r.Why,
		Chain:    len(r.Index.Chain) + 1,
		Carried:  r.Index.Carried,
		Stored:   r.Snapshot.Object.Size,
		requests: h.st.requests,
	}, nil
}
