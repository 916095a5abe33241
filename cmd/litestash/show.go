package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/restore"
)

func (p *program) showCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show what a snapshot says about itself, and what restoring it takes",
		ArgsUsage: "NAME [SNAPSHOT]",
		Description: "Shows the facts of one snapshot and what it rests on. SNAPSHOT takes what restore --at takes;\n" +
			"by default it is the newest. What a restore reads is planned as a restore does it; for a delta\n" +
			"that reads the page tables of all that it rests on.",
		Action: p.show,
	}
}

// A shown is the result of show.
type shown struct {
	Database string            `json:"database"`
	Snapshot string            `json:"snapshot"`
	Time     time.Time         `json:"time"`
	Kind     string            `json:"kind"`
	Key      string            `json:"key"`
	Root     format.Root       `json:"root"`
	Size     int64             `json:"size"`
	PageSize int               `json:"page_size"`
	Pages    uint32            `json:"pages"`
	Carried  uint32            `json:"carried"`
	Stored   int64             `json:"stored"`
	Sealed   bool              `json:"encrypted,omitempty"`
	Held     bool              `json:"held,omitempty"`
	Checked  *lastCheck        `json:"checked,omitempty"` // if it ever was
	Parent   string            `json:"parent,omitempty"`
	Chain    []format.Link     `json:"chain"`
	Restore  *shownPlan        `json:"restore,omitempty"` // unless it cannot be restored
	Host     string            `json:"host"`
	Path     string            `json:"path"`
	History  string            `json:"history"`
	Creator  string            `json:"creator"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// A shownPlan says what a restore reads.
type shownPlan struct {
	Objects  int   `json:"objects"`
	Requests int64 `json:"requests"`
	Bytes    int64 `json:"bytes"`
}

func (p *program) show(c *cli.Context) error {
	if err := wantArgs(c, 1, 2); err != nil {
		return err
	}
	name, err := parseName(c.Args().First())
	if err != nil {
		return err
	}
	asked := "latest"
	if c.NArg() > 1 {
		asked = c.Args().Get(1)
	}
	at, err := parseMoment("show", asked, time.Now())
	if err != nil {
		return err
	}
	in, err := p.openLookup(c.Context)
	if err != nil {
		return err
	}
	ids, err := p.keys.open()
	if err != nil {
		return err
	}
	var snap catalog.Snapshot
	var t *format.Tail
	err = restore.Anew(func() (catalog.Snapshot, error) {
		snap, _, err = in.find(c.Context, name, at)
		return snap, err
	}, func(snap catalog.Snapshot) (err error) {
		t, err = catalog.ReadTail(c.Context, in.st, snap, ids)
		if errors.Is(err, fs.ErrNotExist) {
			err = &chain.HoleError{Snapshot: snap, Missing: snap.Key}
		}
		return err
	}, p.log)
	if err != nil {
		return err
	}
	plan, perr := restore.Plan(c.Context, in.st, snap, restore.Options{Identities: ids, TempDir: p.tempDir, Logger: p.log})
	holds, err := catalog.Holds(c.Context, in.st, name)
	if err != nil {
		return err
	}
	proofs, err := catalog.ProofsOf(c.Context, in.st, name, snap.Name)
	if err != nil {
		return err
	}
	s := newShown(snap, t.Index)
	s.Checked = lastChecks(proofs)(snap.Name)
	s.Held = slices.ContainsFunc(holds, func(h catalog.Hold) bool { return h.Snapshot == snap.Name })
	if perr == nil {
		s.Restore = &shownPlan{plan.Objects, plan.Requests, plan.Bytes}
	}
	return errors.Join(p.printShown(s), chain.Explain(c.Context, in.st, perr))
}

func newShown(snap catalog.Snapshot, x *format.Index) *shown {
	s := &shown{
		Database: x.Database,
		Snapshot: x.Snapshot.String(),
		Time:     x.Snapshot.Time.UTC(),
		Kind:     x.Kind().String(),
		Key:      snap.Object.Key,
		Root:     x.Root,
		Size:     x.Size(),
		PageSize: x.PageSize,
		Pages:    x.Pages,
		Carried:  x.Carried,
		Stored:   snap.Object.Size,
		Sealed:   snap.Encrypted,
		Chain:    append([]format.Link{}, x.Chain...), // JSON: [] rather than null, which Concat of nothing is
		Host:     x.Source.Host,
		Path:     x.Source.Path,
		History:  x.Snapshot.ID.Lineage().String(),
		Creator:  x.Creator,
		Tags:     x.Tags,
	}
	if !x.Parent.IsZero() {
		s.Parent = x.Parent.String()
	}
	return s
}

func (p *program) printShown(s *shown) error {
	return p.ui.Result(s, func(w io.Writer) error {
		lines := [][2]string{
			{"taken", human.Time(s.Time)},
			{"kind", s.Kind + ifEncrypted(s.Sealed)},
			{"root", s.Root.String()},
			{"size", fmt.Sprintf("%s, %s of %d bytes", human.Bytes(s.Size), counted(int(s.Pages), "page"), s.PageSize)},
			{"stored", fmt.Sprintf("%s for %s", human.Bytes(s.Stored), counted(int(s.Carried), "page"))},
			{"source", s.Path + " on " + s.Host},
			{"history", s.History},
			{"creator", s.Creator},
			{"key", s.Key},
			{"checked", s.Checked.String()},
		}
		if s.Held {
			lines = append(lines, [2]string{"held", "until litestash unhold lets it go"})
		}
		for _, k := range slices.Sorted(maps.Keys(s.Tags)) {
			lines = append(lines, [2]string{"tag", k + "=" + s.Tags[k]})
		}
		if r := s.Restore; r != nil {
			lines = append(lines, [2]string{"restore", fmt.Sprintf("reads %s of %s in %s", human.Bytes(r.Bytes), counted(r.Objects, "object"), counted(int(r.Requests), "request"))})
		}
		for _, k := range s.Chain {
			lines = append(lines, [2]string{"rests on", fmt.Sprintf("%s, %s", k.Key, human.Bytes(k.Size))})
		}
		if _, err := fmt.Fprintf(w, "%s  %s\n", p.ui.Bold(ui.Safe(s.Database)), s.Snapshot); err != nil {
			return err
		}
		for _, l := range lines {
			if _, err := fmt.Fprintf(w, "  %-8s  %s\n", l[0], ui.Safe(l[1])); err != nil {
				return err
			}
		}
		return nil
	})
}
