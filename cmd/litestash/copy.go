package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/progress"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/transfer"
)

func (p *program) copyCommand() *cli.Command {
	return &cli.Command{
		Name:      "copy",
		Usage:     "copy snapshots from one store to another, checked on the way",
		ArgsUsage: "[NAME...]",
		Description: "Copies the snapshots of each database NAME, or of all, with their holds, byte for byte and under the\n" +
			"same keys. That SQLite or an --assert found the database damaged or not what it should be is copied as\n" +
			"well; other proofs are of the store in which they were recorded, and verify --check proves the copy.\n" +
			"What is there already is compared and left; what is about to be deleted is left out. No\n" +
			"snapshot comes before what it rests on, so that an interruption leaves nothing that cannot be\n" +
			"restored; the next time goes on from there. Every page of what is copied is compared with its hash.\n" +
			"Encrypted snapshots are checked like that with --identity or a passphrase only; otherwise they are\n" +
			"copied as they are, and their form and length alone are checked.\n" +
			"The source needs the rights of restore; the copy those of push, and holds those of prune besides.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "copy from the store at `URL`; by default the one that --store names"},
			&cli.StringFlag{Name: "to", Usage: "copy to the store at `URL`"},
			&cli.IntFlag{Name: "concurrency", DefaultText: "4", Usage: "copy `N` snapshots at once"},
		},
		Action: p.copy,
	}
}

// A copied is one line of copy's results.
type copied struct {
	Database string  `json:"database"`
	Copied   int     `json:"copied"`  // snapshots
	Bytes    int64   `json:"bytes"`   // stored, of these
	Sealed   int     `json:"sealed"`  // of these, encrypted ones that no identity opened
	There    int     `json:"there"`   // snapshots that were there already
	Leaving  int     `json:"leaving"` // snapshots that are about to be deleted
	Records  int     `json:"records"` // holds and findings
	Failed   int     `json:"failed"`  // each with an error of its own
	Behind   int     `json:"behind"`  // snapshots that rest on what is not in the copy
	Elapsed  float64 `json:"elapsed_seconds"`
}

func (p *program) copy(c *cli.Context) error {
	if err := notNegative(c, "concurrency"); err != nil {
		return err
	}
	names, err := parseNames(c.Args().Slice())
	if err != nil {
		return err
	}
	from, to, err := p.openBoth(c)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if names, err = databaseNames(c.Context, from); err != nil {
			return err
		}
		if len(names) == 0 {
			return errNoDatabases
		}
	}
	opts := transfer.Options{Concurrency: c.Int("concurrency"), Logger: p.log}
	if opts.Identities, err = p.keys.open(); err != nil {
		return err
	}
	return p.each(c.Context, len(names), func(i int) error { return p.copyOne(c.Context, from, to, names[i], opts) })
}

// openBoth opens the stores that are copied from and to.
func (p *program) openBoth(c *cli.Context) (from, to store.Store, err error) {
	if c.String("to") == "" {
		return nil, nil, usagef("copy: name with --to the store to copy to")
	}
	if url := c.String("from"); url != "" {
		p.storeURL = url
	}
	if from, err = p.openStore(c.Context); err != nil {
		return nil, nil, err
	}
	p.storeURL = c.String("to")
	if to, err = p.openStoreWith(c.Context, store.Options{AllowNew: true}); err != nil {
		return nil, nil, err
	}
	if store.Within(to, from) {
		return nil, nil, usagef("copy: --to lies in the store that is copied from, where its databases would be taken for more of that")
	}
	return from, to, nil
}

// copyOne copies one database and prints what came of it.
func (p *program) copyOne(ctx context.Context, from, to store.Store, database string, opts transfer.Options) error {
	start := time.Now()
	opts.Meter = new(progress.Meter)
	stop := p.ui.Bar("copy "+database, opts.Meter)
	r, err := transfer.Database(ctx, from, to, database, opts)
	stop()
	if r == nil {
		return err
	}
	perr := p.printCopied(&copied{
		Database: database,
		Copied:   r.Copied,
		Bytes:    r.Bytes,
		Sealed:   r.Sealed,
		There:    r.There,
		Leaving:  r.Leaving,
		Records:  r.Records,
		Failed:   len(r.Failed),
		Behind:   r.Behind,
		Elapsed:  time.Since(start).Seconds(),
	})
	failed := p.reportFailed(r.Failed)
	if err = errors.Join(err, perr); err != nil {
		return err
	}
	return failed
}

// reportFailed tells what could not be copied, if anything could not.
func (p *program) reportFailed(failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	code := exitSome
	for i, err := range failed {
		if judge(err).code == exitDamaged {
			code = exitDamaged
		}
		if i < mostTold {
			p.tell(err)
		}
	}
	if rest := len(failed) - mostTold; rest > 0 {
		p.ui.Warn("%d more could not be copied", rest)
	}
	return &reportedError{code}
}

func (p *program) printCopied(r *copied) error {
	return p.ui.Result(r, func(w io.Writer) error {
		sealed := ""
		if r.Sealed > 0 {
			sealed = fmt.Sprintf(", of which %s encrypted and only seen from outside", human.Count(int64(r.Sealed)))
		}
		_, err := fmt.Fprintf(w, "%s  %s copied\n  stored  %s%s\n", p.ui.Bold(ui.Safe(r.Database)), counted(r.Copied, "snapshot"), human.Bytes(r.Bytes), sealed)
		for _, line := range []struct {
			n    int
			text string
		}{
			{r.There, "there   %s already\n"},
			{r.Leaving, "left    %s about to be deleted\n"},
			{r.Behind, "left    %s resting on what is not in the copy\n"},
			{r.Failed, "failed  %s\n"},
			{r.Records, "also    %s of holds and findings\n"},
		} {
			if line.n > 0 && err == nil {
				_, err = fmt.Fprintf(w, "  "+line.text, human.Count(int64(line.n)))
			}
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "  took    %s\n", seconds(r.Elapsed))
		}
		return err
	})
}
