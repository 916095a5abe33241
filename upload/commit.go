package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
)

// Unchanged returns the newest snapshot if the source looks as it did when that was taken, so that
// no image has to be taken; otherwise nil.
func (p *Push) Unchanged(ctx context.Context) (*Result, error) {
	if p.plan.base == nil || p.opts.Look == "" || p.opts.Look != p.history.facts.Look || !p.mayLeaveOut() {
		return nil, nil
	}
	return p.confirmUnchanged(ctx)
}

// mayLeaveOut reports whether a snapshot that is the same as the newest one need not be stored.
func (p *Push) mayLeaveOut() bool {
	newest, encrypted := p.history.newest, p.opts.Recipients != nil
	return !p.opts.EvenUnchanged && newest.Encrypted == encrypted && !HeartbeatDue(p.opts, *newest)
}

// confirmUnchanged returns the newest snapshot if the store holds all that it rests on. Otherwise it returns nil, and
// plans a full.
func (p *Push) confirmUnchanged(ctx context.Context) (*Result, error) {
	facts, lock := p.history.facts, p.opts.lock()
	why, err := p.look(ctx, facts.Path)
	if why == "" && err == nil {
		why, err = p.renewLocks(ctx, lock)
	}
	if err != nil {
		return nil, err
	}
	if why != "" {
		p.plan = newFull(why)
		return nil, nil
	}
	size := int64(facts.Pages) * int64(facts.PageSize)
	return &Result{Snapshot: *p.history.newest, Root: facts.Newest().Root, Size: size, Pages: facts.Pages, Lock: lock}, nil
}

// Commit stores the image that take takes, and returns when the store has confirmed it, and all that it rests on.
// The hashes of the image are to be made with the salt. The pages that are the same in the base need not be in it;
// without a base it is to be whole.
//
// It calls take again if what it stores has to be another snapshot than was planned: the image before is of no use
// then, and the last one once Commit has returned. An error of take is returned as it is.
//
// Any error means that success cannot be claimed. With one that is not of take comes what would have been the
// result's Damage: if what became of this snapshot is not known, the next push may find it there, and nothing amiss.
func (p *Push) Commit(ctx context.Context, take func(format.Salt, *Base) (Image, error)) (*Result, error) {
	for {
		img, err := take(p.plan.salt, p.plan.base)
		if err != nil {
			return nil, err
		}
		r, err := p.commit(ctx, img)
		if err != nil {
			return nil, errors.Join(err, p.damage)
		}
		if r != nil {
			r.Damage = p.damage
			return r, nil
		}
	}
}

// commit stores img. It returns nil if img cannot be used, since the plan is another by now.
func (p *Push) commit(ctx context.Context, img Image) (*Result, error) {
	if b := p.plan.base; b != nil && p.opts.Memory.Facts() != b.facts {
		return nil, errMemory
	}
	if p.plan.base != nil && p.newestIs(img) && p.mayLeaveOut() {
		r, err := p.confirmUnchanged(ctx)
		if r != nil {
			p.noteLook(img)
		}
		return r, err
	}
	lock := p.opts.lock()
	p.plan.path = slices.Clone(p.plan.path) // what is locked is noted in it
	runs, why, err := p.runs(img)
	if why == "" && err == nil {
		why, err = p.lockPath(ctx, p.plan.path, lock)
	}
	if err != nil {
		return nil, err
	}
	if why != "" {
		p.plan = newFull(why)
		return nil, nil
	}
	x := p.index(img, runs)
	o, err := p.create(ctx, x, img, runs, lock)
	if err != nil {
		return nil, err
	}
	p.stored = x.Snapshot
	if x.Kind() == format.Delta {
		why, err := p.look(ctx, p.plan.path)
		if err != nil {
			return nil, fmt.Errorf("make sure of what %v rests on: %w", x.Snapshot, err)
		}
		if why != "" {
			p.plan = newFull(why)
			p.plan.replaces = x.Snapshot
			return nil, nil
		}
	}
	p.remember(x, o, img, lock)
	p.log.Debug("snapshot stored", "key", o.Key, "size", o.Size, "root", x.Root)
	return &Result{
		Snapshot: catalog.Snapshot{Key: p.keyOf(x), Object: o},
		Root:     x.Root,
		Size:     x.Size(),
		Pages:    x.Pages,
		Index:    x,
		Why:      p.plan.why,
		Lock:     lock,
	}, nil
}

// newestIs reports whether img is what the newest snapshot is.
func (p *Push) newestIs(img Image) bool {
	return p.history.facts.Newest().Root == img.Root()
}

// runs returns the pages of img that have to be stored, or why all of them have to be after all.
func (p *Push) runs(img Image) (_ []format.Run, why string, _ error) {
	if p.plan.base == nil {
		if img.Pages() == 0 {
			return nil, "", nil
		}
		return []format.Run{{First: 1, Count: img.Pages()}}, "", nil
	}
	runs, carried, err := changed(img, p.plan.base)
	if err != nil {
		return nil, "", err
	}
	if damage := p.opts.Memory.Check(); damage != nil {
		p.log.Warn("what was remembered of earlier pushes is damaged and not used", "err", damage)
		return nil, whyForgotten, nil
	}
	switch {
	case p.history.facts.PageSize != img.PageSize():
		return nil, whyPageSize, nil
	case 2*int64(carried) > int64(img.Pages()):
		return nil, fmt.Sprintf("%d of %d pages have changed", carried, img.Pages()), nil
	}
	return runs, "", nil
}

// changed returns the pages of img that base does not have, and how many these are.
func changed(img Image, base *Base) (runs []format.Run, carried uint32, err error) {
	const most = 1 << 12
	hashes, same := make([]format.PageHash, most), make([]bool, most)
	for done := uint32(0); done < img.Pages(); {
		n := min(most, img.Pages()-done)
		if err := img.ReadHashes(done+1, hashes[:n]); err != nil {
			return nil, 0, fmt.Errorf("read page hashes: %w", err)
		}
		if err := base.Same(done+1, hashes[:n], same[:n]); err != nil {
			return nil, 0, err
		}
		for i := range n {
			if same[i] {
				continue
			}
			carried++
			page := done + i + 1
			if last := len(runs) - 1; last >= 0 && runs[last].First+runs[last].Count == page {
				runs[last].Count++
			} else {
				runs = append(runs, format.Run{First: page, Count: 1})
			}
		}
		done += n
	}
	return runs, carried, nil
}

func (p *Push) index(img Image, runs []format.Run) *format.Index {
	at := format.TimeOf(img.Taken())
	if newest := p.history.newest; newest != nil {
		at = max(at, newest.Name.Time+1)
	}
	if replaces := p.plan.replaces; !replaces.IsZero() {
		at = max(at, replaces.Time+1) // or the newest snapshot might still be the one without its path
	}
	x := &format.Index{
		Header: format.Header{
			Database: p.opts.Database,
			Snapshot: format.Name{Time: at, ID: format.NewID(p.history.lineage)},
			PageSize: img.PageSize(),
			Pages:    img.Pages(),
		},
		Salt:     p.plan.salt,
		Root:     img.Root(),
		Replaces: p.plan.replaces,
		Source:   p.opts.Source,
		Creator:  p.opts.Creator,
		Tags:     p.opts.Tags,
	}
	for _, r := range runs {
		x.Carried += r.Count
	}
	if path := p.plan.path; len(path) > 0 {
		parent := path[len(path)-1]
		x.Parent, x.ParentRoot = parent.In(x.Database).Name, &parent.Root
		for _, l := range path {
			x.Chain = append(x.Chain, l.Link)
		}
	}
	return x
}

// keyOf returns the key of the snapshot that x describes.
func (p *Push) keyOf(x *format.Index) format.Key {
	k := format.FullKey(x.Database, x.Snapshot)
	k.Encrypted = p.opts.Recipients != nil
	if x.Kind() == format.Delta {
		k.Kind, k.HasParent, k.Parent = format.Delta, true, x.Parent.ID
	}
	return k
}

// create streams the encoded image to the store, and locks it there if anything is to be locked.
func (p *Push) create(ctx context.Context, x *format.Index, img Image, runs []format.Run, lock store.Lock) (store.Object, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	sent := make(chan int64, 1)
	go func() {
		counted := &countingWriter{w: w}
		err := p.encode(ctx, counted, x, img, runs)
		w.CloseWithError(err) // nil is io.EOF
		if err != nil {
			counted.n = -1 // it was not all, whatever the store made of it
		}
		sent <- counted.n
	}()
	key, most := p.keyOf(x).String(), mostStored(x)
	if p.opts.Recipients != nil {
		most = seal.Most(most)
	}
	var o store.Object
	var err error
	if p.locker != nil {
		o, err = p.locker.CreateLocked(ctx, key, r, most, lock)
	} else {
		o, err = p.st.Create(ctx, key, r, most)
	}
	r.Close() // unblocks the encoder if the store gave up
	cancel()
	n := <-sent
	if err != nil {
		return store.Object{}, fmt.Errorf("store the snapshot: %w", err)
	}
	if o.Size != n {
		return store.Object{}, fmt.Errorf("store the snapshot: %s has %d bytes, which is not what was sent: %w", o.Key, o.Size, format.ErrDamaged)
	}
	return o, nil
}

// encode writes the object of an image to w, encrypted if it is to be.
func (p *Push) encode(ctx context.Context, w io.Writer, x *format.Index, img Image, runs []format.Run) error {
	if p.opts.Recipients == nil {
		return encode(ctx, w, x, img, runs, p.opts.Meter)
	}
	sealed, err := p.opts.Recipients.Encrypt(w)
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	if err := encode(ctx, sealed, x, img, runs, p.opts.Meter); err != nil {
		return err
	}
	return sealed.Close()
}

// A countingWriter counts what w took.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// remember adds the snapshot to the memory. What cannot be remembered costs the next push some
// time, and nothing else.
func (p *Push) remember(x *format.Index, o store.Object, img Image, lock store.Lock) {
	m := p.opts.Memory
	k := p.keyOf(x)
	link := state.Link{Link: format.Link{Key: k.Base(), Size: o.Size}, Root: x.Root, ETag: o.ETag, Lock: remembered(lock)}
	if p.opts.Recipients != nil {
		link.Readers = p.opts.Recipients.Readers().String()
	}
	facts := &state.Facts{
		Path:     append(slices.Clip(p.plan.path), link),
		Salt:     p.plan.salt,
		PageSize: x.PageSize,
		Pages:    x.Pages,
		Look:     img.Look(),
		Read:     p.lastRead(img),

		Illegible: p.illegible,
	}
	b := [state.Spans]bool{true, true, true}
	if x.Kind() == format.Delta {
		b = begins(p.history.newest.Name.Time, x.Snapshot.Time)
	}
	if err := m.Save(facts, b, img.ReadHashes); err != nil {
		p.log.Warn("the snapshot is stored but cannot be remembered", "key", o.Key, "err", err)
	}
}

// lastRead returns when the source was last read as a whole.
func (p *Push) lastRead(img Image) time.Time {
	if img.Whole() || p.history.facts == nil {
		return img.Taken()
	}
	return p.history.facts.Read
}

// noteLook adds to the memory what the source looks like in img, while the newest snapshot is what it
// holds.
func (p *Push) noteLook(img Image) {
	if err := p.opts.Memory.SetLook(img.Look(), p.lastRead(img)); err != nil {
		p.log.Warn("what the database looks like cannot be remembered", "err", err)
	}
}
