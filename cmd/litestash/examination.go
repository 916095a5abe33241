package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/store"
)

// An examination is what doctor's steps know of the store and tell each other.
type examination struct {
	p        *program
	readOnly bool
	connect  func(context.Context) (store.Store, error)
	st       store.Store
	partSize int64 // bytes that the store sends at once

	passed map[string]bool // by step
	count  map[string]int  // by outcome
	code   int             // exit code of the first failure

	seen  []string // some of the keys that the store listed
	rules []store.LifecycleRule

	folder  string // all that is written is in it
	made    []string
	objects map[string]store.Object // what is known to be stored
}

func newExamination(p *program, readOnly bool) *examination {
	return &examination{
		p: p, readOnly: readOnly, connect: p.openStore,
		passed: map[string]bool{}, count: map[string]int{}, objects: map[string]store.Object{},
		folder: doctorFolder + strings.ToLower(rand.Text()) + "/",
	}
}

// doctorFolder is what the keys of all that examinations store begin with.
const doctorFolder = ".litestash/doctor/"

// bucket returns the store if it is in a bucket, with settings of its own.
func (e *examination) bucket() (*store.S3, bool) {
	b, ok := e.st.(*store.S3)
	return b, ok
}

func (e *examination) checks() []check {
	return []check{
		{name: "open", do: e.open},
		{name: "reach", needs: "open", permission: "s3:ListBucket", do: e.reach},
		{name: "clock", needs: "reach", do: e.clock},
		{name: "listing", needs: "reach", permission: "s3:ListBucket", do: e.listing},
		{name: "create", needs: "reach", writes: true, permission: "s3:PutObject", do: e.create},
		{name: "create-only", needs: "create", writes: true, do: e.createOnly},
		{name: "read", needs: "create", writes: true, permission: "s3:GetObject", do: e.read},
		{name: "parts", needs: "create", writes: true, permission: "s3:PutObject and s3:GetObject", do: e.parts},
		{name: "ranges", needs: "parts", writes: true, permission: "s3:GetObject", do: e.ranges},
		{name: "new objects", needs: "create", writes: true, permission: "s3:ListBucket", do: e.listNew},
		{name: "delete", needs: "create", writes: true, permission: "s3:DeleteObject", do: e.remove},
		{name: "gone", needs: "delete", writes: true, do: e.gone},
		{name: "lifecycle", needs: "reach", bucket: true, do: e.lifecycle},
		{name: "versions", needs: "reach", bucket: true, do: e.versions},
		{name: "locks", needs: "reach", bucket: true, do: e.locks},
	}
}

// open reads the settings and finds credentials.
func (e *examination) open(ctx context.Context) (finding, error) {
	st, err := e.connect(ctx)
	if err != nil {
		return finding{}, err
	}
	e.st, e.partSize = st, cmp.Or(e.partSize, store.DefaultPartSize)
	if opts, err := store.ParseS3(e.p.storeURL); err == nil && opts.PartSize > 0 {
		e.partSize = opts.PartSize
	}
	return finding{text: fmt.Sprint(st)}, nil
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
	return finding{text: "the store answers and lets us in"}, nil
}

// clock compares the clocks: snapshots are named after this host's.
func (e *examination) clock(ctx context.Context) (finding, error) {
	if _, ok := e.st.(*store.Dir); ok && e.readOnly {
		return finding{text: "to tell the time, a file would have to be written", skipped: true}, nil
	}
	skew, err := e.st.Skew(ctx)
	if err != nil {
		return finding{}, err
	}
	now := time.Now()
	text := fmt.Sprintf("this host's clock says %s, the store's %s, %s apart",
		now.UTC().Format(time.DateTime), now.Add(skew).UTC().Format(time.DateTime), ui.Duration(skew.Abs()))
	if err := catalog.CheckClock(now, skew); err != nil {
		return finding{}, err
	}
	if skew.Abs() > catalog.MaxSkew/5 {
		return finding{warnings: []string{text + fmt.Sprintf("; push refuses more than %s", ui.Duration(catalog.MaxSkew))}}, nil
	}
	return finding{text: text}, nil
}

// listing lists again from the middle of what was seen, and in one folder.
func (e *examination) listing(ctx context.Context) (finding, error) {
	if len(e.seen) == 0 {
		return finding{text: "nothing is stored yet", skipped: true}, nil
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
	return finding{text: "in order, from a key on, and one folder alone"}, nil
}

// first returns the first key that the query selects; it is empty if none is.
func (e *examination) first(ctx context.Context, q store.Query) (string, error) {
	for o, err := range e.st.List(ctx, q) {
		return o.Key, err
	}
	return "", nil
}

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
	return finding{text: "two small objects in " + e.folder}, nil
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
		return finding{warnings: []string{"the store ignores create-only; names are unique, so nothing rests on it"}}, nil
	case inBucket && !b.CreateOnly():
		return finding{warnings: []string{"without create-only, a look before each write stands in for it; names are unique, so nothing rests on it"}}, nil
	}
	return finding{text: "an object that exists is not overwritten"}, nil
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
	return finding{text: "what was stored, as it was stored"}, nil
}

// largeBody returns what the large object consists of, which compression cannot make smaller.
func largeBody() io.Reader {
	return mathrand.NewChaCha8([32]byte([]byte("litestash doctor's large object.")))
}

// largeSize is enough for two parts.
func (e *examination) largeSize() int64 { return e.partSize + 64<<10 }

// parts stores an object in parts and reads all of it back.
func (e *examination) parts(ctx context.Context) (finding, error) {
	size, want, start := e.largeSize(), sha256.New(), time.Now()
	up, down := new(progress.Meter), new(progress.Meter)
	stop := e.p.ui.Bar("store "+largeName, up)
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
	stop = e.p.ui.Bar("read "+largeName, down)
	down.Expect(size)
	n, err := io.Copy(got, counting{r, down})
	stop()
	if err := errors.Join(err, r.Close()); err != nil {
		return finding{}, err
	}
	if n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return finding{}, fmt.Errorf("the store gives %d other bytes than the %d that were stored in %s", n, size, e.folder+largeName)
	}
	rate := func(d time.Duration) string { return ui.Rate(float64(size) / d.Seconds()) }
	return finding{text: fmt.Sprintf("%s stored at %s, read back at %s", ui.Bytes(size), rate(stored.Sub(start)), rate(time.Since(stored)))}, nil
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
	for _, span := range []struct{ off, n int64 }{{0, 1}, {e.partSize - n/2, n}, {e.largeSize() - n, n}} {
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
	return finding{text: "the first byte, the border of two parts, the end"}, nil
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
	return finding{text: "are listed at once, in order"}, nil
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
		return finding{text: "all that was stored"}, err
	}
	return finding{text: "all that was stored, and " + counted(left, "object") + " that another examination was not there any more to delete"}, nil
}

// removeLeft removes what examinations that were killed have left, and says how many objects. One that is under way is not
// as old as that.
func (e *examination) removeLeft(ctx context.Context) (n int, err error) {
	const dead = 24 * time.Hour
	skew, err := e.st.Skew(ctx)
	if err != nil {
		return 0, err
	}
	if b, ok := e.bucket(); ok {
		if _, err := b.Sweep(ctx, doctorFolder, dead); err != nil {
			e.p.log.Debug("uploads that were left cannot be swept", "err", err) // not every role may, and this is not what is asked
		}
	}
	for o, err := range e.st.List(ctx, store.Query{Prefix: doctorFolder}) {
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
	return finding{text: "what was deleted is neither listed nor read"}, nil
}

// lifecycle looks for rules of the bucket that act on snapshots.
func (e *examination) lifecycle(ctx context.Context) (finding, error) {
	b, _ := e.bucket()
	rules, err := b.Lifecycle(ctx)
	if errors.Is(err, store.ErrDenied) {
		return finding{text: "these credentials may not read the bucket's rules; make sure that none deletes snapshots", skipped: true}, nil
	}
	if err != nil {
		return finding{}, err
	}
	e.rules = rules
	f := finding{text: "no rule of the bucket deletes or archives snapshots"}
	for _, r := range rules {
		if r.Expires {
			f.warnings = append(f.warnings, fmt.Sprintf("rule %q deletes objects under %q %s, snapshots included", r.ID, r.Prefix, when(r)))
		}
		if r.Archives != "" {
			f.warnings = append(f.warnings, fmt.Sprintf("rule %q moves objects under %q to %s, from where they cannot be read", r.ID, r.Prefix, r.Archives))
		}
	}
	return f, nil
}

// when tells when a rule deletes.
func when(r store.LifecycleRule) string {
	if !r.Date.IsZero() {
		return "on " + r.Date.UTC().Format(time.DateOnly)
	}
	return fmt.Sprintf("after %d days", r.Days)
}

// versions looks whether the bucket keeps what is deleted, and for how long.
func (e *examination) versions(ctx context.Context) (finding, error) {
	b, _ := e.bucket()
	kept, err := b.Versioned(ctx)
	if errors.Is(err, store.ErrDenied) {
		return finding{text: "these credentials may not ask whether the bucket keeps versions", skipped: true}, nil
	}
	if err != nil {
		return finding{}, err
	}
	limited := slices.ContainsFunc(e.rules, func(r store.LifecycleRule) bool { return r.ExpiresOld })
	switch {
	case !kept:
		return finding{text: "the bucket keeps none: what is deleted is gone"}, nil
	case limited:
		return finding{text: "the bucket keeps what is deleted until a rule removes it"}, nil
	}
	return finding{warnings: []string{"the bucket keeps what is deleted, this examination's objects included, and no rule of it was found that ever removes it"}}, nil
}

// locks looks whether the bucket can lock objects, and whether it does so by itself.
func (e *examination) locks(ctx context.Context) (finding, error) {
	b, _ := e.bucket()
	rules, err := b.LockRules(ctx)
	switch {
	case errors.Is(err, store.ErrDenied):
		return finding{text: "these credentials may not ask whether the bucket can lock objects", skipped: true}, nil
	case err != nil:
		return finding{}, err
	case !rules.Enabled:
		return finding{text: "the bucket was made without Object Lock: push cannot --lock-for"}, nil
	case rules.Mode == "":
		return finding{text: "the bucket has Object Lock, for push --lock-for, and locks nothing by itself"}, nil
	}
	return finding{warnings: []string{fmt.Sprintf("the bucket locks each object for %d days by itself, in %s mode; what a snapshot rests on is not locked for longer by that, but by push --lock-for",
		int(rules.For.Hours()/24), rules.Mode)}}, nil
}
