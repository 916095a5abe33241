package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/store"
)

// open reads the settings and finds credentials.
func (e *examination) open(ctx context.Context) (finding, error) {
	st, err := e.connect(ctx)
	if err != nil {
		return finding{}, err
	}
	e.st = st
	return finding{OK, fmt.Sprint(st)}, nil
}

// reach lists a little, which takes a way to the store, credentials that it knows and the bucket.
func (e *examination) reach(ctx context.Context) (finding, error) {
	const enough = 100
	for o, err := range e.st.List(ctx, store.Query{}) {
		if err != nil {
			return finding{}, err
		}
		if e.seen = append(e.seen, o.Key); len(e.seen) == enough {
			break
		}
	}
	return finding{OK, "the store answers and lets us in"}, nil
}

// clock compares the clocks: snapshots are named after this host's.
func (e *examination) clock(ctx context.Context) (finding, error) {
	if _, ok := e.st.(*store.Dir); ok && e.opts.ReadOnly {
		return finding{Skipped, "to tell the time, a file would have to be written"}, nil
	}
	skew, err := e.st.Skew(ctx)
	if err != nil {
		return finding{}, err
	}
	now := time.Now()
	text := fmt.Sprintf("this host's clock says %s, the store's %s, %s apart",
		now.UTC().Format(time.DateTime), now.Add(skew).UTC().Format(time.DateTime), human.Duration(skew.Abs()))
	if err := catalog.CheckClock(now, skew); err != nil {
		return finding{}, err
	}
	if skew.Abs() > catalog.MaxSkew/5 {
		return finding{Warning, text + fmt.Sprintf("; push refuses more than %s", human.Duration(catalog.MaxSkew))}, nil
	}
	return finding{OK, text}, nil
}

// listing lists again from the middle of what was seen, and in one folder.
func (e *examination) listing(ctx context.Context) (finding, error) {
	if len(e.seen) == 0 {
		return finding{Skipped, "nothing is stored yet"}, nil
	}
	if !slices.IsSorted(e.seen) {
		return finding{}, errors.New("the store does not list in the order of the keys")
	}
	middle := e.seen[len(e.seen)/2]
	after, err := e.first(ctx, store.Query{After: middle})
	if err != nil {
		return finding{}, err
	}
	if next := e.seen[len(e.seen)/2+1:]; after != "" && after <= middle || len(next) > 0 && (after == "" || after > next[0]) {
		return finding{}, fmt.Errorf("the store lists %q as the first after %q", after, middle)
	}
	folder := middle[:strings.LastIndexByte(middle, '/')+1]
	inside, err := e.first(ctx, store.Query{Prefix: folder, Shallow: true})
	if err != nil {
		return finding{}, err
	}
	if inside == "" || !strings.HasPrefix(inside, folder) || strings.Contains(inside[len(folder):], "/") {
		return finding{}, fmt.Errorf("the store lists %q as the first in %q", inside, folder)
	}
	return finding{OK, "in order, from a key on, and one folder alone"}, nil
}

// first returns the first key that the query selects; it is empty if none is.
func (e *examination) first(ctx context.Context, q store.Query) (string, error) {
	for o, err := range e.st.List(ctx, q) {
		return o.Key, err
	}
	return "", nil
}
