package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/upload"
)

// pushFlags returns the flags that push and watch share.
func pushFlags() []cli.Flag {
	return append(recipientFlags(), []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "keep the snapshots under `NAME`; by default the file's base name"},
		&cli.StringFlag{Name: "below", Usage: "keep each database under its path below `DIR`, as in tenants/42/app.db"},
		&cli.StringSliceFlag{Name: "tag", Usage: "attach `KEY=VALUE`; may be repeated"},
		&cli.StringFlag{Name: "full-every", Value: "7d", Usage: "store every page once the last time is `AGE` ago"},
		&cli.StringFlag{Name: "reread-every", Value: "1h", Usage: "on Linux, in WAL mode, a push reads only what the WAL says has changed; read the whole database all the same once that was last done `AGE` ago"},
		&cli.StringFlag{Name: "heartbeat", Value: "24h", Usage: "store one though nothing has changed once the newest has `AGE`"},
		&cli.StringFlag{Name: "lock-for", Usage: "let nobody delete the snapshot and what it rests on for `TIME`, such as 30d; the bucket must have Object Lock"},
		&cli.StringFlag{Name: "lock-mode", Usage: "lock in `MODE`: governance, which a right of its own can end early, or compliance, which nobody can (default: governance)"},
		&cli.StringFlag{Name: "check", Value: "none", Usage: "let SQLite check what was pushed with `LEVEL`: none, quick or full; needs room for the whole database"},
		&cli.BoolFlag{Name: "adopt", Usage: "take over a name that belongs to another file or host"},
		&cli.StringFlag{Name: "host", EnvVars: []string{"LITESTASH_HOST"}, Usage: "say `NAME` for this host in snapshots; set it where host names change, as in containers"},
		&cli.DurationFlag{Name: "busy-timeout", Value: 5 * time.Second, Usage: "wait `TIME` for a lock on the database"},
		&cli.DurationFlag{Name: "max-stall", Value: 5 * time.Second, Usage: "hold commits up for at most `TIME` at once; matters in the rollback-journal modes only"},
		pingFlag(),
		&cli.IntFlag{Name: "max-restarts", Value: 3, Usage: "let commits restart the copy `N` times before holding them up; rollback-journal modes only"},
	}...)
}

// pushOptions are what the flags say that push and watch share.
type pushOptions struct {
	up    upload.Options // but for what is one database's own
	sn    snapshot.Options
	check *snapshot.CheckLevel // nil is none
}

func (p *program) pushOptions(c *cli.Context) (o pushOptions, err error) {
	o.up = upload.Options{
		Adopt:   c.Bool("adopt"),
		Creator: "litestash " + version(),
		TempDir: p.tempDir,
		Logger:  p.log,
	}
	o.sn = snapshot.Options{
		TempDir:     p.tempDir,
		BusyTimeout: cmp.Or(c.Duration("busy-timeout"), -1), // none, and not the default
		MaxStall:    c.Duration("max-stall"),
		MaxRestarts: cmp.Or(c.Int("max-restarts"), -1),
		Logger:      p.log,
	}
	if o.up.Recipients, err = p.keys.recipients(c); err != nil {
		return o, err
	}
	if o.up.Identities, err = p.keys.open(); err != nil {
		return o, err
	}
	o.up.Plaintext = c.Bool("plaintext")
	if o.check, err = parseCheck(c.String("check")); err != nil {
		return o, err
	}
	if o.up.Tags, err = parseTags(c.StringSlice("tag")); err != nil {
		return o, err
	}
	if o.up.FullEvery, err = parsePositive(c, "full-every"); err != nil {
		return o, err
	}
	if o.up.RereadEvery, err = parsePositive(c, "reread-every"); err != nil {
		return o, err
	}
	if o.up.Heartbeat, err = parsePositive(c, "heartbeat"); err != nil {
		return o, err
	}
	if err := parseLock(c, &o.up); err != nil {
		return o, err
	}
	if err := notNegative(c, "busy-timeout", "max-restarts"); err != nil {
		return o, err
	}
	if o.sn.MaxStall <= 0 {
		return o, usagef("--max-stall %v: a copy holds commits up for some time, however short: give it one, such as 100ms", o.sn.MaxStall)
	}
	o.up.Source.Host = c.String("host")
	if o.up.Source.Host == "" {
		if o.up.Source.Host, err = os.Hostname(); err != nil {
			return o, fmt.Errorf("find this host's name: %w", err)
		}
	}
	return o, nil
}

// parseLock reads how snapshots are to be locked.
func parseLock(c *cli.Context, up *upload.Options) (err error) {
	mode := store.LockMode(c.String("lock-mode"))
	switch {
	case mode != "" && mode != store.Governance && mode != store.Compliance:
		return usagef("--lock-mode %q: want governance or compliance", mode)
	case mode != "" && !c.IsSet("lock-for"):
		return usagef("--lock-mode says how to lock, and --lock-for has to say for how long")
	case !c.IsSet("lock-for"):
		return nil
	}
	up.LockMode = mode
	up.LockFor, err = parsePositive(c, "lock-for")
	return err
}

// parsePositive reads a flag that says a length of time, which must not be nothing.
func parsePositive(c *cli.Context, flag string) (time.Duration, error) {
	d, err := parseSpan(c, flag)
	if err != nil || d == 0 {
		return 0, usagef("--%s %q: want a time such as 90m or 2d; 1s is the least", flag, c.String(flag))
	}
	return d, nil
}

// parseLimit reads a flag that sets a limit of time; 0 is that there is none.
func parseLimit(c *cli.Context, flag string) (time.Duration, error) {
	if !c.IsSet(flag) {
		return 0, nil
	}
	return parsePositive(c, flag)
}

// A source is a database file and the name that its snapshots are kept under.
type source struct{ file, name string }

// A pusher pushes one database, any number of times. It is not for concurrent use.
type pusher struct {
	pushOptions
	p      *program
	st     store.Store
	source source
	path   string // of the file, without links in it
}

// openPusher finds the file, and what is remembered of it. The caller closes the pusher.
func (p *program) openPusher(opts pushOptions, st store.Store, src source) (*pusher, error) {
	path, err := filepath.EvalSymlinks(src.file)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", src.file, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	opts.up.Database = src.name
	// As it will be in the index; what is remembered is kept as JSON, too.
	opts.up.Source.Path = strings.ToValidUTF8(path, "\uFFFD")
	opts.up.Memory, err = p.openMemory(state.Key{Store: fmt.Sprint(st), Database: src.name, Source: opts.up.Source})
	if err != nil {
		return nil, err
	}
	return &pusher{opts, p, st, src, path}, nil
}

// Close lets other processes have what is remembered.
func (u *pusher) Close() { u.up.Memory.Close() }

// An outcome is a snapshot that the store holds, be it that it was there already, and what is known of it.
type outcome struct {
	*upload.Result
	stats   snapshot.Stats // zero if the database was not read
	checked string         // what SQLite said of it; empty if it was not asked
	unsound error          // matches errUnsound, if it is known to be damaged as the database was
	trouble error          // what is not well, here or in the store; nil if all is
}

// troubled says what the trouble is about.
func (o *outcome) troubled() string {
	switch {
	case o.Damage != nil:
		return "the store has lost something"
	case o.unsound != nil:
		return "the database is damaged"
	}
	return "the database could not be checked"
}

// push stores a snapshot, unless nothing has changed.
func (u *pusher) push(ctx context.Context) (*outcome, error) {
	var err error
	if u.up.Look, err = snapshot.Look(u.path); err != nil {
		u.p.log.Debug("what the database looks like cannot be told", "path", u.path, "err", err)
		u.up.Look = "" // so that it is read
	}
	if d, ok := u.st.(*store.Dir); ok && u.up.Memory.Facts() != nil {
		d.Known() // it held what is remembered
	}
	u.up.Meter = new(progress.Meter)
	push, err := upload.Begin(ctx, u.st, u.up)
	if err != nil {
		return nil, err
	}
	result, err := push.Unchanged(ctx)
	switch {
	case err != nil:
		return nil, err
	case result == nil:
		return u.takeAndCommit(ctx, push)
	}
	out := &outcome{Result: result}
	out.trouble = u.recallDamage(ctx, out)
	if out.trouble == nil && !u.passed() {
		return u.takeAndCommit(ctx, push)
	}
	return out, nil
}

// takeAndCommit takes images until one is stored.
func (u *pusher) takeAndCommit(ctx context.Context, push *upload.Push) (*outcome, error) {
	var img *snapshot.Image // the last one
	stop := func() {}       // its bar
	end := func() {
		stop()
		if img != nil {
			img.Close() // temporary files without a name
		}
	}
	defer end()
	result, err := push.Commit(ctx, func(salt format.Salt, base *upload.Base) (_ upload.Image, err error) {
		end()
		if img, err = u.take(ctx, salt, base); err != nil {
			return nil, err
		}
		stop = u.p.ui.Bar("upload "+u.source.name, u.up.Meter)
		return img, nil
	})
	stop()
	if err != nil {
		return nil, err
	}
	out := &outcome{Result: result, stats: img.Stats()}
	out.trouble = errors.Join(result.Damage, u.checkImage(ctx, img, out))
	return out, nil
}

func (u *pusher) take(ctx context.Context, salt format.Salt, base *upload.Base) (*snapshot.Image, error) {
	opts := u.sn
	opts.Salt, opts.Copied = salt, new(progress.Meter)
	if base != nil && u.check == nil { // what SQLite is to check has to be whole
		opts.Base = base // not a nil *upload.Base in an interface
	}
	stop := u.p.ui.Bar("snapshot "+u.source.name, opts.Copied)
	defer stop()
	img, err := snapshot.Take(ctx, u.source.file, opts)
	if err != nil {
		return nil, err
	}
	if stats := img.Stats(); stats.Overstayed {
		u.p.log.Warn("commits were held up for longer than --max-stall allows", "path", u.source.file, "held", stats.Held)
	}
	return img, nil
}

// openMemory opens what is remembered of a database, or, where there is no place for that, nothing.
func (p *program) openMemory(key state.Key) (*state.Memory, error) {
	if p.stateDir == "" {
		p.log.Info("nothing is remembered of this push: there is no home directory, and no --state-dir")
		return state.New(p.tempDir)
	}
	return state.Open(p.stateDir, key, p.tempDir, p.log)
}

// nameSources gives each file on the command line the name that it is kept under.
func nameSources(c *cli.Context) ([]source, error) {
	files, name, below := c.Args().Slice(), c.String("name"), c.String("below")
	switch {
	case name != "" && below != "":
		return nil, usagef("--name and --below both say what to keep databases under")
	case name != "" && len(files) > 1:
		return nil, usagef("--name goes with one database, and these are %d", len(files))
	}
	taken := map[string]string{}
	var all []source
	for _, f := range files {
		n := name
		if n == "" {
			var err error
			if n, err = nameOf(f, below); err != nil {
				return nil, err
			}
		}
		n, err := format.ParseDatabase(n)
		if err != nil {
			return nil, &usageError{fmt.Errorf("%w (--name gives another)", err)}
		}
		if other, ok := taken[n]; ok {
			return nil, usagef("%s and %s would both be kept as %q: name a directory that they are --below, or push them one by one with --name", other, f, n)
		}
		taken[n] = f
		all = append(all, source{file: f, name: n})
	}
	return all, nil
}

// nameOf returns the name of a file that has none of its own: the last part of its path, or all of that
// below a directory if one is given.
func nameOf(file, below string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil || below == "" {
		return filepath.Base(abs), err
	}
	dir, err := filepath.Abs(below)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(dir, abs)
	if err != nil || !filepath.IsLocal(rel) {
		return "", usagef("%s is not below %s", file, below)
	}
	return filepath.ToSlash(rel), nil
}

func parseTags(list []string) (map[string]string, error) {
	tags := map[string]string{}
	for _, t := range list {
		k, v, ok := strings.Cut(t, "=")
		if !ok || k == "" {
			return nil, usagef("--tag %q: want KEY=VALUE", t)
		}
		if _, twice := tags[k]; twice {
			return nil, usagef("--tag %s is given twice", k)
		}
		tags[k] = v
	}
	return tags, nil
}
