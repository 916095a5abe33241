package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/store"
)

func (p *program) pushCommand() *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "take a snapshot of each database and store it",
		ArgsUsage: "DB...",
		Description: "Takes a snapshot of each database file DB, beside whoever is writing to it, and stores it.\n" +
			"Prints each snapshot with its root, which restore --root insists on, and what it cost.\n" +
			"With --keep flags it then deletes what these do not keep, as prune does.",
		Flags: append(append(pushFlags(), keepFlags()...),
			&cli.BoolFlag{Name: "full", Usage: "store every page, not only what has changed"},
			&cli.BoolFlag{Name: "even-unchanged", Usage: "store a snapshot though nothing has changed"},
		),
		Action: p.push,
	}
}

// A pushed is one line of push's results.
type pushed struct {
	Database  string       `json:"database"`
	Snapshot  string       `json:"snapshot,omitempty"`
	Kind      string       `json:"kind,omitempty"`
	Why       string       `json:"why,omitempty"`       // it is a full
	Unchanged bool         `json:"unchanged,omitempty"` // the snapshot was there already
	Key       string       `json:"key,omitempty"`
	Root      *format.Root `json:"root,omitempty"`
	Size      int64        `json:"size"`
	Pages     uint32       `json:"pages"`
	Carried   uint32       `json:"carried"` // pages that were stored
	Stored    int64        `json:"stored"`
	Encrypted bool         `json:"encrypted,omitempty"`
	Elapsed   float64      `json:"elapsed_seconds"`
	Held      float64      `json:"held_seconds"`
	Restarts  int          `json:"restarts,omitempty"`
	Followed  bool         `json:"followed_wal,omitempty"` // which told what had changed, so that the rest was not read
	Check     string       `json:"check,omitempty"`        // sound, damaged or not checkable
	Lock      *lock        `json:"lock,omitempty"`
}

// A lock is how a snapshot and what it rests on are kept from being deleted.
type lock struct {
	Mode  store.LockMode `json:"mode"`
	Until time.Time      `json:"until"`
}

// newLock returns nil for none.
func newLock(l store.Lock) *lock {
	if l == (store.Lock{}) {
		return nil
	}
	return &lock{l.Mode, l.Until.UTC()}
}

func (l *lock) String() string {
	return fmt.Sprintf("until %s UTC, in %s mode", l.Until.Format(time.DateTime), l.Mode)
}

func (p *program) push(c *cli.Context) error {
	p.startPings(c)
	if err := wantArgs(c, 1, anyNumber); err != nil {
		return err
	}
	sources, err := nameSources(c)
	if err != nil {
		return err
	}
	opts, err := p.pushOptions(c)
	if err != nil {
		return err
	}
	opts.up.Full, opts.up.EvenUnchanged = c.Bool("full"), c.Bool("even-unchanged")
	policy, err := keepPolicy(c)
	if err != nil {
		return err
	}
	st, err := p.openStoreWith(c.Context, store.Options{AllowNew: true})
	if err != nil {
		return err
	}
	return p.each(c.Context, len(sources), func(i int) error {
		if err := p.pushOne(c.Context, opts, st, sources[i]); err != nil || policy.IsZero() {
			return err
		}
		return p.pruneAfterPush(c.Context, st, sources[i].name, policy)
	})
}

// pushOne pushes one database and prints what came of it.
func (p *program) pushOne(ctx context.Context, opts pushOptions, st store.Store, src source) error {
	start := time.Now()
	one, err := p.openPusher(opts, st, src)
	if err != nil {
		return err
	}
	defer one.Close()
	out, err := one.push(ctx)
	if err != nil {
		return err
	}
	return errors.Join(out.trouble, p.printPushed(newPushed(src, out, time.Since(start))))
}

func newPushed(s source, r *outcome, elapsed time.Duration) *pushed {
	out := &pushed{
		Database:  s.name,
		Snapshot:  r.Snapshot.Name.String(),
		Kind:      r.Snapshot.Kind.String(),
		Why:       r.Why,
		Unchanged: r.Index == nil,
		Key:       r.Snapshot.Object.Key,
		Root:      &r.Root,
		Size:      r.Size,
		Pages:     r.Pages,
		Elapsed:   elapsed.Seconds(),
		Held:      r.stats.Held.Seconds(),
		Restarts:  r.stats.Restarts,
		Followed:  r.stats.Followed,
		Check:     r.checked,
		Lock:      newLock(r.Lock),
	}
	if x := r.Index; x != nil {
		out.Carried, out.Stored, out.Encrypted = x.Carried, r.Snapshot.Object.Size, r.Snapshot.Encrypted
	}
	return out
}

func (p *program) printPushed(r *pushed) error {
	return p.ui.Result(r, func(w io.Writer) error {
		if p.ui.Quiet() {
			_, err := fmt.Fprintln(w, r.Snapshot)
			return err
		}
		locked, checked := "", ""
		if r.Check != "" {
			checked = fmt.Sprintf("  check   %s\n", r.Check)
		}
		if r.Lock != nil {
			locked = fmt.Sprintf("  locked  %v\n", r.Lock)
		}
		if r.Unchanged {
			_, err := fmt.Fprintf(w, "%s  %s  unchanged since\n  root    %v\n%s%s  took    %s\n",
				p.ui.Bold(ui.Safe(r.Database)), r.Snapshot, r.Root, checked, locked, seconds(r.Elapsed))
			return err
		}
		why := ""
		if r.Why != "" {
			why = fmt.Sprintf("  why     %s\n", ui.Safe(r.Why))
		}
		carried := ""
		if r.Carried < r.Pages {
			carried = fmt.Sprintf("of which %s were ", human.Count(int64(r.Carried)))
		}
		held := "of which the database was held for " + seconds(r.Held)
		if r.Followed {
			held = "without holding the database: only what the WAL has got since was read"
		}
		_, err := fmt.Fprintf(w, "%s  %s  %s\n%s  root    %v\n  size    %s in %s pages, %sstored as %s\n%s%s  took    %s, %s\n",
			p.ui.Bold(ui.Safe(r.Database)), r.Snapshot, r.Kind, why, r.Root,
			human.Bytes(r.Size), human.Count(int64(r.Pages)), carried, human.Bytes(r.Stored)+ifEncrypted(r.Encrypted), checked, locked, seconds(r.Elapsed), held)
		return err
	})
}

// ifEncrypted goes after what is said of a snapshot.
func ifEncrypted(encrypted bool) string {
	if encrypted {
		return ", encrypted"
	}
	return ""
}

func seconds(s float64) string { return human.Duration(time.Duration(s * float64(time.Second))) }

// each does n things one after the other. With several, an error does not keep the others from
// being tried: it is reported at once, and in the end it is said that some failed. Damage outranks
// that, so that whoever watches for its exit code learns of it.
func (p *program) each(ctx context.Context, n int, do func(i int) error) error {
	var failed []error
	damaged := false
	for i := range n {
		err := do(i)
		if err == nil {
			continue
		}
		if n == 1 || ctx.Err() != nil {
			return err
		}
		code := p.tell(err)
		failed = append(failed, err)
		damaged = damaged || code == exitDamaged
	}
	switch {
	case len(failed) == 0:
		return nil
	case damaged:
		return &reportedError{exitDamaged}
	case len(failed) < n:
		return &reportedError{exitSome}
	}
	if reported, ok := errors.AsType[*reportedError](failed[0]); ok {
		return reported
	}
	return &reportedError{judge(errors.Join(failed...)).code}
}

// tell prints an error, unless that has been done, and returns its exit code.
func (p *program) tell(err error) int {
	if reported, ok := errors.AsType[*reportedError](err); ok {
		return reported.code
	}
	v := judge(err)
	p.ui.Error(err, v.hint, v.code)
	return v.code
}
