package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/policy"
	"github.com/litestash/litestash/store"
)

func (p *program) policyCommand() *cli.Command {
	return &cli.Command{
		Name:      "policy",
		Usage:     "print the least rights that a role needs in a bucket, as an IAM policy",
		ArgsUsage: "[BUCKET[/PREFIX]]",
		Description: "Prints the IAM policy for keys that can do one thing and no more in a bucket, or below a prefix of it;\n" +
			"by default in that of --store. The roles: push pushes and watches, and can neither delete nor hold;\n" +
			"restore lists, restores and verifies; verify records what it finds as well; prune deletes, prunes\n" +
			"and holds; recover brings back what was deleted or overwritten in a versioned bucket.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "for", Usage: "the `ROLE`: " + strings.Join(roleNames(), ", ")},
			&cli.StringFlag{Name: "lock-for", Usage: "let push lock for `TIME`, as its flag of that name does"},
		},
		Action: p.policy,
	}
}

func roleNames() []string {
	var names []string
	for _, r := range policy.Roles() {
		names = append(names, string(r))
	}
	return names
}

func (p *program) policy(c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	role := policy.Role(c.String("for"))
	if role == "" {
		return usagef("policy: say with --for whose rights: %s", strings.Join(roleNames(), ", "))
	}
	if !slices.Contains(policy.Roles(), role) {
		return usagef("policy: --for %q: want one of %s", role, strings.Join(roleNames(), ", "))
	}
	if c.IsSet("lock-for") && role != policy.Push {
		return usagef("policy: only --for push locks")
	}
	lockFor := time.Duration(0)
	if c.IsSet("lock-for") {
		var err error
		if lockFor, err = parsePositive(c, "lock-for"); err != nil {
			return err
		}
	}
	at, err := p.policyPlace(c.Args().First())
	if err != nil {
		return err
	}
	doc, err := policy.For(role, at, lockFor)
	if err != nil {
		return usagef("policy: %w", err)
	}
	return p.ui.Result(doc, func(w io.Writer) error {
		text, err := json.MarshalIndent(doc, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", text)
		return err
	})
}

// policyPlace reads the argument, or the URL of the store if there is none.
func (p *program) policyPlace(arg string) (policy.Place, error) {
	raw := "s3://" + strings.TrimPrefix(arg, "s3://")
	if arg == "" {
		raw = p.storeURL
	}
	switch {
	case raw == "":
		return policy.Place{}, errNoStore
	case !strings.HasPrefix(raw, "s3:"):
		return policy.Place{}, usagef("policy: %s is no bucket: in a directory, the rights are those of its files", raw)
	}
	opts, err := store.ParseS3(raw)
	return policy.Place{Bucket: opts.Bucket, Prefix: opts.Prefix, Region: opts.Region}, err
}
