package retention_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/litestash/litestash/store"
)

// A versions is a store in memory that keeps versions, as buckets with versioning do: a deletion puts a marker on top.
// Some may be locked. It lists pages, each of which begins after the last version of the one before: if that has been
// deleted there is none, as with Versity Gateway.
type versions struct {
	mu     sync.Mutex
	keys   map[string][]version // the newest first
	last   int
	locked map[string]bool // by id
	page   int             // 0 is all
}

type version struct {
	store.Version
	text []byte
}

func newVersions() *versions {
	return &versions{keys: map[string][]version{}, locked: map[string]bool{}}
}

func (s *versions) put(key string, text []byte, marker bool) store.Object {
	s.last++
	v := version{store.Version{ID: fmt.Sprint(s.last), Marker: marker}, text}
	v.Object = store.Object{Key: key, Size: int64(len(text)), Stored: time.Now()}
	if !marker {
		v.ETag = fmt.Sprintf("%x", sha256.Sum256(text))
	}
	s.keys[key] = append([]version{v}, s.keys[key]...)
	return v.Object
}

// top returns what ordinary reads see of a key.
func (s *versions) top(key string) (version, bool) {
	all := s.keys[key]
	if len(all) == 0 || all[0].Marker {
		return version{}, false
	}
	return all[0], true
}

func (s *versions) Create(ctx context.Context, key string, body io.Reader, most int64) (store.Object, error) {
	text, err := io.ReadAll(body)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return store.Object{}, fmt.Errorf("create %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.top(key); taken {
		return store.Object{}, fmt.Errorf("create %s: %w", key, fs.ErrExist)
	}
	return s.put(key, text, false), nil
}

func (s *versions) Open(ctx context.Context, o store.Object, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	v, ok := s.top(o.Key)
	s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !ok:
		return nil, fmt.Errorf("open %s: %w", o.Key, fs.ErrNotExist)
	case o.ETag != "" && o.ETag != v.ETag:
		return nil, fmt.Errorf("open %s: %w", o.Key, store.ErrChanged)
	}
	return v.open(off, n)
}

func (v version) open(off, n int64) (io.ReadCloser, error) {
	if off < 0 {
		return nil, fmt.Errorf("open %s at %d", v.Key, off)
	}
	rest := v.text[min(off, v.Size):]
	if n >= 0 {
		rest = rest[:min(n, int64(len(rest)))]
	}
	return io.NopCloser(bytes.NewReader(rest)), nil
}

func (s *versions) List(ctx context.Context, q store.Query) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for v, err := range s.Versions(ctx, q) {
			if v.Newest && !v.Marker || err != nil {
				if !yield(v.Object, err) {
					return
				}
			}
		}
	}
}

func (s *versions) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.top(key); there && ctx.Err() == nil {
		s.put(key, nil, true)
	}
	return ctx.Err()
}

func (s *versions) Skew(ctx context.Context) (time.Duration, error) { return 0, ctx.Err() }

func (s *versions) Versioned(context.Context) (bool, error) { return true, nil }

func (s *versions) Versions(ctx context.Context, q store.Query) iter.Seq2[store.Version, error] {
	return func(yield func(store.Version, error) bool) {
		s.mu.Lock()
		keys := maps.Clone(s.keys)
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			rest, below := strings.CutPrefix(key, q.Prefix)
			if !below || key <= q.After || q.Shallow && strings.Contains(rest, "/") {
				continue
			}
			for i, v := range keys[key] {
				if s.page > 0 && i > 0 && i%s.page == 0 && s.isGone(keys[key][i-1].Version) {
					return
				}
				v.Newest = i == 0
				if err := ctx.Err(); err != nil {
					yield(store.Version{}, err)
					return
				}
				if !yield(v.Version, nil) {
					return
				}
			}
		}
		if err := ctx.Err(); err != nil {
			yield(store.Version{}, err)
		}
	}
}

func (s *versions) isGone(v store.Version) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(v) < 0
}

// find returns where a version is, or -1.
func (s *versions) find(v store.Version) int {
	return slices.IndexFunc(s.keys[v.Key], func(other version) bool { return other.ID == v.ID })
}

func (s *versions) OpenVersion(ctx context.Context, v store.Version, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(v)
	if i < 0 || v.Marker {
		return nil, fmt.Errorf("open version %s of %s: %w", v.ID, v.Key, fs.ErrNotExist)
	}
	return s.keys[v.Key][i].open(off, n)
}

func (s *versions) DeleteVersion(ctx context.Context, v store.Version) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locked[v.ID] {
		return &store.LockedError{Key: v.Key}
	}
	if i := s.find(v); i >= 0 {
		s.keys[v.Key] = slices.Concat(s.keys[v.Key][:i], s.keys[v.Key][i+1:])
	}
	if len(s.keys[v.Key]) == 0 {
		delete(s.keys, v.Key)
	}
	return nil
}

func (s *versions) CopyVersion(ctx context.Context, v store.Version) (store.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(v)
	if i < 0 || v.Marker {
		return store.Object{}, fmt.Errorf("copy version %s of %s: %w", v.ID, v.Key, fs.ErrNotExist)
	}
	return s.put(v.Key, s.keys[v.Key][i].text, false), nil
}
