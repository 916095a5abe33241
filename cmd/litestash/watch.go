package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/watch"
)

func (p *program) watchCommand() *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "push each database whenever it has changed, until stopped",
		ArgsUsage: "DB...",
		Description: "Looks at each database file DB again and again, and stores a snapshot of it when something has been\n" +
			"committed. One that nobody writes to is not read, and the store is asked once an hour whether the\n" +
			"newest snapshot is there. A file that does not exist yet is waited for. What is done is logged on\n" +
			"standard error. SIGINT and SIGTERM end it, with 0, after a last snapshot of what has changed.",
		Flags: append(append(pushFlags(), keepFlags()...),
			&cli.StringFlag{Name: "every", Value: "10s", Usage: "look at each database every `TIME`"},
			&cli.StringFlag{Name: "confirm-every", Value: "1h", Usage: "make sure every `TIME` that the newest snapshot is still in the store"},
			&cli.StringFlag{Name: "stop-timeout", Value: "25s", Usage: "when stopped, give the last snapshots `TIME`"},
			&cli.StringFlag{Name: "exec", Usage: "run `COMMAND` with the shell, pass signals on to it, and end when it ends, with its exit code"},
			&cli.BoolFlag{Name: "restore-if-missing", Usage: "first restore each database that does not exist; only if the store has no snapshot of it, it begins empty"},
		),
		Action: p.watch,
	}
}

func (p *program) watch(c *cli.Context) error {
	if err := wantArgs(c, 1, anyNumber); err != nil {
		return err
	}
	p.logAsService(c.Bool("verbose"))
	p.startPings(c)
	sources, err := nameSources(c)
	if err != nil {
		return err
	}
	opts, err := p.watchOptions(c)
	if err != nil {
		return err
	}
	push, err := p.pushOptions(c)
	if err != nil {
		return err
	}
	policy, err := keepPolicy(c)
	if err != nil {
		return err
	}
	st, err := p.openStoreWith(c.Context, store.Options{AllowNew: true})
	if err != nil {
		return err
	}
	if c.Bool("restore-if-missing") {
		if err := p.restoreMissing(c.Context, sources); err != nil {
			return err
		}
	}
	pulse, stop := p.startPulse(c.Context, sources)
	defer stop()
	ending, end := context.WithCancel(c.Context)
	defer end()
	var databases []watch.Database
	for _, s := range sources {
		w := &watched{p: p, st: st, source: s, opts: push, pulse: pulse, confirmEvery: opts.ConfirmEvery, policy: policy, ending: ending}
		defer w.Close()
		databases = append(databases, w)
	}
	return p.runWatch(c.Context, c.String("exec"), databases, opts, end)
}

func (p *program) watchOptions(c *cli.Context) (opts watch.Options, err error) {
	if opts.Every, err = parsePositive(c, "every"); err != nil {
		return opts, err
	}
	if opts.ConfirmEvery, err = parsePositive(c, "confirm-every"); err != nil {
		return opts, err
	}
	if opts.StopTimeout, err = parsePositive(c, "stop-timeout"); err != nil {
		return opts, err
	}
	opts.Fatal, opts.Down, opts.Logger = fatal, unreachable, p.log
	return opts, nil
}

// logAsService makes everything that is told a record of the log, since nobody sits there: with --json
// each is a JSON document.
func (p *program) logAsService(verbose bool) {
	p.log = newServiceLog(p.ui, verbose)
	p.ui = ui.New(ui.Options{Out: p.stdout, Err: p.stderr, JSON: p.ui.JSON(), Quiet: p.ui.Quiet(), NoProgress: true})
}

// runWatch watches until it is stopped, or, if there is a command, runs that and watches until it ends: then it
// calls end.
func (p *program) runWatch(ctx context.Context, command string, databases []watch.Database, opts watch.Options, end func()) error {
	p.log.Info("watching", "databases", len(databases), "every", opts.Every)
	if command != "" {
		return p.watchBeside(ctx, command, databases, opts, end)
	}
	err := watch.Run(ctx, databases, opts)
	if err == nil {
		p.log.Info("stopped")
	}
	return p.reported(ctx, err)
}

// reported makes an error of the last pushes, which have been logged, its exit code. That a signal
// ended the watch is no error.
func (p *program) reported(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return &reportedError{judge(err).code}
}

// restoreMissing brings databases back that are not there. That the store has no snapshots of one is the
// only reason to leave it at that; a store that is not there could be one that is not mounted.
func (p *program) restoreMissing(ctx context.Context, sources []source) error {
	in, err := p.openLookup(ctx)
	if err != nil {
		return err
	}
	r := &recovery{p: p, lookup: in, at: moment{time: time.Now(), latest: true}, check: new(snapshot.Quick), ifMissing: true, ifAny: true}
	r.opts.TempDir, r.opts.Logger = p.tempDir, p.log
	if r.opts.Identities, err = p.keys.open(); err != nil {
		return err
	}
	for _, s := range sources {
		out, err := r.restore(ctx, s.name, s.file)
		if err != nil {
			return fmt.Errorf("bring back %s: %w", s.file, err)
		}
		p.logRestored(out)
	}
	return nil
}

func (p *program) logRestored(r *restored) {
	switch r.Skipped {
	case skippedThere:
	case skippedNone:
		p.log.Info("the store has no snapshot of the database: it begins empty", "database", r.Database)
	default:
		p.log.Info("database restored", "database", r.Database, "path", r.Path, "snapshot", r.Snapshot, "root", r.Root,
			"size", r.Size, "check", r.Check, "elapsed", rounded(r.Elapsed))
	}
}

// A watched is a database that is watched.
type watched struct {
	p            *program
	st           store.Store
	source       source
	opts         pushOptions
	pulse        *pulse
	confirmEvery time.Duration
	policy       retention.Policy
	ending       context.Context // until the watch is to end

	pusher  *pusher   // nil until the file is there
	pruned  time.Time // the hour of the snapshot after which it was pruned last
	seen    time.Time // when the store was last seen to hold the newest snapshot and all that it rests on
	unsound error     // of the newest snapshot, see [outcome]
}

var _ watch.Database = (*watched)(nil)

func (w *watched) Name() string { return w.source.name }

func (w *watched) Look() (string, error) {
	if _, err := os.Stat(w.source.file); err != nil {
		return "", err
	}
	w.pulse.looked()
	if w.pusher == nil {
		return "", nil // it has to be pushed anyway
	}
	return snapshot.Look(w.pusher.path)
}

func (w *watched) Push(ctx context.Context) (look string, err error) {
	look, err = w.pushOnce(ctx)
	w.beat(err)
	return look, err
}

// beat tells who is to know it what became of a push. While the database is damaged it is not well.
func (w *watched) beat(err error) {
	if err == nil {
		err = w.unsound
	}
	w.pulse.pushed(w.Name(), err)
}

func (w *watched) pushOnce(ctx context.Context) (look string, err error) {
	if w.pusher == nil {
		if w.pusher, err = w.p.openPusher(w.opts, w.st, w.source); err != nil {
			return "", err
		}
	}
	up := &w.pusher.up
	if time.Since(w.seen) >= w.confirmEvery {
		up.Confirmed = nil
	}
	whole := up.Confirmed == nil
	start := time.Now()
	out, err := w.pusher.push(ctx)
	if err != nil {
		up.Confirmed = nil
		return "", err
	}
	if out.trouble != nil {
		w.p.log.Error(out.troubled(), "database", w.Name(), "err", out.trouble)
		w.pulse.tell(judge(out.trouble).code)
	}
	w.note(out, whole || out.Why != "")
	w.logPushed(newPushed(w.source, out, time.Since(start)))
	if out.trouble == nil {
		w.prune(ctx, out.Snapshot.Name.Time.UTC())
	}
	if facts := up.Memory.Facts(); facts != nil {
		look = facts.Look
	}
	return look, nil
}

// note remembers what has been confirmed. The name has been taken over, if that was asked for.
func (w *watched) note(out *outcome, whole bool) {
	w.pusher.up.Confirmed, w.pusher.up.Adopt = &out.Snapshot, false
	w.unsound = out.unsound
	if whole {
		w.seen = time.Now()
	}
}

func (w *watched) logPushed(r *pushed) {
	if r.Unchanged {
		w.p.log.Debug("unchanged", "database", r.Database, "snapshot", r.Snapshot)
		return
	}
	facts := []any{"database", r.Database, "snapshot", r.Snapshot, "kind", r.Kind, "root", r.Root, "size", r.Size,
		"pages", r.Carried, "stored", r.Stored, "elapsed", rounded(r.Elapsed), "held", rounded(r.Held), "followed_wal", r.Followed}
	if r.Why != "" {
		facts = append(facts, "why", r.Why)
	}
	if r.Lock != nil {
		facts = append(facts, "locked_until", r.Lock.Until)
	}
	w.p.log.Info("snapshot stored", facts...)
}

// prune prunes after the first snapshot of an hour, and after the first since the start: more often
// would list the store for little. The last pushes before the end do not wait for it: it is cut short then, and
// the next one goes on from there.
func (w *watched) prune(ctx context.Context, pushed time.Time) {
	hour := pushed.Truncate(time.Hour)
	if w.policy.IsZero() || w.ending.Err() != nil || hour.Equal(w.pruned) {
		return
	}
	w.pruned = hour
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.ending, cancel)()
	r, err := w.p.pruneOne(ctx, w.st, w.Name(), w.policy)
	switch {
	case err != nil && w.ending.Err() != nil:
		w.p.log.Info("pruning was cut short by the end", "database", w.Name(), "err", err)
	case err != nil:
		err = &pruneError{w.Name(), err}
		w.p.log.Error("pruning failed", "database", w.Name(), "err", err, "hint", judge(err).hint)
	}
	if r != nil {
		w.p.log.Info("pruned", "database", w.Name(), "kept", len(r.Plan)-len(r.Gone), "deleted", len(r.Gone), "freed", r.Freed())
	}
}

func rounded(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}

// confirmed returns the newest snapshot if a push has confirmed that.
func (w *watched) confirmed() *catalog.Snapshot {
	if w.pusher == nil {
		return nil
	}
	return w.pusher.up.Confirmed
}

func (w *watched) Due() bool {
	newest := w.confirmed()
	return newest != nil && upload.HeartbeatDue(w.pusher.up, *newest)
}

func (w *watched) Confirm(ctx context.Context) (bool, error) {
	newest := w.confirmed()
	if newest == nil || upload.LockDue(w.pusher.up) {
		return false, nil
	}
	ok, err := upload.Confirm(ctx, w.st, *newest)
	if !ok {
		w.pusher.up.Confirmed = nil // the next push looks for itself
	}
	if ok || err != nil {
		w.beat(err)
	}
	return ok, err
}

func (w *watched) Close() {
	if w.pusher != nil {
		w.pusher.Close()
	}
}
