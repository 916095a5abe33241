// Package policy says which rights the keys of a role need in a bucket, and no more, as an IAM policy. It names what a
// store holds as packages format and catalog do.
//
// Start with [For].
package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
)

// A Document is an IAM policy (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html).
type Document struct {
	Version   string      `json:"Version"`
	Statement []Statement `json:"Statement"`
}

// A Statement allows or denies actions on resources.
type Statement struct {
	Sid       string                       `json:"Sid"`
	Effect    string                       `json:"Effect"`
	Action    []string                     `json:"Action"`
	Resource  []string                     `json:"Resource"`
	Condition map[string]map[string]string `json:"Condition,omitempty"`
}

// A Place is what a policy is about.
type Place struct {
	Bucket string
	Prefix string // what the store's keys begin with in the bucket, without the slash that follows it; empty for none
	Region string // tells the partition of AWS; empty is in the largest
}

// A Role is one thing to do in a store, for which one holds keys.
type Role string

const (
	Push    Role = "push"    // and watch; neither deletes nor holds
	Restore Role = "restore" // reads
	Verify  Role = "verify"  // reads, and records what it finds
	Prune   Role = "prune"   // reads, deletes and holds
	Recover Role = "recover" // reads, and brings back what was deleted or overwritten in a versioned bucket
)

// Roles returns all roles.
func Roles() []Role { return []Role{Push, Restore, Verify, Prune, Recover} }

// For returns the policy for a role in a place. A lockFor other than 0 lets [Push] lock for that time.
func For(role Role, at Place, lockFor time.Duration) (Document, error) {
	switch {
	case !slices.Contains(Roles(), role):
		return Document{}, fmt.Errorf("no role is called %q", role)
	case lockFor != 0 && role != Push:
		return Document{}, fmt.Errorf("%s does not lock", role)
	case strings.ContainsAny(at.Prefix, "*?$"):
		return Document{}, fmt.Errorf("a policy cannot name the prefix %q as it is: *, ? and $ mean something there", at.Prefix)
	}
	return Document{"2012-10-17", statements(role, at, lockFor)}, nil
}

// What the keys of a store look like in a policy.
const (
	anything      = "*"
	proofs        = catalog.ProofPrefix + "*"
	holds         = catalog.HoldPrefix + "*"
	announcements = catalog.AnnouncementPrefix + "*"
)

var snapshots = []string{"*" + format.PlainSuffix, "*" + format.EncryptedSuffix}

func statements(role Role, at Place, lockFor time.Duration) []Statement {
	all := append(at.list("s3:ListBucket"), at.allow("Read", []string{"s3:GetObject"}, anything))
	switch role {
	case Verify:
		all = append(all, at.allow("Record", []string{"s3:PutObject"}, proofs))
	case Push:
		all = append(all, at.push(lockFor)...)
	case Prune:
		all = append(all, at.prune()...)
	case Recover:
		all = append(all, at.recover()...)
	}
	return all
}

func (at Place) push(lockFor time.Duration) []Statement {
	all := []Statement{
		at.allow("Store", []string{"s3:PutObject"}, slices.Concat(snapshots, []string{proofs})...),
		at.deny("NeverAnnounceOrHold", []string{"s3:PutObject"}, announcements, holds),
		at.allow("AbortOwnUploads", []string{"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}, anything),
		at.allowBucket("FindOwnUploads", "s3:ListBucketMultipartUploads"),
	}
	if lockFor > 0 {
		all = append(all, at.lock(lockFor)...)
		all = append(all, at.seeLocks()...)
	}
	return all
}

func (at Place) prune() []Statement {
	all := at.list("s3:ListBucketVersions") // locks are those of the oldest versions
	all = append(all,
		at.allow("AnnounceAndHold", []string{"s3:PutObject"}, announcements, holds),
		at.allow("Delete", []string{"s3:DeleteObject"}, anything),
		at.allow("AbortUploads", []string{"s3:AbortMultipartUpload"}, anything), // of a database of which all is deleted
		at.allowBucket("FindUploads", "s3:ListBucketMultipartUploads"),
		at.deny("OnlyHideWhereVersionsAreKept", []string{"s3:DeleteObjectVersion"}, anything)) // for MinIO, where Delete allows it
	return append(all, at.seeLocks()...)
}

func (at Place) recover() []Statement {
	return append(at.list("s3:ListBucketVersions"),
		at.allowBucket("AskForVersions", "s3:GetBucketVersioning"),
		at.allow("ReadVersions", []string{"s3:GetObjectVersion"}, anything),
		at.allow("RemoveVersions", []string{"s3:DeleteObject", "s3:DeleteObjectVersion"}, snapshots...), // MinIO wants both
		at.allow("SeeLocks", []string{"s3:GetObjectRetention"}, snapshots...),
		at.allow("CopyToTop", []string{"s3:PutObject", "s3:AbortMultipartUpload"}, snapshots...),
		at.allow("WithdrawAndForget", []string{"s3:DeleteObject"}, announcements, proofs))
}

// lock allows locks that are no longer than asked for, with the day up to which they are rounded and another one for
// clocks. It takes a refusal: MinIO does not tell a permission how long the lock of a new object is to be.
func (at Place) lock(d time.Duration) []Statement {
	no := at.deny("NeverLockLonger", []string{"s3:PutObjectRetention"}, snapshots...)
	days := int(math.Ceil(d.Hours()/24)) + 2
	no.Condition = map[string]map[string]string{"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": fmt.Sprint(days)}}
	return []Statement{at.allow("Lock", []string{"s3:PutObjectRetention"}, snapshots...), no}
}

func (at Place) seeLocks() []Statement {
	return []Statement{
		at.allowBucket("AskForLocks", "s3:GetBucketObjectLockConfiguration"),
		at.allow("SeeLocks", []string{"s3:GetObjectRetention"}, anything),
	}
}

// list allows to list what is below the prefix. Requests for one object tell an absent one from a forbidden
// one only to those who may list, and they have no prefix: the second statement is for them. With it one can also
// list all names in the bucket; nothing can be read by that.
func (at Place) list(action string) []Statement {
	s := at.allowBucket(strings.TrimPrefix(action, "s3:"), action)
	if at.Prefix == "" {
		return []Statement{s}
	}
	s.Condition = map[string]map[string]string{"StringLike": {"s3:prefix": at.key("*")}}
	if action != "s3:ListBucket" {
		return []Statement{s}
	}
	absent := at.allowBucket("TellAbsent", action)
	absent.Condition = map[string]map[string]string{"Null": {"s3:prefix": "true"}}
	return []Statement{s, absent}
}

func (at Place) allowBucket(sid, action string) Statement {
	return Statement{Sid: sid, Effect: "Allow", Action: []string{action}, Resource: []string{at.arn("")}}
}

func (at Place) allow(sid string, actions []string, keys ...string) Statement {
	s := Statement{Sid: sid, Effect: "Allow", Action: actions}
	for _, k := range keys {
		s.Resource = append(s.Resource, at.arn("/"+at.key(k)))
	}
	return s
}

func (at Place) deny(sid string, actions []string, keys ...string) Statement {
	s := at.allow(sid, actions, keys...)
	s.Effect = "Deny"
	return s
}

// key returns the key in the bucket of one in the store.
func (at Place) key(k string) string {
	if at.Prefix == "" {
		return k
	}
	return at.Prefix + "/" + k
}

func (at Place) arn(name string) string {
	return "arn:" + at.partition() + ":s3:::" + at.Bucket + name
}

// partition returns the part of AWS that the region is in: accounts and resources are of one alone.
func (at Place) partition() string {
	switch {
	case strings.HasPrefix(at.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(at.Region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
