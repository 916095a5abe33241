package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/internal/sample"
)

func (p *program) demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "show the whole round, from push to a restored file",
		Description: "Makes a sample database with another process writing to it, takes snapshots of it, lists them,\n" +
			"restores one by its time, compares and verifies, and shows the command for each step. With --db a\n" +
			"database of yours is used instead: it is only read, and its copies need up to three times its\n" +
			"size in --temp-dir. The store is a temporary directory, or the one that --store or LITESTASH_STORE\n" +
			"names: there the snapshots have a name of their own, demo/..., and are deleted in the end.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "db", Usage: "use the database `FILE` instead of a sample"},
			&cli.BoolFlag{Name: "keep", Usage: "leave the files and snapshots there, to look around"},
		},
		Action: p.demo,
	}
}

// A demo is one run of the command.
type demo struct {
	p      *program
	global []string // the flags of every command line that is run

	db, name string // the database and what its snapshots are kept under
	dir      string // of all temporary files
	restored string // where the snapshot is restored to
	ownStore bool   // the store is in dir
	keep     bool
	writer   *demoWriter // nil with a database of the user's
}

func (p *program) demo(c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	d := &demo{p: p, db: c.String("db"), keep: c.Bool("keep")}
	for _, flag := range []string{"json", "quiet", "verbose", "no-progress", "no-color"} {
		d.global = append(d.global, fmt.Sprintf("--%s=%t", flag, c.Bool(flag)))
	}
	for _, name := range c.StringSlice("identity") {
		d.global = append(d.global, "--identity", name)
	}
	err := d.run(c.Context)
	if cerr := d.cleanUp(c.Context); cerr != nil && err != nil {
		p.ui.Warn("%v", cerr)
	} else if cerr != nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return d.conclude()
}

// pushes is how many snapshots are taken, and between how many commits there are at least from one
// to the next, so that they differ.
const (
	pushes  = 3
	between = 200
)

func (d *demo) run(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.introduce(); err != nil {
		return err
	}
	push := []string{"push", d.db}
	if d.name != filepath.Base(d.db) {
		push = append(push, "--name", d.name)
	}
	titles := [pushes]string{"Take a snapshot and store it.", "And another one.", "And one more."}
	var at string
	for i, title := range titles {
		if d.writer != nil && i > 0 {
			if err := d.writer.wait(ctx, between); err != nil {
				return err
			}
		}
		if err := d.command(ctx, title, push...); err != nil {
			return err
		}
		if i == pushes-2 {
			at = time.Now().UTC().Format(demoTime)
		}
	}
	if err := d.command(ctx, "See what the store has.", "list", d.name); err != nil {
		return err
	}
	if err := d.command(ctx, "Bring it back as it was at a time, here just after the second snapshot.",
		"restore", d.name, "--at", at, "-o", d.restored); err != nil {
		return err
	}
	snap, root, err := d.find(ctx, at)
	if err != nil {
		return err
	}
	if err := d.compare(ctx, snap); err != nil {
		return err
	}
	return d.command(ctx, "Prove that snapshot without restoring it, and insist on the root that push printed.",
		"verify", d.name, "--at", snap.Name.String(), "--root", root)
}

// demoTime is the layout of the times that the sample database holds, too.
const demoTime = "2006-01-02T15:04:05.000Z"

// prepare makes what the commands are run on.
func (d *demo) prepare(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp(d.p.tempDir, "litestash-demo-"); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return err
	}
	if d.ownStore = d.p.storeURL == ""; d.ownStore {
		d.p.storeURL = filepath.Join(d.dir, "store")
	}
	d.global = append(d.global, "--store", d.p.storeURL, "--temp-dir", d.p.tempDir,
		"--state-dir", filepath.Join(d.dir, "state")) // nothing is to be remembered of what will be gone
	d.restored = filepath.Join(d.dir, "restored.db")
	if d.db == "" {
		d.db = filepath.Join(d.dir, "app.db")
		if err := d.startWriter(ctx); err != nil {
			return err
		}
	}
	if !d.ownStore {
		d.name = "demo/" + strings.ToLower(rand.Text()[:8])
		return nil
	}
	d.name, err = parseName(filepath.Base(d.db))
	return err
}

func (d *demo) startWriter(ctx context.Context) (err error) {
	if err := sample.Create(ctx, d.db); err != nil {
		return fmt.Errorf("make a sample database: %w", err)
	}
	if d.writer, err = startDemoWriter(d.db); err != nil {
		return err
	}
	return d.writer.wait(ctx, 1)
}

// A demoStep is the document of a command in demo's results.
type demoStep struct {
	Step    string            `json:"step"`
	Command string            `json:"command"`
	Results []json.RawMessage `json:"results"`                     // the documents that the command printed
	Commits int64             `json:"commits_meanwhile,omitempty"` // of the other process
}

// command runs a command line of this program as if it had been typed, and shows it.
func (d *demo) command(ctx context.Context, title string, args ...string) error {
	step := demoStep{Step: args[0], Command: commandLine("litestash", args...)}
	if err := d.heading(title, step.Command); err != nil {
		return err
	}
	before := d.writer.count()
	var documents bytes.Buffer
	p := &program{stdin: d.p.stdin, stdout: d.p.stdout, stderr: d.p.stderr}
	if d.p.ui.JSON() {
		p.stdout = &documents
	}
	app := p.app()
	line := append([]string{app.Name}, d.global...)
	if err := app.RunContext(ctx, hoist(app, append(line, args...))); err != nil {
		return err
	}
	for document := range bytes.Lines(documents.Bytes()) {
		step.Results = append(step.Results, bytes.TrimSpace(document))
	}
	step.Commits = d.writer.count() - before
	return d.finishCommand(&step)
}

// find returns the snapshot that restore found, and its root.
func (d *demo) find(ctx context.Context, at string) (snap catalog.Snapshot, root string, err error) {
	m, err := parseAt(at, time.Now())
	if err != nil {
		return snap, "", err
	}
	st, err := d.p.openStore(ctx)
	if err != nil {
		return snap, "", err
	}
	if snap, _, err = m.find(ctx, st, d.name); err != nil {
		return snap, "", err
	}
	ids, err := d.p.keys.open()
	if err != nil {
		return snap, "", err
	}
	t, err := catalog.ReadTail(ctx, st, snap, ids)
	if err != nil {
		return snap, "", err
	}
	return snap, t.Index.Root.String(), nil
}

// cleanTime is how long the end of a demo may take, whatever ended it.
const cleanTime = 30 * time.Second

// cleanUp ends the other process and removes what was made.
func (d *demo) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	err := d.writer.stop()
	if d.keep || d.dir == "" {
		return err
	}
	if !d.ownStore {
		if derr := d.deleteSnapshots(ctx); derr != nil {
			err = errors.Join(err, fmt.Errorf("remove the demo's snapshots, which may still be in the store as %s: %w", d.name, derr))
		}
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

// deleteSnapshots deletes the snapshots from a store that stays.
func (d *demo) deleteSnapshots(ctx context.Context) error {
	if d.name == "" {
		return nil
	}
	st, err := d.p.openStore(ctx)
	if err != nil {
		return err
	}
	snapshots, err := catalog.List(ctx, st, d.name)
	var none *catalog.NotFoundError
	if errors.As(err, &none) {
		return nil
	}
	if err != nil {
		return err
	}
	args := []string{"delete", d.name}
	for _, s := range snapshots {
		args = append(args, s.Name.String())
	}
	return d.command(ctx, "Delete what this demo has stored.", args...)
}
