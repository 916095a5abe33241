package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/sample"
	"github.com/litestash/litestash/internal/ui"
)

// say prints a document, or the text unless quiet is asked for. What explains the results of a demo
// is a result of it as well.
func (d *demo) say(document any, text func(io.Writer) error) error {
	if d.p.ui.Quiet() && !d.p.ui.JSON() {
		return nil
	}
	return d.p.ui.Result(document, text)
}

// heading shows a command before it runs.
func (d *demo) heading(title, command string) error {
	if d.p.ui.JSON() {
		return nil // it is in the document
	}
	return d.say(nil, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "\n%s\n%s\n", title, d.prompt(command))
		return err
	})
}

func (d *demo) prompt(command string) string { return "$ " + d.p.ui.Bold(ui.Safe(command)) }

func (d *demo) finishCommand(step *demoStep) error {
	if d.p.ui.JSON() {
		return d.p.ui.Result(step, nil)
	}
	if step.Step != "push" || d.writer == nil {
		return nil
	}
	return d.say(nil, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "  beside  %s commits by the other process meanwhile\n", human.Count(step.Commits))
		return err
	})
}

// introduce says what there is.
func (d *demo) introduce() error {
	info, err := os.Stat(d.db)
	if err != nil {
		return err
	}
	v := struct {
		Step   string `json:"step"`
		DB     string `json:"db"`
		Size   int64  `json:"size"`
		Writer int    `json:"writer_pid,omitempty"`
		Store  string `json:"store"`
		Name   string `json:"database"`
	}{"prepare", d.db, info.Size(), 0, d.p.storeURL, d.name}
	origin := "It is yours, and is only read."
	if d.writer != nil {
		v.Writer = d.writer.cmd.Process.Pid
		origin = fmt.Sprintf("A sample. Process %d adds orders to it, one in each transaction, hundreds a second.", v.Writer)
	}
	fate := "A temporary directory. Yours should be on another disk, or s3://bucket/prefix."
	switch {
	case !d.ownStore && d.keep:
		fate = "The one that you named. The snapshots stay there as " + d.name + "."
	case !d.ownStore:
		fate = "The one that you named. The snapshots are kept as " + d.name + " and deleted in the end."
	}
	return d.say(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "database  %s, %s\n          %s\nstore     %s\n          %s\n%s\n",
			ui.Safe(d.db), human.Bytes(info.Size()), origin, ui.Safe(d.p.storeURL), fate,
			d.prompt("export LITESTASH_STORE="+shellQuote(d.p.storeURL)))
		return err
	})
}

// compare looks into the restored database.
func (d *demo) compare(ctx context.Context, snap catalog.Snapshot) error {
	if d.writer == nil {
		return d.countRows(ctx)
	}
	restored, err := sample.Read(ctx, d.restored, math.MaxInt64)
	if err != nil {
		return err
	}
	then, err := sample.Read(ctx, d.db, restored.Orders)
	if err != nil {
		return err
	}
	now, err := sample.Read(ctx, d.db, math.MaxInt64)
	if err != nil {
		return err
	}
	taken := snap.Name.Time.UTC().Format(demoTime)
	// It may hold what was committed a moment after the time that it is said to be of, and nothing less than by then.
	if !restored.Agrees() || restored.Orders != then.Orders || restored.Cents != then.Cents || restored.Last != then.Last {
		return fmt.Errorf("%w: the snapshot of %s holds %+v where the database had %+v", errDemoDiffers, taken, restored, then)
	}
	command := commandLine("sqlite3", d.restored, sample.Query)
	if err := d.heading("Look inside. Each transaction adds an order and changes the totals.", command); err != nil {
		return err
	}
	t := d.p.ui.NewTable("", ">ORDERS", ">TOTALS SAY", ">SUM", "NEWEST (UTC)")
	row := func(title string, s sample.State) {
		t.Row(title, human.Count(s.Orders), human.Count(s.TotalOrders), money(s.Cents), strings.TrimSuffix(strings.Replace(s.Last, "T", " ", 1), "Z"))
	}
	row("restored", restored)
	row("live, now", now)
	return d.say(struct {
		Step     string       `json:"step"`
		Command  string       `json:"command"`
		Taken    string       `json:"taken"`
		Restored sample.State `json:"restored"`
		Then     sample.State `json:"live_then"`
		Now      sample.State `json:"live_now"`
	}{"compare", command, taken, restored, then, now}, func(w io.Writer) error {
		if err := t.Write(w); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "It is one instant, %s: the restored totals agree with the restored orders, and these\nare the first %s of the live database, which has gone on.\n",
			strings.TrimSuffix(taken[len("2006-01-02T"):], "Z"), human.Count(restored.Orders))
		return err
	})
}

// errDemoDiffers would be the end of all trust.
var errDemoDiffers = errors.New("the restored database is not the one that was pushed")

func money(cents int64) string { return fmt.Sprintf("%s.%02d", human.Count(cents/100), cents%100) }

// countRows shows what a restored database of the user's holds.
func (d *demo) countRows(ctx context.Context) error {
	tables, err := sample.Count(ctx, d.restored)
	if err != nil {
		return err
	}
	const most = 10
	t := d.p.ui.NewTable("TABLE", ">ROWS")
	var queries []string
	for _, table := range tables[:min(most, len(tables))] {
		t.Row(ui.Safe(table.Name), human.Count(table.Rows))
		queries = append(queries, `SELECT count(*) FROM `+sample.Quote(table.Name))
	}
	command := commandLine("sqlite3", d.restored, strings.Join(queries, "; "))
	if err := d.heading("Look inside. These should be the rows that you know.", command); err != nil {
		return err
	}
	return d.say(struct {
		Step    string         `json:"step"`
		Command string         `json:"command"`
		Tables  []sample.Table `json:"tables"`
	}{"compare", command, tables}, func(w io.Writer) error {
		if err := t.Write(w); err != nil {
			return err
		}
		if more := len(tables) - most; more > 0 {
			_, err := fmt.Fprintf(w, "and %d more tables\n", more)
			return err
		}
		return nil
	})
}

// conclude says what comes next.
func (d *demo) conclude() error {
	next := []string{"export LITESTASH_STORE=/mnt/backup/litestash", "litestash push app.db", "litestash restore app.db -o restored.db"}
	end := "All of this is removed again."
	if d.keep {
		end = "All of this stays in " + d.dir + "."
	}
	return d.say(struct {
		Step string   `json:"step"`
		Kept string   `json:"kept,omitempty"`
		Next []string `json:"next"`
	}{"done", kept(d), next}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "\n%s Now with a database of yours, and a store on another disk\nor s3://bucket/prefix:\n", ui.Safe(end))
		for _, line := range next {
			if err == nil {
				_, err = fmt.Fprintln(w, d.prompt(line))
			}
		}
		return err
	})
}

func kept(d *demo) string {
	if d.keep {
		return d.dir
	}
	return ""
}

// commandLine returns a command as it has to be typed.
func commandLine(name string, args ...string) string {
	words := []string{name}
	for _, a := range args {
		words = append(words, shellQuote(a))
	}
	return strings.Join(words, " ")
}
