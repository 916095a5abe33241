package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/snapshot"
)

// A recovery brings databases back, by the same rules for whoever asks for it.
type recovery struct {
	*lookup
	p      *program
	at     moment
	maxGap time.Duration        // 0 is any
	check  *snapshot.CheckLevel // nil is none
	opts   restore.FileOptions  // its Meter and its Check are set for each database

	ifMissing bool // what is there already stays, and all is well
	ifAny     bool // if the store has no snapshot at all, all is well
}

// A restored is the result of bringing a database back. If Skipped says why there was nothing to do, the
// rest is not known.
type restored struct {
	Database string `json:"database"`
	Path     string `json:"path"`
	Skipped  string `json:"skipped,omitempty"` // see skippedThere and skippedNone
	*restoredFacts
}

type restoredFacts struct {
	Snapshot string      `json:"snapshot"`
	Asked    time.Time   `json:"asked"`
	Got      time.Time   `json:"got"`
	Gap      float64     `json:"gap_seconds"`
	Kept     string      `json:"kept,omitempty"`
	Root     format.Root `json:"root"`
	Size     int64       `json:"size"`
	Check    string      `json:"check"` // none, sound or not checkable
	Fetched  int64       `json:"fetched"`
	Requests int64       `json:"requests"`
	Reused   int64       `json:"reused"`
	Elapsed  float64     `json:"elapsed_seconds"`
}

// Reasons for which there is nothing to restore.
const (
	skippedThere = "exists"
	skippedNone  = "no snapshots"
)

// report brings a database back to path and prints what came of it.
func (r *recovery) report(ctx context.Context, database, path string) error {
	out, err := r.restore(ctx, database, path)
	if err != nil {
		return err
	}
	return r.p.printRestored(out)
}

// reportAll brings every database back to its name below dir, one after the other. One that fails does not
// keep the others from it.
func (r *recovery) reportAll(ctx context.Context, dir string) error {
	names, err := databaseNames(ctx, r.st)
	if err != nil {
		return err
	}
	for name := range r.pushed { // what has gone as a whole is not listed, and missed
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 && r.ifAny {
		r.p.ui.Note("There are no snapshots in this store: nothing was restored.")
		return nil
	}
	if len(names) == 0 {
		return errNoDatabases
	}
	return r.reportEach(ctx, names, dir)
}

// reportEach brings databases back to their names below dir, as reportAll does.
func (r *recovery) reportEach(ctx context.Context, names []string, dir string) error {
	r.opts.MakeParents = true
	tree := restore.NewTree(dir)
	return r.p.each(ctx, len(names), func(i int) error {
		path, err := tree.Path(names[i])
		if err != nil {
			return err
		}
		return r.report(ctx, names[i], path)
	})
}

// errNoDatabases says that a store is empty.
var errNoDatabases = errors.New("there are no snapshots in the store")

// errNoneThen says that all snapshots in a store are of later times.
var errNoneThen = errors.New("no database has a snapshot of that time or before")

// restore brings a database back to path; - is standard output.
func (r *recovery) restore(ctx context.Context, database, path string) (*restored, error) {
	out := &restored{Database: database, Path: path}
	if r.ifMissing {
		if there, err := isThere(path); there || err != nil {
			out.Skipped = skippedThere
			return out, err
		}
	}
	facts, err := r.fetch(ctx, database, path)
	var none *catalog.NotFoundError
	if r.ifAny && errors.As(err, &none) && none.What == "" {
		out.Skipped = skippedNone
		return out, nil
	}
	out.restoredFacts = facts
	return out, err
}

// isThere reports whether there is a file at path. A link that leads nowhere is an error: it may lead to a
// disk that is not mounted.
func isThere(path string) (bool, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return true, fmt.Errorf("restore to %s: %w", path, restore.ErrNotFile)
	}
	if err == nil {
		return true, nil
	}
	if _, lerr := os.Lstat(path); errors.Is(lerr, fs.ErrNotExist) {
		return false, nil
	}
	return false, fmt.Errorf("restore to %s: it leads nowhere: %w", path, err)
}

// fetch restores the snapshot that is asked for. Should it be deleted meanwhile, it begins anew.
func (r *recovery) fetch(ctx context.Context, database, path string) (*restoredFacts, error) {
	start := time.Now()
	var facts *restoredFacts
	err := restore.Anew(func() (catalog.Snapshot, error) {
		return r.find(ctx, database)
	}, func(snap catalog.Snapshot) error {
		checked, opts := "none", r.opts
		opts.Meter = new(progress.Meter)
		if r.check != nil {
			opts.Check = r.p.checker(*r.check, &checked)
		}
		stop := r.p.ui.Bar("restore "+database, opts.Meter)
		result, err := r.restoreTo(ctx, snap, path, opts)
		stop()
		if err == nil {
			facts = r.facts(snap, result, checked, time.Since(start))
		}
		return err
	}, r.p.log)
	return facts, chain.Explain(ctx, r.st, err)
}

// find finds the snapshot that is asked for.
func (r *recovery) find(ctx context.Context, database string) (catalog.Snapshot, error) {
	snap, seen, err := r.lookup.find(ctx, database, r.at)
	if err != nil {
		return snap, err
	}
	if gap := r.at.gap(snap); r.maxGap > 0 && gap > r.maxGap {
		return snap, &gapError{snap, gap, r.maxGap}
	}
	if other, ok := otherHistory(snap, seen); ok {
		r.p.log.Warn("another file's history stands under this name too (--at takes a name)", "database", database, "newest up to then", other.Name)
	}
	return snap, nil
}

func (r *recovery) restoreTo(ctx context.Context, snap catalog.Snapshot, path string, opts restore.FileOptions) (*restore.Result, error) {
	if path == "-" {
		result, err := restore.Stream(ctx, r.st, snap, &pipeWriter{ctx, r.p.stdout}, opts.Options)
		if err == nil {
			err = flush(r.p.stdout)
		}
		return result, err
	}
	return restore.File(ctx, r.st, snap, path, opts)
}

func (r *recovery) facts(snap catalog.Snapshot, result *restore.Result, checked string, elapsed time.Duration) *restoredFacts {
	return &restoredFacts{
		Snapshot: snap.Name.String(),
		Asked:    r.at.time.UTC(),
		Got:      snap.Name.Time.UTC(),
		Gap:      r.at.gap(snap).Seconds(),
		Kept:     result.Kept,
		Root:     result.Index.Root,
		Size:     result.Index.Size(),
		Check:    checked,
		Fetched:  result.Fetched,
		Requests: result.Requests,
		Reused:   result.Reused,
		Elapsed:  elapsed.Seconds(),
	}
}

// parseCheck reads how deep SQLite is to check; nil is not at all.
func parseCheck(level string) (*snapshot.CheckLevel, error) {
	switch level {
	case "none":
		return nil, nil
	case "quick":
		return new(snapshot.Quick), nil
	case "full":
		return new(snapshot.Full), nil
	}
	return nil, usagef("--check %q: want none, quick or full", level)
}

// errUnsound says that SQLite finds a restored database damaged, though it is what was pushed.
var errUnsound = errors.New("SQLite finds the database damaged")

// checker returns a function that lets SQLite check a restored database. One that only its
// application can check, because the schema needs functions that SQLite lacks, is no failure.
func (p *program) checker(level snapshot.CheckLevel, outcome *string) func(context.Context, string) error {
	return func(ctx context.Context, path string) error {
		r, err := snapshot.Check(ctx, path, level)
		if err != nil {
			return err
		}
		*outcome = r.Outcome.String()
		switch r.Outcome {
		case snapshot.Damaged:
			return fmt.Errorf("%w: %s", errUnsound, firstFinding(r.Messages))
		case snapshot.NotCheckable:
			p.log.Warn("SQLite cannot check the database", "why", r.Messages[0])
		}
		return nil
	}
}

func (p *program) printRestored(r *restored) error {
	text := func(w io.Writer) error { return p.writeRestored(w, r) }
	if r.Path == "-" { // standard output is taken
		return p.ui.Remark(text)
	}
	return p.ui.Result(r, text)
}

func (p *program) writeRestored(w io.Writer, r *restored) error {
	switch r.Skipped {
	case skippedThere:
		_, err := fmt.Fprintf(w, "%s  is there already: nothing was restored\n", p.ui.Bold(ui.Safe(r.Path)))
		return err
	case skippedNone:
		_, err := fmt.Fprintf(w, "%s  has no snapshots in the store: nothing was restored\n", p.ui.Bold(ui.Safe(r.Database)))
		return err
	}
	_, err := fmt.Fprintf(w, "%s  %s\n  asked   %s\n  got     %s, %s before\n  root    %v\n  size    %s, checked: %s\n  took    %s, %s in %s%s\n",
		p.ui.Bold(ui.Safe(r.Path)), r.Snapshot, human.Time(r.Asked), human.Time(r.Got), seconds(r.Gap), r.Root,
		human.Bytes(r.Size), r.Check, seconds(r.Elapsed), human.Bytes(r.Fetched), counted(int(r.Requests), "request"), reused(r.Reused))
	if err == nil && r.Kept != "" {
		_, err = fmt.Fprintf(w, "  kept    %s\n", ui.Safe(r.Kept))
	}
	return err
}

// reused tells how much was taken from an older copy, after what was fetched.
func reused(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return ", " + human.Bytes(bytes) + " reused"
}
