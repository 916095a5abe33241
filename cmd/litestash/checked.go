package main

import (
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/human"
)

// A lastCheck is what is known of a snapshot by the checks that are recorded in the store.
type lastCheck struct {
	Time    time.Time       `json:"time"`
	Level   string          `json:"level"`
	Outcome catalog.Outcome `json:"outcome"`
}

// lastChecks returns what is known of each snapshot that proofs are about, nil for the others.
func lastChecks(proofs []catalog.Proof) func(format.Name) *lastCheck {
	standing := catalog.Standing(proofs)
	return func(name format.Name) *lastCheck {
		p, ok := standing[name]
		if !ok {
			return nil
		}
		return &lastCheck{p.Check.Time.UTC(), p.Level.String(), p.Outcome}
	}
}

// ago tells in few words when a snapshot was proved, or what it was found to be.
func (c *lastCheck) ago(now time.Time) string {
	switch {
	case c == nil:
		return "never"
	case c.Outcome.Good():
		return human.Ago(c.Time, now)
	}
	return string(c.Outcome) + " " + human.Ago(c.Time, now)
}

// String tells when a snapshot was checked, how deep that looked, and what came of it.
func (c *lastCheck) String() string {
	if c == nil {
		return "never; litestash verify NAME --check quick does it"
	}
	return human.Time(c.Time) + ", " + c.Level + ": " + string(c.Outcome)
}
