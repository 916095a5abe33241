// Package upload turns the image of a database into a snapshot in a store: it decides what the
// snapshot builds on, encodes it, streams it and makes sure that it is there. Creating the object
// is the commit; until then nothing is visible.
//
// An upload has two steps, because what can be refused should be refused before the database is
// copied, and because what it builds on decides what has to be copied: [Begin] looks at the store,
// [Push.Commit] stores an image.
package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
)

// Options say what is uploaded. Database, Source and Memory are required.
type Options struct {
	Database string            // as [format.ParseDatabase] returns it
	Source   format.Source     // where the database is
	Adopt    bool              // take the name over from another source
	Full     bool              // store every page
	Tags     map[string]string // attached to the snapshot
	Creator  string            // program and version, for the record

	// Recipients are those for whom the snapshot is encrypted; nil stores it as it is.
	Recipients *seal.Recipients
	// Plaintext stores a snapshot as it is though the newest one is encrypted, which is refused otherwise.
	Plaintext bool
	// Identities open snapshots that are encrypted; nil opens none. Without, a delta cannot be built on what
	// Memory does not know.
	Identities *seal.Identities

	// FullEvery is the age of a full at which the next one is stored. 0 is a week.
	FullEvery time.Duration
	// RereadEvery is for how long what a [Base] knows of the newest snapshot may stand for
	// reading the whole database. 0 is an hour.
	RereadEvery time.Duration
	// EvenUnchanged stores a snapshot though it would be the same as the newest one.
	EvenUnchanged bool
	// Heartbeat is the age of the newest snapshot at which one is stored though nothing has
	// changed. 0 is a day.
	Heartbeat time.Duration
	// LockFor is for how long nobody is to be able to delete the snapshot and all that it rests on, whether it is
	// stored or found to be still the newest. The locks end up to a tenth of that later; with
	// less than ten minutes, up to a minute. 0 locks nothing. A store that cannot lock is [store.ErrCannotLock].
	LockFor time.Duration
	// LockMode is the locks' mode; empty is [store.Governance].
	LockMode store.LockMode
	// Now tells the time; nil is [time.Now].
	Now func() time.Time
	// Look is what the source looks like now, see [state.Facts], for [Push.Unchanged]. Empty is not
	// known.
	Look string

	// Memory is what is remembered of earlier pushes, and what this one will be added to. For one of nothing, see
	// [state.New], the store is asked.
	Memory *state.Memory
	// Confirmed is the newest snapshot that Memory is about, if an earlier Push of this process has
	// confirmed it: the store is then not listed for newer ones, and that this one is there stands for
	// all that it rests on, since nobody deletes what a snapshot that stays rests on. A push
	// costs three requests then. What is deleted by other means is not noticed so: leave it out now and then.
	Confirmed *catalog.Snapshot
	TempDir   string          // for page tables, 17 bytes a page of the database and 20 of what a chain holds; empty is [os.TempDir]
	Meter     *progress.Meter // counts bytes of pages that were encoded and handed to the store
	Logger    *slog.Logger    // nil discards
}

// An Image is the database that is uploaded: pages numbered from 1, and their hashes under the salt
// of the [Push]. Only pages that its base does not have need to be readable. Its methods may be
// called concurrently.
type Image interface {
	io.ReaderAt
	PageSize() int // bytes; 0 for an empty database
	Pages() uint32
	Taken() time.Time
	// Look is what the source looked like at the instant of the image, see [state.Facts]. Empty is
	// not known.
	Look() string
	// Whole reports whether the source was read as a whole for it.
	Whole() bool
	Root() format.Root
	ReadHashes(first uint32, dst []format.PageHash) error
}

// A Push is an upload that the store is ready for. It stores one snapshot and belongs to
// one goroutine.
type Push struct {
	st      store.Store
	opts    Options
	log     *slog.Logger
	lineage format.Lineage
	newest  *catalog.Snapshot // under the name; nil if there is none
	trusted bool              // the memory is about newest
	brief   bool              // newest is there, or was when it was confirmed, with all that it rests on
	facts   *state.Facts      // of the memory, that a delta was planned on
	locker  store.Locker      // nil if nothing is to be locked

	stored   format.Name // what this push has stored last
	salt     format.Salt
	base     *Base        // nil for a full
	why      string       // it is a full; empty for a delta
	path     []state.Link // what a delta rests on, its parent last
	replaces format.Name
	damage   error // a LostError or a DecayError, to be told once a snapshot is stored
}

// A Result is a snapshot that the store has confirmed.
type Result struct {
	Snapshot catalog.Snapshot
	Root     format.Root
	Size     int64 // of the database, in bytes
	Pages    uint32
	// Index is nil if nothing has changed since the snapshot, which is the newest, so that none
	// was stored.
	Index *format.Index
	// Why says why it is a full; empty for a delta.
	Why string
	// Lock is what the snapshot and all that it rests on are locked with at least; zero if nothing was to be.
	Lock store.Lock
	// Damage is a [LostError] or a [DecayError] if the store has lost or damaged another snapshot; this one is stored.
	Damage error
}

// Begin looks at what the store holds under the name, and chooses what to build on. It returns a
// [SourceError] or an [UnknownSourceError] if that is another file's history, a [PlaintextError] if that
// is encrypted and this snapshot would not be, and a [catalog.SkewError] if the clock is off.
func Begin(ctx context.Context, st store.Store, opts Options) (*Push, error) {
	opts.Source.Path = strings.ToValidUTF8(opts.Source.Path, "\uFFFD")
	opts.Tags = maps.Clone(opts.Tags)
	if opts.FullEvery == 0 {
		opts.FullEvery = 7 * 24 * time.Hour
	}
	if opts.RereadEvery == 0 {
		opts.RereadEvery = time.Hour
	}
	if opts.Heartbeat == 0 {
		opts.Heartbeat = 24 * time.Hour
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	p := &Push{st: st, opts: opts, log: opts.Logger}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if err := p.checkLock(ctx); err != nil {
		return nil, err
	}
	latest, err := p.findLatest(ctx)
	if err != nil {
		return nil, err
	}
	return p, p.chooseBase(ctx, latest)
}

func (p *Push) checkClock(ctx context.Context) error {
	skew, err := p.st.Skew(ctx)
	if err != nil {
		return fmt.Errorf("ask for the store's time: %w", err)
	}
	return catalog.CheckClock(p.opts.Now(), skew)
}

// Unchanged returns the newest snapshot if the source looks as it did when that was taken, so that
// no image has to be taken; otherwise nil.
func (p *Push) Unchanged(ctx context.Context) (*Result, error) {
	if !p.trusted || p.base == nil || p.opts.Look == "" || p.opts.Look != p.opts.Memory.Facts().Look || !p.mayLeaveOut() {
		return nil, nil
	}
	return p.confirmUnchanged(ctx)
}

// mayLeaveOut reports whether a snapshot that is the same as the newest one need not be stored.
func (p *Push) mayLeaveOut() bool {
	encrypted := p.opts.Recipients != nil
	return !p.opts.EvenUnchanged && p.newest.Encrypted == encrypted && p.opts.Now().Sub(p.newest.Name.Time.UTC()) < p.opts.Heartbeat
}

// confirmUnchanged returns the newest snapshot if the store holds all that it rests on.
func (p *Push) confirmUnchanged(ctx context.Context) (*Result, error) {
	facts, lock := p.opts.Memory.Facts(), p.opts.lock()
	trouble, err := p.look(ctx, facts.Path)
	if trouble == "" && err == nil {
		trouble, err = p.renewLocks(ctx, lock)
	}
	if err != nil {
		return nil, err
	}
	if trouble != "" {
		p.makeFull(trouble)
		return nil, nil
	}
	size := int64(facts.Pages) * int64(facts.PageSize)
	return &Result{Snapshot: *p.newest, Root: facts.Newest().Root, Size: size, Pages: facts.Pages, Lock: lock}, nil
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
		img, err := take(p.salt, p.base)
		if err != nil {
			return nil, err
		}
		r, err := p.commit(ctx, img)
		switch {
		case err == errRetake:
		case err != nil:
			return nil, errors.Join(err, p.damage)
		default:
			r.Damage = p.damage
			return r, nil
		}
	}
}

// errRetake means that the image cannot be used for what p is by now.
var errRetake = errors.New("the image has to be taken again")

// commit stores img, or returns [errRetake].
func (p *Push) commit(ctx context.Context, img Image) (*Result, error) {
	if p.base != nil && p.opts.Memory.Facts() != p.facts {
		return nil, errMemory
	}
	if p.base != nil && p.newestIs(img) && p.mayLeaveOut() {
		r, err := p.confirmUnchanged(ctx)
		switch {
		case err != nil:
			return nil, err
		case r == nil:
			return nil, errRetake
		}
		p.noteLook(img)
		return r, nil
	}
	runs, err := p.runs(img)
	if err != nil {
		return nil, err
	}
	lock := p.opts.lock()
	p.path = slices.Clone(p.path) // what is locked is noted in it
	trouble, err := p.lockPath(ctx, p.path, lock)
	if err != nil {
		return nil, err
	}
	if trouble != "" {
		p.makeFull(trouble)
		return nil, errRetake
	}
	x := p.index(img, runs)
	o, err := p.create(ctx, x, img, runs, lock)
	if err != nil {
		return nil, err
	}
	p.stored = x.Snapshot
	if x.Kind() == format.Delta {
		trouble, err := p.look(ctx, p.path)
		if err != nil {
			return nil, fmt.Errorf("make sure of what %v rests on: %w", x.Snapshot, err)
		}
		if trouble != "" {
			p.makeFull(trouble)
			p.replaces = x.Snapshot
			return nil, errRetake
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
		Why:      p.why,
		Lock:     lock,
	}, nil
}

// newestIs reports whether img is what the newest snapshot is.
func (p *Push) newestIs(img Image) bool {
	return p.opts.Memory.Facts().Newest().Root == img.Root()
}

// runs returns the pages of img that have to be stored, and may turn p into a push of a full.
func (p *Push) runs(img Image) ([]format.Run, error) {
	all := []format.Run{{First: 1, Count: img.Pages()}}
	if img.Pages() == 0 {
		all = nil
	}
	if p.base == nil {
		return all, nil
	}
	runs, carried, err := changed(img, p.base)
	if err != nil {
		return nil, err
	}
	damage := p.opts.Memory.Check()
	switch {
	case damage != nil:
		p.log.Warn("what was remembered of earlier pushes is damaged and not used", "err", damage)
		p.makeFull("what was remembered of the newest snapshot is damaged")
	case p.opts.Memory.Facts().PageSize != img.PageSize():
		p.makeFull("the page size has changed")
	case 2*int64(carried) > int64(img.Pages()):
		p.makeFull(fmt.Sprintf("%d of %d pages have changed", carried, img.Pages()))
	default:
		return runs, nil
	}
	return nil, errRetake
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
	if p.newest != nil {
		at = max(at, p.newest.Name.Time+1)
	}
	if !p.replaces.IsZero() {
		at = max(at, p.replaces.Time+1) // or the newest snapshot might still be the one without its path
	}
	x := &format.Index{
		Header: format.Header{
			Database: p.opts.Database,
			Snapshot: format.Name{Time: at, ID: format.NewID(p.lineage)},
			PageSize: img.PageSize(),
			Pages:    img.Pages(),
		},
		Salt:     p.salt,
		Root:     img.Root(),
		Replaces: p.replaces,
		Source:   p.opts.Source,
		Creator:  p.opts.Creator,
		Tags:     p.opts.Tags,
	}
	for _, r := range runs {
		x.Carried += r.Count
	}
	if p.base != nil {
		parent := p.path[len(p.path)-1]
		x.Parent, x.ParentRoot = parent.In(x.Database).Name, &parent.Root
		for _, l := range p.path {
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
		Path:     append(p.path[:len(p.path):len(p.path)], link),
		Salt:     p.salt,
		PageSize: x.PageSize,
		Pages:    x.Pages,
		Look:     img.Look(),
		Read:     p.lastRead(img),
	}
	b := [state.Spans]bool{true, true, true}
	if x.Kind() == format.Delta {
		b = begins(p.newest.Name.Time, x.Snapshot.Time)
	}
	if err := m.Save(facts, b, img.ReadHashes); err != nil {
		p.log.Warn("the snapshot is stored but cannot be remembered", "key", o.Key, "err", err)
	}
}

// lastRead returns when the source was last read as a whole.
func (p *Push) lastRead(img Image) time.Time {
	if img.Whole() {
		return img.Taken()
	}
	return p.facts.Read
}

// noteLook adds to the memory what the source looks like in img, while the newest snapshot is what it
// holds.
func (p *Push) noteLook(img Image) {
	if err := p.opts.Memory.SetLook(img.Look(), p.lastRead(img)); err != nil {
		p.log.Warn("what the database looks like cannot be remembered", "err", err)
	}
}
