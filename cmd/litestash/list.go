package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
)

func (p *program) listCommand() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "list the databases in the store, or one database's snapshots",
		ArgsUsage: "[NAME]",
		Description: "Without NAME lists the databases; with it, that database's snapshots, the newest last, with what each\n" +
			"one builds on, of how many objects a restore reads how much at most, and when it was last proved by\n" +
			"verify --check. That takes a few listings, and opens no snapshot. Snapshots that cannot be restored,\n" +
			"because something that they rest on is gone, are told, and make the exit code 4.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "long", Usage: "also read of each snapshot of NAME how many pages had changed, its size and its root"},
		},
		Action: p.list,
	}
}

// A listedDatabase is one line of list without a name.
type listedDatabase struct {
	Database  string    `json:"database"`
	Snapshots int       `json:"snapshots"`
	Stored    int64     `json:"stored"`
	Oldest    time.Time `json:"oldest"`
	Newest    time.Time `json:"newest"`
}

// A listedSnapshot is one line of list with a name.
type listedSnapshot struct {
	Database string      `json:"database"`
	Snapshot string      `json:"snapshot"`
	Time     time.Time   `json:"time"`
	Kind     string      `json:"kind"`
	Stored   int64       `json:"stored"`
	Sealed   bool        `json:"encrypted,omitempty"`
	Held     bool        `json:"held,omitempty"`
	Checked  *lastCheck  `json:"checked,omitempty"` // if it ever was
	History  string      `json:"history"`
	Key      string      `json:"key"`
	Parent   string      `json:"parent,omitempty"`     // what it builds on
	Missing  string      `json:"missing,omitempty"`    // the id of what it rests on and is gone
	Chain    int         `json:"chain_length"`         // snapshots that it rests on
	Restore  *listedPath `json:"restore,omitempty"`    // unless it cannot be restored
	Unread   string      `json:"unreadable,omitempty"` // with --long: why the rest is not known
	*listedFacts
}

// A listedPath says what a restore has to read, as far as a listing tells.
type listedPath struct {
	Objects int   `json:"objects"`
	AtMost  int64 `json:"bytes_at_most"`
}

// listedFacts are what a snapshot says about itself.
type listedFacts struct {
	Carried  uint32      `json:"carried"` // pages that it holds: those that had changed
	Pages    uint32      `json:"pages"`
	PageSize int         `json:"page_size"`
	Size     int64       `json:"size"`
	Root     format.Root `json:"root"`
}

func (p *program) list(c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	long := c.Bool("long")
	if long && c.NArg() == 0 {
		return usagef("list: --long is about the snapshots of one database: name it")
	}
	st, err := p.openStore(c.Context)
	if err != nil {
		return err
	}
	if c.NArg() == 0 {
		databases, err := catalog.Databases(c.Context, st)
		if err != nil {
			return err
		}
		return p.printDatabases(databases)
	}
	name, err := parseName(c.Args().First())
	if err != nil {
		return err
	}
	return p.listOne(c.Context, st, name, long)
}

// listOne lists the snapshots of a database.
func (p *program) listOne(ctx context.Context, st store.Store, name string, long bool) error {
	snapshots, err := catalog.List(ctx, st, name)
	if err != nil {
		return err
	}
	list := listSnapshots(snapshots)
	damage := losses(snapshots)
	if long {
		ids, err := p.keys.open()
		if err != nil {
			return err
		}
		damaged, err := readFacts(ctx, st, ids, snapshots, list)
		if err != nil {
			return err
		}
		damage = append(damage, damaged...)
	}
	if err := addRecords(ctx, st, name, snapshots, list); err != nil {
		return err
	}
	if err := p.printSnapshots(list, long); err != nil {
		return err
	}
	p.noteHistories(snapshots)
	return p.reportDamage(name, damage)
}

// listSnapshots tells of each snapshot what a listing tells.
func listSnapshots(snapshots []catalog.Snapshot) []listedSnapshot {
	list := make([]listedSnapshot, len(snapshots))
	for i, path := range catalog.Paths(snapshots) {
		s := snapshots[i]
		l := listedSnapshot{
			Database: s.Database,
			Snapshot: s.Name.String(),
			Time:     s.Name.Time.UTC(),
			Kind:     s.Kind.String(),
			Stored:   s.Object.Size,
			Sealed:   s.Encrypted,
			History:  s.Name.ID.Lineage().String(),
			Key:      s.Object.Key,
			Chain:    path.Objects - 1,
		}
		if path.Parent >= 0 {
			l.Parent = snapshots[path.Parent].Name.String()
		}
		switch path.State {
		case catalog.Whole:
			l.Restore = &listedPath{path.Objects, path.Stored}
		case catalog.Broken:
			l.Missing = path.Missing.String()
		}
		list[i] = l
	}
	return list
}

// addRecords says of each snapshot in list, which is of snapshots, whether it is held and what checks came to.
func addRecords(ctx context.Context, st store.Store, name string, snapshots []catalog.Snapshot, list []listedSnapshot) error {
	holds, err := catalog.Holds(ctx, st, name)
	if err != nil {
		return err
	}
	held := map[format.Name]bool{}
	for _, h := range holds {
		held[h.Snapshot] = true
	}
	proofs, err := catalog.Proofs(ctx, st, name)
	if err != nil {
		return err
	}
	checked := lastChecks(proofs)
	for i, s := range snapshots {
		list[i].Held, list[i].Checked = held[s.Name], checked(s.Name)
	}
	return nil
}

// readFacts adds to list what each snapshot says about itself, and returns what is wrong with those that are
// damaged.
func readFacts(ctx context.Context, st store.Store, ids *seal.Identities, snapshots []catalog.Snapshot, list []listedSnapshot) (damaged []error, err error) {
	var mu sync.Mutex
	err = catalog.ReadTails(ctx, st, snapshots, ids, func(i int, t *format.Tail, err error) error {
		if err == nil {
			x := t.Index
			list[i].listedFacts = &listedFacts{x.Carried, x.Pages, x.PageSize, x.Size(), x.Root}
			return nil
		}
		list[i].Unread = err.Error()
		switch {
		case snapshots[i].Kind == format.Unknown, errors.As(err, new(*seal.LockedError)), errors.As(err, new(*format.VersionError)),
			errors.Is(err, fs.ErrNotExist): // deleted meanwhile
			return nil
		case errors.Is(err, format.ErrDamaged):
			mu.Lock()
			defer mu.Unlock()
			damaged = append(damaged, err)
			return nil
		}
		return err
	})
	return damaged, err
}

func (p *program) printDatabases(databases []catalog.Database) error {
	list := make([]listedDatabase, len(databases))
	t := p.ui.NewTable("DATABASE", ">SNAPSHOTS", ">STORED", "OLDEST", "NEWEST")
	for i, d := range databases {
		list[i] = listedDatabase{d.Name, d.Snapshots, d.Stored, d.First.Name.Time.UTC(), d.Newest.Name.Time.UTC()}
		t.Row(d.Name, human.Count(int64(d.Snapshots)), human.Bytes(d.Stored), shortTime(d.First.Name.Time), shortTime(d.Newest.Name.Time))
	}
	if len(list) == 0 {
		p.ui.Note("There are no snapshots in this store yet.")
	}
	return p.ui.Result(list, t.Write)
}

func (p *program) printSnapshots(list []listedSnapshot, long bool) error {
	titles := []string{"SNAPSHOT", "KIND", ">STORED", "BUILDS ON", ">OBJECTS", ">FETCHED AT MOST", "AGE", "PROVED"}
	if long {
		titles = append(titles, ">CHANGED", ">SIZE")
	}
	t := p.ui.NewTable(titles...)
	now := time.Now()
	for _, l := range list {
		kind := l.Kind + ifEncrypted(l.Sealed)
		if l.Held {
			kind += ", held"
		}
		row := []string{l.Snapshot, kind, human.Bytes(l.Stored), l.buildsOn(), "-", "cannot be restored", human.Ago(l.Time, now), l.Checked.ago(now)}
		if l.Restore != nil {
			row[4], row[5] = human.Count(int64(l.Restore.Objects)), human.Bytes(l.Restore.AtMost)
		}
		switch {
		case long && l.listedFacts != nil:
			row = append(row, counted(int(l.Carried), "page"), human.Bytes(l.Size))
		case long:
			row = append(row, "unreadable", "-")
		}
		t.Row(row...)
	}
	return p.ui.Result(list, t.Write)
}

// buildsOn returns the id of what a snapshot builds on.
func (l *listedSnapshot) buildsOn() string {
	switch {
	case l.Parent != "":
		return l.Parent[strings.LastIndexByte(l.Parent, '-')+1:]
	case l.Missing != "":
		return l.Missing + " (gone)"
	}
	return ""
}

// mostTold is how many things that are damaged or gone are told one by one.
const mostTold = 10

// reportDamage tells what is damaged or gone, if anything is.
func (p *program) reportDamage(database string, damage []error) error {
	if len(damage) == 0 {
		return nil
	}
	if rest := len(damage) - mostTold; rest > 0 {
		damage = append(damage[:mostTold:mostTold], fmt.Errorf("%s: %w: %d more are damaged or gone", database, format.ErrDamaged, rest))
	}
	for _, err := range damage {
		p.tell(err)
	}
	return &reportedError{exitDamaged}
}

// losses returns what is gone that others of all the snapshots of a database rest on.
func losses(all []catalog.Snapshot) []error {
	var list []error
	for _, l := range chain.Losses(all) {
		list = append(list, &chain.LossError{Database: all[0].Database, Loss: l})
	}
	return list
}

// noteHistories says so if there is more than one history under a name: another source was pushed
// to it, on purpose with --adopt or because two began at once.
func (p *program) noteHistories(snapshots []catalog.Snapshot) {
	type history struct {
		count       int
		first, last catalog.Snapshot
	}
	found := map[format.Lineage]*history{}
	var order []format.Lineage
	for _, s := range snapshots {
		l := s.Name.ID.Lineage()
		h := found[l]
		if h == nil {
			h = &history{first: s}
			found[l] = h
			order = append(order, l)
		}
		h.count++
		h.last = s
	}
	if len(order) < 2 {
		return
	}
	p.ui.Warn("%d histories stand under the name %s, of different files or hosts (litestash show tells which):", len(order), snapshots[0].Database)
	for _, l := range order {
		h := found[l]
		p.ui.Warn("  ids that begin with %v: %s, from %s to %s", l, counted(h.count, "snapshot"), shortTime(h.first.Name.Time), shortTime(h.last.Name.Time))
	}
}

// counted returns a number of things in words.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%s %s", human.Count(int64(n)), thing)
}

func shortTime(t format.Time) string { return t.UTC().Format(time.DateTime) }

// databaseNames returns the names of all databases in the store.
func databaseNames(ctx context.Context, st store.Store) ([]string, error) {
	databases, err := catalog.Databases(ctx, st)
	names := make([]string, len(databases))
	for i, d := range databases {
		names[i] = d.Name
	}
	return names, err
}

// parseNames reads the names of databases.
func parseNames(args []string) ([]string, error) {
	names := make([]string, len(args))
	for i, s := range args {
		var err error
		if names[i], err = parseName(s); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// parseName reads the name of a database.
func parseName(s string) (string, error) {
	name, err := format.ParseDatabase(s)
	if err != nil {
		return "", &usageError{err}
	}
	return name, nil
}
