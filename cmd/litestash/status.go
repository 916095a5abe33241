package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/survey"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "tell how databases stand: their age, when they were proved, what is missing",
		ArgsUsage: "[NAME]",
		Description: "Prints one line for NAME, or for every database in the store. Exits with 4 if something is\n" +
			"damaged or missing, and with 5 if something is older than --max-age or --max-unverified allow.\n" +
			"It reads what has been recorded, by verify --check among others, and little else. With --quiet it\n" +
			"prints only what is not as it should be.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all-databases", Usage: "tell of every database, as without NAME"},
			&cli.StringFlag{Name: "max-age", Usage: "insist that the newest snapshot is at most `TIME`, such as 25h, old"},
			&cli.StringFlag{Name: "max-unverified", Usage: "insist that the database was proved to restore, as it was at most `TIME`, such as 8d, ago"},
		},
		Action: p.status,
	}
}

// A standing is one line of status.
type standing struct {
	Database  string     `json:"database"`
	State     string     `json:"state"` // ok, or what is wrong
	Problems  []string   `json:"problems,omitempty"`
	Newest    string     `json:"newest,omitempty"` // snapshot
	Time      *time.Time `json:"time,omitempty"`
	Age       float64    `json:"age_seconds"`
	Proved    *time.Time `json:"proved,omitempty"` // up to when
	Chain     int        `json:"chain"`
	Snapshots int        `json:"snapshots"`
	Damaged   int        `json:"damaged"` // of the snapshots
	Size      *int64     `json:"size,omitempty"`
	Stored    int64      `json:"stored"`
	Growth    int64      `json:"stored_7d"`
}

func (p *program) status(c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	var limits survey.Limits
	var err error
	if limits.MaxAge, err = parseLimit(c, "max-age"); err != nil {
		return err
	}
	if limits.MaxUnverified, err = parseLimit(c, "max-unverified"); err != nil {
		return err
	}
	all, err := p.survey(c, limits)
	if err != nil {
		return err
	}
	if err := p.printStatus(all); err != nil {
		return err
	}
	return p.statusProblems(all)
}

// survey looks at the databases that are asked about.
func (p *program) survey(c *cli.Context, limits survey.Limits) ([]survey.Status, error) {
	name := ""
	if c.NArg() > 0 || c.Bool("all-databases") {
		var err error
		if name, err = databaseArg(c); err != nil {
			return nil, err
		}
	}
	st, err := p.openStore(c.Context)
	if err != nil {
		return nil, err
	}
	remembered, err := state.Remembered(p.stateDir, fmt.Sprint(st))
	if err != nil {
		return nil, err
	}
	databases, err := surveyed(c.Context, st, name)
	if name != "" {
		remembered = map[string]format.Name{name: remembered[name]}
	}
	if err = unlessRemembered(err, remembered); err != nil {
		return nil, err
	}
	var all []survey.Status
	for _, d := range withRemembered(databases, remembered) {
		all = append(all, d.Status(time.Now(), limits, remembered[d.Name]))
	}
	if len(all) == 0 {
		return nil, errNoStatus
	}
	ids, err := p.keys.open()
	if err != nil {
		return nil, err
	}
	return all, survey.Measure(c.Context, st, ids, all)
}

// surveyed returns a database, or all of them if name is empty.
func surveyed(ctx context.Context, st store.Store, name string) ([]survey.Database, error) {
	if name == "" {
		return survey.List(ctx, st)
	}
	d, err := survey.Look(ctx, st, name)
	return []survey.Database{d}, err
}

// unlessRemembered returns err, unless it says that there is no database which this host has pushed: that it is
// missing is its status then.
func unlessRemembered(err error, remembered map[string]format.Name) error {
	none, ok := err.(*catalog.NotFoundError)
	if ok && !remembered[none.Database].IsZero() {
		return nil
	}
	return err
}

// withRemembered adds the databases that this host has pushed and that are not in the store at all.
func withRemembered(databases []survey.Database, remembered map[string]format.Name) []survey.Database {
	there := map[string]bool{}
	for _, d := range databases {
		there[d.Name] = true
	}
	for name, n := range remembered {
		if !n.IsZero() && !there[name] {
			databases = append(databases, survey.Database{Name: name})
		}
	}
	slices.SortFunc(databases, func(a, b survey.Database) int { return strings.Compare(a.Name, b.Name) })
	return databases
}

// printStatus prints a line for each database; quietly, for those that are not as they should be.
func (p *program) printStatus(all []survey.Status) error {
	if p.ui.Quiet() && !p.ui.JSON() {
		all = slices.DeleteFunc(slices.Clone(all), func(s survey.Status) bool { return len(s.Problems) == 0 })
		if len(all) == 0 {
			return nil
		}
	}
	t := p.ui.NewTable("DATABASE", "STATE", "NEWEST", "PROVED", ">CHAIN", ">SNAPSHOTS", ">SIZE", ">STORED", ">IN 7 DAYS")
	now := time.Now()
	for i := range all {
		s := &all[i]
		if p.ui.JSON() {
			if err := p.ui.Result(standingOf(s, now), nil); err != nil {
				return err
			}
			continue
		}
		state := p.ui.Green("ok")
		if len(s.Problems) > 0 {
			state = p.ui.Red(stateOf(s))
		}
		newest, proved, size := "none", "never", "-"
		if s.Newest != nil {
			newest = human.Ago(s.Newest.Name.Time.UTC(), now)
		}
		if !s.Proved.IsZero() {
			proved = human.Ago(s.Proved, now)
		}
		if s.Size >= 0 {
			size = human.Bytes(s.Size)
		}
		t.Row(s.Database, state, newest, proved, human.Count(int64(s.Chain)), human.Count(int64(s.Snapshots)), size, human.Bytes(s.Stored), human.Bytes(s.Growth))
	}
	if p.ui.JSON() {
		return nil
	}
	return p.ui.Result(nil, t.Write)
}

func standingOf(s *survey.Status, now time.Time) *standing {
	out := &standing{
		Database:  s.Database,
		State:     stateOf(s),
		Chain:     s.Chain,
		Snapshots: s.Snapshots,
		Damaged:   s.Damaged,
		Stored:    s.Stored,
		Growth:    s.Growth,
	}
	for _, p := range s.Problems {
		out.Problems = append(out.Problems, p.Text)
	}
	if s.Newest != nil {
		out.Newest, out.Time = s.Newest.Name.String(), new(s.Newest.Name.Time.UTC())
		out.Age = now.Sub(*out.Time).Seconds()
	}
	if !s.Proved.IsZero() {
		out.Proved = &s.Proved
	}
	if s.Size >= 0 {
		out.Size = &s.Size
	}
	return out
}

// stateOf sums up the problems of a database in a word or two each.
func stateOf(s *survey.Status) string {
	var kinds []string
	for _, p := range s.Problems {
		if !slices.Contains(kinds, string(p.Kind)) {
			kinds = append(kinds, string(p.Kind))
		}
	}
	if len(kinds) == 0 {
		return "ok"
	}
	return strings.Join(kinds, ", ")
}

// A statusError says that databases are not as they should be.
type statusError struct {
	bad, all int
	first    string // of the worst problems
	loses    bool
}

func (e *statusError) Error() string {
	if e.all == 1 {
		return e.first
	}
	return fmt.Sprintf("%d of %d databases are not as they should be, among them %s", e.bad, e.all, e.first)
}

// errNoStatus says that there is nothing whose status could be told.
var errNoStatus = errors.New("the store holds no snapshots")

// statusProblems tells what is wrong with each database, and returns the error for the exit code.
func (p *program) statusProblems(all []survey.Status) error {
	e := &statusError{all: len(all)}
	for _, s := range all {
		if len(s.Problems) > 0 {
			e.bad++
		}
		for _, problem := range s.Problems {
			text := s.Database + ": " + problem.Text
			if len(all) > 1 {
				p.ui.Warn("%s", text)
			}
			if e.first == "" || problem.Kind.Loses() && !e.loses {
				e.first, e.loses = text, problem.Kind.Loses()
			}
		}
	}
	if e.bad == 0 {
		return nil
	}
	return e
}
