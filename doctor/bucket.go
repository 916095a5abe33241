package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/store"
)

// lifecycle looks for rules of the bucket that act on snapshots.
func (e *examination) lifecycle(ctx context.Context) (finding, error) {
	b, _ := e.bucket()
	rules, err := b.Lifecycle(ctx)
	if errors.Is(err, store.ErrDenied) {
		return finding{Skipped, "these credentials may not read the bucket's rules; make sure that none deletes snapshots"}, nil
	}
	if err != nil {
		return finding{}, err
	}
	e.rules = rules
	var warnings []string
	for _, r := range rules {
		if r.Expires {
			warnings = append(warnings, fmt.Sprintf("rule %q deletes objects under %q %s, snapshots included", r.ID, r.Prefix, when(r)))
		}
		if r.Archives != "" {
			warnings = append(warnings, fmt.Sprintf("rule %q moves objects under %q to %s, from where they cannot be read", r.ID, r.Prefix, r.Archives))
		}
	}
	if len(warnings) > 0 {
		return finding{Warning, strings.Join(warnings, "; ")}, nil
	}
	return finding{OK, "no rule of the bucket deletes or archives snapshots"}, nil
}

// when tells when a rule deletes.
func when(r store.LifecycleRule) string {
	if !r.Date.IsZero() {
		return "on " + r.Date.UTC().Format(time.DateOnly)
	}
	return fmt.Sprintf("after %d days", r.Days)
}

// versions looks whether the bucket keeps what is deleted, and for how long.
func (e *examination) versions(ctx context.Context) (finding, error) {
	b, _ := e.bucket()
	kept, err := b.Versioned(ctx)
	if errors.Is(err, store.ErrDenied) {
		return finding{Skipped, "these credentials may not ask whether the bucket keeps versions"}, nil
	}
	if err != nil {
		return finding{}, err
	}
	limited := slices.ContainsFunc(e.rules, func(r store.LifecycleRule) bool { return r.ExpiresOld })
	switch {
	case !kept:
		return finding{OK, "the bucket keeps none: what is deleted is gone"}, nil
	case limited:
		return finding{OK, "the bucket keeps what is deleted until a rule removes it"}, nil
	}
	return finding{Warning, "the bucket keeps what is deleted, this examination's objects included, and no rule of it was found that ever removes it"}, nil
}

// locks looks whether the bucket can lock objects, and whether it does so by itself.
func (e *examination) locks(ctx context.Context) (finding, error) {
	b, _ := e.bucket()
	rules, err := b.LockRules(ctx)
	switch {
	case errors.Is(err, store.ErrDenied):
		return finding{Skipped, "these credentials may not ask whether the bucket can lock objects"}, nil
	case err != nil:
		return finding{}, err
	case !rules.Enabled:
		return finding{OK, "the bucket was made without Object Lock: push cannot --lock-for"}, nil
	case rules.Mode == "":
		return finding{OK, "the bucket has Object Lock, for push --lock-for, and locks nothing by itself"}, nil
	}
	return finding{Warning, fmt.Sprintf("the bucket locks each object for %d days by itself, in %s mode; what a snapshot rests on is not locked for longer by that, but by push --lock-for",
		int(rules.For.Hours()/24), rules.Mode)}, nil
}
