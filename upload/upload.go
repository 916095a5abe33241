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
	"io"
	"log/slog"
	"maps"
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
	locker  store.Locker // nil if nothing is to be locked
	history *history     // as it was when the push began
	plan    plan         // another one after a look that troubles the one before

	illegible []string // announcements that cannot be understood and were there before the full that is built on, or will be

	stored format.Name // what this push has stored last
	damage error       // a LostError or a DecayError, to be told once a snapshot is stored
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

// now returns the time by the clock that snapshots are named after.
func (o *Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

// HeartbeatDue reports whether the newest snapshot is so old by now that opts, whose Heartbeat must be set, want another one though
// nothing has changed.
func HeartbeatDue(opts Options, newest catalog.Snapshot) bool {
	return opts.now().Sub(newest.Name.Time.UTC()) >= opts.Heartbeat
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
	h, err := p.readHistory(ctx)
	if err != nil {
		return nil, err
	}
	if h.facts == nil && whyFull(h, &p.opts) == "" { // a full can do without
		if err := p.learn(ctx, h); err != nil {
			return nil, err
		}
	}
	if h.facts != nil {
		p.illegible = h.facts.Illegible
	}
	p.history, p.plan, p.damage = h, newPlan(h, &p.opts, p.opts.Now()), h.damage
	p.warnOfOthers()
	return p, nil
}

// warnOfOthers warns if a delta would rest on what others can read, or on what those who can read the delta
// cannot. A process that pushes again and again is told when all that it rests on is looked at.
func (p *Push) warnOfOthers() {
	if p.opts.Recipients == nil || p.history.confirmed {
		return
	}
	ours := p.opts.Recipients.Readers()
	for _, l := range p.plan.path {
		switch {
		case !l.In(p.opts.Database).Encrypted:
			p.log.Warn("the snapshots that this one builds on are not encrypted; a full one (--full) builds on none", "key", l.Key)
			return
		case l.Readers != "" && ours.Differ(seal.ParseReaders(l.Readers)):
			p.log.Warn("the snapshots that this one builds on are encrypted for other recipients; a full one (--full) builds on none", "key", l.Key)
			return
		}
	}
}
