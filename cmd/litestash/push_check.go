package main

import (
	"context"
	"fmt"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/snapshot"
)

// checkImage lets SQLite check an image once it is stored, if that is asked for: a damaged database is worth
// having too, and less may be left of it tomorrow. That it is damaged is recorded beside the snapshots. That it
// is sound is not: what arrived in the store has not been read back.
func (u *pusher) checkImage(ctx context.Context, img *snapshot.Image, out *outcome) error {
	if u.check == nil {
		return nil
	}
	if out.Index == nil { // it is what the newest snapshot is
		if err := u.recallDamage(ctx, out); err != nil {
			return err
		}
	}
	r, err := img.Check(ctx, *u.check)
	if err != nil {
		return fmt.Errorf("check %v of %s: %w", out.Snapshot.Name, u.source.name, err)
	}
	out.checked = r.Outcome.String()
	if r.Outcome == snapshot.NotCheckable {
		u.p.log.Warn("SQLite cannot check the database", "database", u.source.name, "why", r.Messages[0])
	}
	if r.Outcome == snapshot.Damaged {
		out.unsound = &sourceDamageError{unsound(out.Snapshot, firstFinding(r.Messages))}
		proof := &catalog.Proof{Level: proofLevel(*u.check), Outcome: catalog.Damaged}
		if err := u.p.recordProof(ctx, u.st, proof, out.Snapshot, catalog.ProofDetail{}); err != nil {
			return fmt.Errorf("%w (and that could not be recorded: %w)", out.unsound, err)
		}
		return out.unsound
	}
	u.rememberPassed(out)
	return nil
}

// passed reports whether the newest snapshot, since which nothing has changed, is remembered to have passed the
// check that is asked for. It may have been pushed without, or with less, or be damaged while no mark in the
// store says so.
func (u *pusher) passed() bool {
	if u.check == nil {
		return true
	}
	before, err := parseCheck(u.up.Memory.Facts().Passed)
	return err == nil && before != nil && *before >= *u.check
}

// rememberPassed remembers that the snapshot passed the check. Where that cannot be, it is checked again.
func (u *pusher) rememberPassed(out *outcome) {
	facts := u.up.Memory.Facts()
	if facts == nil || facts.Newest().Key != out.Snapshot.Base() {
		return
	}
	if out.Index == nil && u.passed() { // perhaps a deeper one before
		return
	}
	if err := u.up.Memory.SetPassed(proofLevel(*u.check).String()); err != nil {
		u.p.log.Warn("the check cannot be remembered", "database", u.source.name, "err", err)
	}
}

// recallDamage returns an error if the newest snapshot, since which nothing has changed, is known to be damaged as
// the database was. Otherwise only the first push of a damaged database would fail.
func (u *pusher) recallDamage(ctx context.Context, out *outcome) error {
	if u.check == nil {
		return nil
	}
	newest := out.Snapshot
	proofs, err := catalog.ProofsOf(ctx, u.st, newest.Database, newest.Name)
	if err != nil {
		return err
	}
	p, ok := catalog.Standing(proofs)[newest.Name]
	if ok && p.Outcome == catalog.Damaged && p.Level > catalog.LevelPages {
		out.checked = snapshot.Damaged.String()
		out.unsound = &sourceDamageError{unsound(newest, "a "+p.Level.String()+" check found that at "+shortTime(p.Check.Time)+" UTC, and nothing has changed since")}
	}
	return out.unsound
}

// A sourceDamageError says that a database is damaged which has just been pushed.
type sourceDamageError struct{ err error }

func (e *sourceDamageError) Error() string { return e.err.Error() }
func (e *sourceDamageError) Unwrap() error { return e.err }
