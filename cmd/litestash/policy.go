package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

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
			&cli.StringFlag{Name: "for", Usage: "the `ROLE`: " + strings.Join(roleNames, ", ")},
			&cli.StringFlag{Name: "lock-for", Usage: "let push lock for `TIME`, as its flag of that name does"},
		},
		Action: p.policy,
	}
}

// A policy is an IAM policy (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html).
type policy struct {
	Version   string      `json:"Version"`
	Statement []statement `json:"Statement"`
}

type statement struct {
	Sid       string                       `json:"Sid"`
	Effect    string                       `json:"Effect"`
	Action    []string                     `json:"Action"`
	Resource  []string                     `json:"Resource"`
	Condition map[string]map[string]string `json:"Condition,omitempty"`
}

// A place is what a policy is about: the names in a bucket that begin with a prefix.
type place struct {
	partition string // of AWS
	bucket    string
	prefix    string // empty, or with a slash at its end
}

var roleNames = []string{"push", "restore", "verify", "prune", "recover"}

func (p *program) policy(c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	role := c.String("for")
	if role == "" {
		return usagef("policy: say with --for whose rights: %s", strings.Join(roleNames, ", "))
	}
	if !slices.Contains(roleNames, role) {
		return usagef("policy: --for %q: want one of %s", role, strings.Join(roleNames, ", "))
	}
	if c.IsSet("lock-for") && role != "push" {
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
	doc := policy{"2012-10-17", at.statements(role, lockFor)}
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
func (p *program) policyPlace(arg string) (place, error) {
	raw := "s3://" + strings.TrimPrefix(arg, "s3://")
	if arg == "" {
		raw = p.storeURL
	}
	switch {
	case raw == "":
		return place{}, errNoStore
	case !strings.HasPrefix(raw, "s3:"):
		return place{}, usagef("policy: %s is no bucket: in a directory, the rights are those of its files", raw)
	}
	opts, err := store.ParseS3(raw)
	if err != nil {
		return place{}, err
	}
	if strings.ContainsAny(opts.Prefix, "*?$") {
		return place{}, usagef("policy: a policy cannot name the prefix %q as it is: *, ? and $ mean something there", opts.Prefix)
	}
	at := place{"aws", opts.Bucket, opts.Prefix}
	switch {
	case strings.HasPrefix(opts.Region, "cn-"):
		at.partition = "aws-cn"
	case strings.HasPrefix(opts.Region, "us-gov-"):
		at.partition = "aws-us-gov"
	}
	if at.prefix != "" {
		at.prefix += "/"
	}
	return at, nil
}

// statements returns what a role is allowed. A lockFor other than 0 lets push lock for that time.
func (at place) statements(role string, lockFor time.Duration) []statement {
	snapshots := []string{"*.zst", "*.age"}
	all := at.list("s3:ListBucket")
	all = append(all, at.allow("Read", []string{"s3:GetObject"}, "*"))
	switch role {
	case "verify":
		all = append(all, at.allow("Record", []string{"s3:PutObject"}, ".litestash/proofs/*"))
	case "push":
		all = append(all,
			at.allow("Store", []string{"s3:PutObject"}, append(snapshots, ".litestash/proofs/*")...),
			at.deny("NeverAnnounceOrHold", []string{"s3:PutObject"}, ".litestash/announced/*", ".litestash/held/*"),
			at.allow("AbortOwnUploads", []string{"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}, "*"),
			at.allowBucket("FindOwnUploads", "s3:ListBucketMultipartUploads"))
		if lockFor > 0 {
			all = append(all, at.lock(lockFor, snapshots)...)
			all = append(all,
				at.allowBucket("AskForLocks", "s3:GetBucketObjectLockConfiguration"),
				at.allow("SeeLocks", []string{"s3:GetObjectRetention"}, "*"))
		}
	case "prune":
		all = append(all, at.list("s3:ListBucketVersions")...) // locks are those of the oldest versions
		all = append(all,
			at.allow("AnnounceAndHold", []string{"s3:PutObject"}, ".litestash/announced/*", ".litestash/held/*"),
			at.allow("Delete", []string{"s3:DeleteObject"}, "*"),
			at.deny("OnlyHideWhereVersionsAreKept", []string{"s3:DeleteObjectVersion"}, "*"), // for MinIO, where Delete allows it
			at.allowBucket("AskForLocks", "s3:GetBucketObjectLockConfiguration"),
			at.allow("SeeLocks", []string{"s3:GetObjectRetention"}, "*"))
	case "recover":
		all = append(all, at.list("s3:ListBucketVersions")...)
		all = append(all,
			at.allowBucket("AskForVersions", "s3:GetBucketVersioning"),
			at.allow("ReadVersions", []string{"s3:GetObjectVersion"}, "*"),
			at.allow("RemoveVersions", []string{"s3:DeleteObject", "s3:DeleteObjectVersion"}, snapshots...), // MinIO wants both
			at.allow("SeeLocks", []string{"s3:GetObjectRetention"}, snapshots...),
			at.allow("CopyToTop", []string{"s3:PutObject", "s3:AbortMultipartUpload"}, snapshots...))
	}
	return all
}

// list allows to list what is below the prefix. Requests for one object tell an absent one from a forbidden
// one only to those who may list, and they have no prefix: the second statement is for them. With it one can also
// list all names in the bucket; nothing can be read by that.
func (at place) list(action string) []statement {
	s := at.allowBucket(strings.TrimPrefix(action, "s3:"), action)
	if at.prefix == "" {
		return []statement{s}
	}
	s.Condition = map[string]map[string]string{"StringLike": {"s3:prefix": at.prefix + "*"}}
	if action != "s3:ListBucket" {
		return []statement{s}
	}
	absent := at.allowBucket("TellAbsent", action)
	absent.Condition = map[string]map[string]string{"Null": {"s3:prefix": "true"}}
	return []statement{s, absent}
}

// lock allows locks that are no longer than asked for, with the day up to which they are rounded and another one for
// clocks. It takes a refusal: MinIO does not tell a permission how long the lock of a new object is to be.
func (at place) lock(d time.Duration, keys []string) []statement {
	no := at.deny("NeverLockLonger", []string{"s3:PutObjectRetention"}, keys...)
	days := int(math.Ceil(d.Hours()/24)) + 2
	no.Condition = map[string]map[string]string{"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": fmt.Sprint(days)}}
	return []statement{at.allow("Lock", []string{"s3:PutObjectRetention"}, keys...), no}
}

func (at place) allowBucket(sid, action string) statement {
	return statement{Sid: sid, Effect: "Allow", Action: []string{action}, Resource: []string{at.arn("")}}
}

func (at place) allow(sid string, actions []string, keys ...string) statement {
	s := statement{Sid: sid, Effect: "Allow", Action: actions}
	for _, k := range keys {
		s.Resource = append(s.Resource, at.arn("/"+at.prefix+k))
	}
	return s
}

func (at place) deny(sid string, actions []string, keys ...string) statement {
	s := at.allow(sid, actions, keys...)
	s.Effect = "Deny"
	return s
}

func (at place) arn(name string) string { return "arn:" + at.partition + ":s3:::" + at.bucket + name }
