package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/litestash/litestash/internal/ui"
)

// newLog returns what the packages log to. With --verbose every record is a line with its time; else
// those that somebody should know of are told as warnings are, and so not at all with --quiet.
func newLog(u *ui.UI, verbose bool) *slog.Logger {
	if verbose {
		return slog.New(slog.NewTextHandler(u.ErrWriter(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(&warner{ui: u})
}

// newServiceLog returns what a command that runs for long logs to: every record of a snapshot and of what went
// wrong is a line, or with --json a document.
func newServiceLog(u *ui.UI, verbose bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: readableTimes}
	switch {
	case verbose:
		opts.Level = slog.LevelDebug
	case u.Quiet():
		opts.Level = slog.LevelWarn
	}
	if u.JSON() {
		return slog.New(slog.NewJSONHandler(u.ErrWriter(), opts))
	}
	return slog.New(slog.NewTextHandler(u.ErrWriter(), opts))
}

// readableTimes writes lengths of time with their unit, which JSON has as nanoseconds otherwise.
func readableTimes(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// A warner is a [slog.Handler] that tells records of warnings and worse as warnings.
type warner struct {
	ui     *ui.UI
	facts  []string // attributes that every record has
	prefix string   // of the names of attributes, from groups
}

func (w *warner) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (w *warner) Handle(_ context.Context, r slog.Record) error {
	facts := w.facts[:len(w.facts):len(w.facts)]
	r.Attrs(func(a slog.Attr) bool {
		facts = append(facts, w.fact(a))
		return true
	})
	if len(facts) == 0 {
		w.ui.Warn("%s", r.Message)
	} else {
		w.ui.Warn("%s (%s)", r.Message, strings.Join(facts, ", "))
	}
	return nil
}

func (w *warner) fact(a slog.Attr) string {
	return fmt.Sprintf("%s%s: %v", w.prefix, a.Key, a.Value.Resolve())
}

func (w *warner) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := &warner{w.ui, w.facts[:len(w.facts):len(w.facts)], w.prefix}
	for _, a := range attrs {
		more.facts = append(more.facts, w.fact(a))
	}
	return more
}

func (w *warner) WithGroup(name string) slog.Handler {
	if name == "" {
		return w
	}
	return &warner{w.ui, w.facts, w.prefix + name + "."}
}
