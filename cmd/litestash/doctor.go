package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

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

// Outcomes of a step.
const (
	outcomeOK      = "ok"
	outcomeWarning = "warning" // works, but somebody should know
	outcomeFailed  = "failed"
	outcomeSkipped = "skipped" // could not be tried, or a step that it builds on failed
)

// An examined is one line of doctor's results.
type examined struct {
	Step     string  `json:"step"`
	Outcome  string  `json:"outcome"`
	Message  string  `json:"message"`
	Hint     string  `json:"hint,omitempty"`
	ExitCode int     `json:"exit_code,omitempty"`
	Elapsed  float64 `json:"elapsed_seconds"`
}

// A finding is what a step that did not fail has to say.
type finding struct {
	text     string
	warnings []string
	skipped  bool
}

// A check is one step of an examination.
type check struct {
	name       string
	needs      string // the step without which this one makes no sense; empty for none
	writes     bool
	bucket     bool   // only a store in a bucket has what is looked at
	permission string // what S3 calls the right that it takes
	do         func(context.Context) (finding, error)
}

func (p *program) doctor(c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	if p.storeURL == "" {
		return errNoStore
	}
	return newExamination(p, c.Bool("read-only")).run(c.Context)
}

// run takes all steps and removes what they leave, also after an interruption.
func (e *examination) run(ctx context.Context) error {
	defer e.cleanUp(ctx)
	for _, check := range e.checks() {
		if _, inBucket := e.bucket(); check.writes && e.readOnly || check.bucket && !inBucket {
			continue
		}
		if err := e.try(ctx, check); err != nil {
			return err
		}
	}
	return e.sumUp()
}

// try takes one step and prints what came of it. An error is the end of the examination.
func (e *examination) try(ctx context.Context, c check) error {
	start := time.Now()
	r := examined{Step: c.name, Outcome: outcomeOK}
	if c.needs != "" && !e.passed[c.needs] {
		r.Outcome, r.Message = outcomeSkipped, fmt.Sprintf("it builds on the step %q", c.needs)
		return e.print(r)
	}
	found, err := c.do(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.Elapsed = time.Since(start).Seconds()
	switch {
	case err != nil:
		v := judge(err)
		r.Outcome, r.Message, r.Hint, r.ExitCode = outcomeFailed, err.Error(), v.hint, v.code
		switch {
		case strings.Contains(r.Hint, "litestash doctor"):
			r.Hint = "check the endpoint in the store's URL, this host's network and its proxy settings"
		case errors.Is(err, store.ErrDenied) && c.permission != "" && strings.Contains(r.Message, "AccessDenied"):
			r.Hint += "; they need the permission " + c.permission
		}
		e.code = cmp.Or(e.code, v.code)
	case found.skipped:
		r.Outcome, r.Message, r.Elapsed = outcomeSkipped, found.text, 0
	case len(found.warnings) > 0:
		r.Outcome, r.Message = outcomeWarning, strings.Join(found.warnings, "; ")
	default:
		r.Message = found.text
	}
	e.passed[c.name] = err == nil
	return e.print(r)
}

func (e *examination) print(r examined) error {
	e.count[r.Outcome]++
	return e.p.ui.Result(r, func(w io.Writer) error { return e.write(w, r) })
}

func (e *examination) write(w io.Writer, r examined) error {
	u := e.p.ui
	paint := map[string]func(string) string{
		outcomeOK: u.Green, outcomeWarning: u.Yellow, outcomeFailed: u.Red, outcomeSkipped: u.Dim,
	}[r.Outcome]
	took := ""
	if r.Elapsed > 0 {
		took = " (" + seconds(r.Elapsed) + ")"
	}
	// Styles would count as width.
	outcome := paint(r.Outcome) + strings.Repeat(" ", len(outcomeWarning)-len(r.Outcome))
	if _, err := fmt.Fprintf(w, "%s  %-11s  %s%s\n", outcome, r.Step, ui.Safe(r.Message), took); err != nil {
		return err
	}
	if r.Hint == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "%22s%s %s\n", "", u.Bold("hint:"), ui.Safe(r.Hint))
	return err
}

// sumUp prints how it went and returns the error that has the exit code of the first failure.
func (e *examination) sumUp() error {
	r := examined{Step: "summary", Outcome: outcomeOK, ExitCode: e.code}
	var parts []string
	for _, o := range []string{outcomeOK, outcomeWarning, outcomeFailed, outcomeSkipped} {
		if n := e.count[o]; n > 0 || o == outcomeOK {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	r.Message = strings.Join(parts, ", ")
	switch {
	case e.count[outcomeFailed] > 0:
		r.Outcome = outcomeFailed
	case e.count[outcomeWarning] > 0:
		r.Outcome = outcomeWarning
	}
	if err := e.print(r); err != nil {
		return err
	}
	if e.code != 0 {
		return &reportedError{e.code}
	}
	return nil
}

// removeTime is for removing what was written, also after an interruption.
const removeTime = 20 * time.Second

// cleanUp removes what the steps did not. It goes on when the context has ended.
func (e *examination) cleanUp(ctx context.Context) {
	if len(e.made) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	if _, err := e.remove(ctx); err != nil {
		e.p.ui.Warn("%s may be left in the store: %v", strings.Join(slices.Sorted(slices.Values(e.made)), ", "), err)
	}
}
