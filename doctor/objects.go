package doctor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/store"
)

// What is written. The names are in the order in which they must be listed.
const (
	largeName = "large"
	smallName = "small"
	innerName = "sub/small"
)

var smallBody = []byte("litestash doctor was here and will be gone in a moment\n")

// put stores an object under a name in the folder. Once it was tried, it has to be cleaned up.
func (e *examination) put(ctx context.Context, name string, body io.Reader, size int64) error {
	key := e.folder + name
	if !slices.Contains(e.made, key) {
		e.made = append(e.made, key)
	}
	o, err := e.st.Create(ctx, key, body, size)
	if err != nil {
		return err
	}
	if o.Key != key || o.Size != size {
		return fmt.Errorf("the store says that %s has %d bytes, and %d were sent", o.Key, o.Size, size)
	}
	e.objects[name] = o
	return nil
}

func (e *examination) putSmall(ctx context.Context, name string, body []byte) error {
	return e.put(ctx, name, bytes.NewReader(body), int64(len(body)))
}

func (e *examination) create(ctx context.Context) (finding, error) {
	for _, name := range []string{smallName, innerName} {
		if err := e.putSmall(ctx, name, smallBody); err != nil {
			return finding{}, err
		}
	}
	return finding{OK, "two small objects in " + e.folder}, nil
}

// createOnly creates what there is already. The same bytes are sent, so that it does no harm if
// the store takes them.
func (e *examination) createOnly(ctx context.Context) (finding, error) {
	err := e.putSmall(ctx, smallName, smallBody)
	b, inBucket := e.bucket()
	switch {
	case err != nil && !errors.Is(err, fs.ErrExist):
		return finding{}, err
	case err == nil:
		return finding{Warning, "the store ignores create-only; names are unique, so nothing rests on it"}, nil
	case inBucket && !b.CreateOnly():
		return finding{Warning, "without create-only, a look before each write stands in for it; names are unique, so nothing rests on it"}, nil
	}
	return finding{OK, "an object that exists is not overwritten"}, nil
}

// get reads a range of an object and compares it.
func (e *examination) get(ctx context.Context, name string, off int64, want []byte) error {
	r, err := e.st.Open(ctx, e.objects[name], off, int64(len(want)))
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("the store gives other bytes than were stored for %d bytes of %s from %d on", len(want), e.folder+name, off)
	}
	return nil
}

func (e *examination) read(ctx context.Context) (finding, error) {
	if err := e.get(ctx, smallName, 0, smallBody); err != nil {
		return finding{}, err
	}
	return finding{OK, "what was stored, as it was stored"}, nil
}

// largeBody returns what the large object consists of, which compression cannot make smaller.
func largeBody() io.Reader {
	return rand.NewChaCha8([32]byte([]byte("litestash doctor's large object.")))
}

// largeSize is enough for two parts.
func (e *examination) largeSize() int64 { return e.opts.PartSize + 64<<10 }

// parts stores an object in parts and reads all of it back.
func (e *examination) parts(ctx context.Context) (finding, error) {
	size, want, start := e.largeSize(), sha256.New(), time.Now()
	up, down := new(progress.Meter), new(progress.Meter)
	stop := e.opts.Bar("store "+largeName, up)
	up.Expect(size)
	err := e.put(ctx, largeName, io.TeeReader(counting{io.LimitReader(largeBody(), size), up}, want), size)
	stop()
	if err != nil {
		return finding{}, err
	}
	stored := time.Now()
	got := sha256.New()
	r, err := e.st.Open(ctx, e.objects[largeName], 0, -1)
	if err != nil {
		return finding{}, err
	}
	stop = e.opts.Bar("read "+largeName, down)
	down.Expect(size)
	n, err := io.Copy(got, counting{r, down})
	stop()
	if err := errors.Join(err, r.Close()); err != nil {
		return finding{}, err
	}
	if n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return finding{}, fmt.Errorf("the store gives %d other bytes than the %d that were stored in %s", n, size, e.folder+largeName)
	}
	rate := func(d time.Duration) string { return human.Rate(float64(size) / d.Seconds()) }
	return finding{OK, fmt.Sprintf("%s stored at %s, read back at %s", human.Bytes(size), rate(stored.Sub(start)), rate(time.Since(stored)))}, nil
}

// counting counts what is read.
type counting struct {
	io.Reader
	meter *progress.Meter
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.meter.Add(int64(n))
	return n, err
}

// ranges reads the first byte, across the border of two parts, and the last bytes.
func (e *examination) ranges(ctx context.Context) (finding, error) {
	const n = 1000
	for _, span := range []struct{ off, n int64 }{{0, 1}, {e.opts.PartSize - n/2, n}, {e.largeSize() - n, n}} {
		body := largeBody()
		if _, err := io.CopyN(io.Discard, body, span.off); err != nil {
			return finding{}, err
		}
		want := make([]byte, span.n)
		if _, err := io.ReadFull(body, want); err != nil {
			return finding{}, err
		}
		if err := e.get(ctx, largeName, span.off, want); err != nil {
			return finding{}, err
		}
	}
	return finding{OK, "the first byte, the border of two parts, the end"}, nil
}

// listNew lists the objects that were stored a moment ago, all of them, from one on, and without
// those in folders.
func (e *examination) listNew(ctx context.Context) (finding, error) {
	names := slices.Sorted(maps.Keys(e.objects))
	shallow := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.Contains(n, "/") })
	for _, ask := range []struct {
		q    store.Query
		want []string
	}{
		{store.Query{Prefix: e.folder}, names},
		{store.Query{Prefix: e.folder, After: e.folder + names[0]}, names[1:]},
		{store.Query{Prefix: e.folder, Shallow: true}, shallow},
	} {
		var got []string
		for o, err := range e.st.List(ctx, ask.q) {
			if err != nil {
				return finding{}, err
			}
			name := strings.TrimPrefix(o.Key, e.folder)
			if want := e.objects[name].Size; o.Size != want {
				return finding{}, fmt.Errorf("the store lists %s with %d bytes, and it has %d", o.Key, o.Size, want)
			}
			got = append(got, name)
		}
		if !slices.Equal(got, ask.want) {
			return finding{}, fmt.Errorf("the store lists %q in %s, and it should be %q", got, e.folder, ask.want)
		}
	}
	return finding{OK, "are listed at once, in order"}, nil
}

// remove deletes all that was made.
func (e *examination) remove(ctx context.Context) (finding, error) {
	for len(e.made) > 0 {
		if err := e.st.Delete(ctx, e.made[0]); err != nil {
			return finding{}, err
		}
		e.made = e.made[1:]
	}
	left, err := e.removeLeft(ctx)
	if err != nil || left == 0 {
		return finding{OK, "all that was stored"}, err
	}
	objects := "1 object"
	if left > 1 {
		objects = human.Count(left) + " objects"
	}
	return finding{OK, "all that was stored, and " + objects + " that another examination was not there any more to delete"}, nil
}

// removeLeft removes what examinations that were killed have left, and says how many objects. One that is under way is not
// as old as that.
func (e *examination) removeLeft(ctx context.Context) (n int64, err error) {
	const dead = 24 * time.Hour
	skew, err := e.st.Skew(ctx)
	if err != nil {
		return 0, err
	}
	if b, ok := e.bucket(); ok {
		if _, err := b.Sweep(ctx, Prefix, dead); err != nil {
			e.opts.Logger.Debug("uploads that were left cannot be swept", "err", err) // not every role may, and this is not what is asked
		}
	}
	for o, err := range e.st.List(ctx, store.Query{Prefix: Prefix}) {
		if err != nil {
			return n, err
		}
		if time.Now().Add(skew).Sub(o.Stored) < dead {
			continue
		}
		if err := e.st.Delete(ctx, o.Key); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// gone looks for what was deleted.
func (e *examination) gone(ctx context.Context) (finding, error) {
	key, err := e.first(ctx, store.Query{Prefix: e.folder})
	if err != nil {
		return finding{}, err
	}
	if key != "" {
		return finding{}, fmt.Errorf("the store lists %s after it was deleted", key)
	}
	r, err := e.st.Open(ctx, e.objects[smallName], 0, -1)
	switch {
	case err == nil:
		return finding{}, errors.Join(fmt.Errorf("the store still has %s after it was deleted", e.folder+smallName), r.Close())
	case !errors.Is(err, fs.ErrNotExist):
		return finding{}, err
	}
	return finding{OK, "what was deleted is neither listed nor read"}, nil
}
