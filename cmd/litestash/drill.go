package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store"
)

// A drill rebuilds snapshots in temporary files and lets SQLite look at them.
type drill struct {
	level  snapshot.CheckLevel
	ask    snapshot.Questions
	record bool
}

// drillFlags are the flags of verify that make it a drill.
func drillFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "check", Value: "none", Usage: "rebuild the database in a temporary file and let SQLite check it with `LEVEL`: none, quick or full"},
		&cli.BoolFlag{Name: "foreign-keys", Usage: "insist that every foreign key refers to a row; implies --check quick"},
		&cli.StringSliceFlag{Name: "assert", Usage: "insist that the first column of what the query `SQL` answers is true, and print the others; may be repeated; implies --check quick"},
		&cli.StringFlag{Name: "assert-timeout", Value: "5m", Usage: "give each --assert and --foreign-keys `TIME`"},
		&cli.BoolFlag{Name: "no-record", Usage: "do not record beside the snapshots what --check found"},
	}
}

// drillOf reads the flags of a drill; it is nil if none is asked for.
func (p *program) drillOf(c *cli.Context) (*drill, error) {
	level, err := parseCheck(c.String("check"))
	if err != nil {
		return nil, err
	}
	d := &drill{record: !c.Bool("no-record")}
	d.ask = snapshot.Questions{ForeignKeys: c.Bool("foreign-keys"), Assertions: c.StringSlice("assert"), TempDir: p.tempDir}
	if d.ask.TimeLimit, err = parsePositive(c, "assert-timeout"); err != nil {
		return nil, err
	}
	for _, sql := range d.ask.Assertions {
		if err := snapshot.ParseAssertion(sql); err != nil {
			return nil, usagef("--assert %q: %w", sql, err)
		}
	}
	implied := d.ask.ForeignKeys || len(d.ask.Assertions) > 0 || c.String("sample") != ""
	switch {
	case level != nil:
		d.level = *level
	case implied && c.IsSet("check"):
		return nil, usagef("verify: --check none goes neither with --assert, --foreign-keys nor --sample")
	case !implied:
		return nil, nil
	}
	return d, nil
}

// A drilled is what a drill found.
type drilled struct {
	check   snapshot.CheckResult
	answers []snapshot.Answer
	rebuilt time.Duration // to fetch and rebuild, as a restore would
}

// run rebuilds one snapshot, and records and prints what came of it.
func (d *drill) run(ctx context.Context, v *verification, snap catalog.Snapshot) error {
	var found drilled
	start, opts := time.Now(), v.opts
	opts.Meter = new(progress.Meter)
	opts.Check = func(ctx context.Context, path string) error {
		found.rebuilt = time.Since(start)
		return d.look(ctx, v.p, path, &found)
	}
	stop := v.p.ui.Bar("verify "+snap.Name.String(), opts.Meter)
	r, err := restore.Rebuild(ctx, v.st, snap, opts)
	stop()
	if err != nil {
		if damagedObject(err) {
			err = errors.Join(err, d.remember(ctx, v, &catalog.Proof{Level: catalog.LevelPages, Outcome: catalog.Damaged}, snap, catalog.ProofDetail{}))
		}
		return err
	}
	proof, detail := d.proof(&found), catalog.ProofDetail{
		Assertions: len(found.answers),
		Fetched:    r.Fetched,
		Restore:    found.rebuilt.Seconds(),
	}
	out := newVerified(snap, r, time.Since(start))
	out.verifiedDrill = newVerifiedDrill(proof, &found)
	return errors.Join(v.p.printVerified(out), found.problem(snap), d.remember(ctx, v, proof, snap, detail))
}

// damagedObject reports whether err says that an object of a snapshot is damaged. One that is gone is not: a
// listing tells that, and it may have been deleted on purpose.
func damagedObject(err error) bool {
	return errors.Is(err, format.ErrDamaged) && !errors.As(err, new(*chain.HoleError)) && !errors.As(err, new(*restore.RootError))
}

// look lets SQLite look at a rebuilt database.
func (d *drill) look(ctx context.Context, p *program, path string, found *drilled) (err error) {
	if found.check, err = snapshot.Check(ctx, path, d.level); err != nil || found.check.Outcome == snapshot.Damaged {
		return err
	}
	if found.check.Outcome == snapshot.NotCheckable {
		p.log.Warn("SQLite cannot check the database", "why", found.check.Messages[0])
	}
	found.answers, err = snapshot.Ask(ctx, path, d.ask)
	return err
}

// proof returns what the drill proves. Damage that SQLite met when it was asked, and not when it checked, is
// where only a full check looks.
func (d *drill) proof(found *drilled) *catalog.Proof {
	p := &catalog.Proof{Level: proofLevel(d.level), Outcome: catalog.Sound}
	switch found.check.Outcome {
	case snapshot.Damaged:
		p.Outcome = catalog.Damaged
		return p
	case snapshot.NotCheckable:
		p.Outcome = catalog.Unchecked
	}
	for _, a := range found.answers {
		switch {
		case a.Damaged:
			p.Level, p.Outcome = catalog.LevelFull, catalog.Damaged
			return p
		case !a.Holds:
			p.Outcome = catalog.Unmet
		}
	}
	return p
}

func proofLevel(l snapshot.CheckLevel) catalog.Level {
	if l == snapshot.Full {
		return catalog.LevelFull
	}
	return catalog.LevelQuick
}

// An unmetError says that a database is not what its owner says that it has to be.
type unmetError struct {
	snap   catalog.Snapshot
	answer snapshot.Answer
}

func (e *unmetError) Error() string {
	why := e.answer.Why
	if why == "" {
		why = "it answers " + strings.Join(e.answer.Values, ", ")
	}
	return fmt.Sprintf("%s of %s does not hold what it should: %s: %s", e.snap.Name, e.snap.Database, e.answer.Query, why)
}

// problem returns what is wrong with a database that was rebuilt.
func (f *drilled) problem(snap catalog.Snapshot) error {
	if f.check.Outcome == snapshot.Damaged {
		return unsound(snap, firstFinding(f.check.Messages))
	}
	for _, a := range f.answers {
		if a.Damaged {
			return unsound(snap, a.Why)
		}
	}
	var all []error
	for _, a := range f.answers {
		if !a.Holds {
			all = append(all, &unmetError{snap, a})
		}
	}
	return errors.Join(all...)
}

func unsound(snap catalog.Snapshot, finding string) error {
	return fmt.Errorf("%s of %s: %w: %s", snap.Name, snap.Database, errUnsound, finding)
}

// remember records a proof, unless that is not wanted. Who may not write to the store can still look.
func (d *drill) remember(ctx context.Context, v *verification, proof *catalog.Proof, snap catalog.Snapshot, detail catalog.ProofDetail) error {
	if !d.record {
		return nil
	}
	return v.p.recordProof(ctx, v.st, proof, snap, detail)
}

// recordProof records what was found about a snapshot. That it may not write is no failure.
func (p *program) recordProof(ctx context.Context, st store.Store, proof *catalog.Proof, snap catalog.Snapshot, detail catalog.ProofDetail) error {
	proof.Database, proof.Snapshot = snap.Database, snap.Name
	detail.Creator = "litestash " + version()
	var err error
	if detail.Host, err = os.Hostname(); err != nil {
		p.log.Debug("this host has no name", "err", err)
	}
	err = catalog.RecordProof(ctx, st, proof, detail)
	if errors.Is(err, store.ErrDenied) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		p.log.Warn("what was found is not recorded: this may not write to the store (--no-record says not to try)", "err", err)
		return nil
	}
	return err
}

// A verifiedDrill is what verify tells of a drill, beside what it always tells.
type verifiedDrill struct {
	Outcome catalog.Outcome `json:"outcome"`
	Level   string          `json:"level"`           // of the check
	Check   string          `json:"check"`           // what SQLite says: sound, damaged or not checkable
	Restore float64         `json:"restore_seconds"` // what a restore takes, but for the check
	Asked   []asked         `json:"asked,omitempty"`
}

// An asked is a question and its answer.
type asked struct {
	Query  string   `json:"query"`
	Holds  bool     `json:"holds"`
	Values []string `json:"values,omitempty"`
	Why    string   `json:"why,omitempty"`
}

func newVerifiedDrill(proof *catalog.Proof, found *drilled) *verifiedDrill {
	out := &verifiedDrill{proof.Outcome, proof.Level.String(), found.check.Outcome.String(), found.rebuilt.Seconds(), nil}
	for _, a := range found.answers {
		out.Asked = append(out.Asked, asked{a.Query, a.Holds, a.Values, a.Why})
	}
	return out
}

// writeDrilled writes what a drill found, after what every verification prints.
func (p *program) writeDrilled(w io.Writer, v *verifiedDrill) error {
	_, err := fmt.Fprintf(w, "  check   %s (%s)\n  restore %s to fetch and rebuild\n", v.Check, v.Level, seconds(v.Restore))
	for _, a := range v.Asked {
		if err != nil {
			return err
		}
		result, says := p.ui.Green("holds"), strings.Join(a.Values, ", ")
		if !a.Holds {
			result = p.ui.Red("does not hold")
		}
		if a.Why != "" {
			says = a.Why
		}
		if says != "" {
			says = ": " + says
		}
		_, err = fmt.Fprintf(w, "  asked   %s\n          %s%s\n", ui.Safe(a.Query), result, ui.Safe(says))
	}
	return err
}
