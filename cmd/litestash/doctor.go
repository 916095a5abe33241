package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/doctor"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/store"
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "try the store step by step",
		Description: "Tries all that the other commands need of the store and prints each step as it is done: reach,\n" +
			"credentials, clock, listing, writing, reading, deleting and the bucket's own rules. What it\n" +
			"writes, of little more than one part of an upload, is below .litestash/doctor/ and removed again.\n" +
			"It ends with 0 if no step failed, or else with the exit code of the first that did.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "read-only", Usage: "try only what writes nothing"},
		},
		Action: p.doctor,
	}
}

func (p *program) doctor(c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	if p.storeURL == "" {
		return errNoStore
	}
	opts := doctor.Options{ReadOnly: c.Bool("read-only"), Bar: p.ui.Bar, Logger: p.log}
	if s3, err := store.ParseS3(p.storeURL); err == nil {
		opts.PartSize = s3.PartSize
	}
	return p.examine(c.Context, p.openStore, opts)
}

// examine examines a store and prints what comes of it.
func (p *program) examine(ctx context.Context, open func(context.Context) (store.Store, error), opts doctor.Options) error {
	x := &examination{p: p, count: map[doctor.Outcome]int{}}
	left, err := doctor.Run(ctx, open, opts, x.tell)
	if err == nil {
		err = x.sumUp()
	}
	if left != nil {
		p.ui.Warn("%s may be left in the store: %v", strings.Join(left.Keys, ", "), left.Err)
	}
	return err
}

// An examined is one line of doctor's results.
type examined struct {
	Step     string         `json:"step"`
	Outcome  doctor.Outcome `json:"outcome"`
	Message  string         `json:"message"`
	Hint     string         `json:"hint,omitempty"`
	ExitCode int            `json:"exit_code,omitempty"`
	Elapsed  float64        `json:"elapsed_seconds"`
}

// An examination prints steps and sums them up.
type examination struct {
	p     *program
	count map[doctor.Outcome]int
	code  int // exit code of the first failure
}

func (x *examination) tell(s doctor.Step) error {
	r := examined{Step: s.Name, Outcome: s.Outcome, Message: s.Text, Elapsed: s.Elapsed.Seconds()}
	if s.Err != nil {
		r.Hint, r.ExitCode = stepHint(s), judge(s.Err).code
		x.code = cmp.Or(x.code, r.ExitCode)
	}
	x.count[s.Outcome]++
	return x.print(r)
}

// stepHint returns the way out for a step that failed. Elsewhere it may be to run doctor.
func stepHint(s doctor.Step) string {
	hint := judge(s.Err).hint
	switch {
	case errors.Is(s.Err, store.ErrUnreachable) && !wrongServer(s.Err):
		return "check the endpoint in the store's URL, this host's network and its proxy settings"
	case errors.Is(s.Err, store.ErrForbidden) && s.Right != "":
		return hint + "; they need the permission " + s.Right
	}
	return hint
}

// sumUp prints how it went and returns the error that has the exit code of the first failure.
func (x *examination) sumUp() error {
	r := examined{Step: "summary", Outcome: doctor.OK, ExitCode: x.code}
	var parts []string
	for _, o := range []doctor.Outcome{doctor.OK, doctor.Warning, doctor.Failed, doctor.Skipped} {
		if n := x.count[o]; n > 0 || o == doctor.OK {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	r.Message = strings.Join(parts, ", ")
	switch {
	case x.count[doctor.Failed] > 0:
		r.Outcome = doctor.Failed
	case x.count[doctor.Warning] > 0:
		r.Outcome = doctor.Warning
	}
	if err := x.print(r); err != nil {
		return err
	}
	if x.code != 0 {
		return &reportedError{x.code}
	}
	return nil
}

func (x *examination) print(r examined) error {
	return x.p.ui.Result(r, func(w io.Writer) error { return x.write(w, r) })
}

func (x *examination) write(w io.Writer, r examined) error {
	u := x.p.ui
	paint := map[doctor.Outcome]func(string) string{
		doctor.OK: u.Green, doctor.Warning: u.Yellow, doctor.Failed: u.Red, doctor.Skipped: u.Dim,
	}[r.Outcome]
	took := ""
	if r.Elapsed > 0 {
		took = " (" + seconds(r.Elapsed) + ")"
	}
	// Styles would count as width.
	outcome := paint(string(r.Outcome)) + strings.Repeat(" ", len(doctor.Warning)-len(r.Outcome))
	if _, err := fmt.Fprintf(w, "%s  %-11s  %s%s\n", outcome, r.Step, ui.Safe(r.Message), took); err != nil {
		return err
	}
	if r.Hint == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "%22s%s %s\n", "", u.Bold("hint:"), ui.Safe(r.Hint))
	return err
}
