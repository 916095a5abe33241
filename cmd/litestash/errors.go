package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/transfer"
	"github.com/litestash/litestash/upload"
)

// Exit codes, a promise to scripts. README.md has the table.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitSome        = 3 // some of several failed
	exitDamaged     = 4 // damaged or missing data
	exitStale       = 5 // of status: too old or unproved
	exitNotFound    = 6 // no such database or snapshot
	exitRefused     = 7
	exitLockedOut   = 8 // credentials, keys
	exitUnreachable = 9 // try again
	exitHungUp      = 129
	exitInterrupted = 130
	exitTerminated  = 143
)

// exitMeanings tells people what the exit codes mean: all of them, in order.
var exitMeanings = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "failed"},
	{exitUsage, "the command line is wrong"},
	{exitSome, "some of several failed, each reported on its own, and none of them with 4; or what came after a push did"},
	{exitDamaged, "verification failed: data is damaged or missing"},
	{exitStale, "status: something is too old or was not proved for too long"},
	{exitNotFound, "no such database or snapshot, or none close enough (--max-gap)"},
	{exitRefused, "refused: something would be overwritten, mixed up, unencrypted or lost, or cannot be done safely; the message says which"},
	{exitLockedOut, "locked out: credentials or rights, or no identity that opens a snapshot"},
	{exitUnreachable, "the store is out of reach: try again"},
	{exitHungUp, "the terminal was closed (SIGHUP)"},
	{exitInterrupted, "interrupted (SIGINT)"},
	{exitTerminated, "terminated (SIGTERM)"},
}

// A verdict is what an error means to whoever called the program.
type verdict struct {
	code int
	hint string
}

// A reportedError carries the exit code for errors that have been reported.
type reportedError struct{ code int }

func (e *reportedError) Error() string { return "errors were reported" }

// report prints err, if it is one, and returns the exit code.
func (p *program) report(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	var reported *reportedError
	if errors.As(err, &reported) {
		return reported.code
	}
	var s *signalError
	if errors.As(context.Cause(ctx), &s) {
		return p.reportSignal(s, err)
	}
	v := judge(err)
	if v.hint == usageHint && p.command != "" {
		v.hint = "litestash " + p.command + " --help tells how"
	}
	p.ui.Error(err, v.hint, v.code)
	return v.code
}

// reportSignal prints that a signal ended the command, and err, if that tells more. It returns the exit code.
func (p *program) reportSignal(s *signalError, err error) int {
	code := 128 + int(s.signal) // as a shell has it
	if errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrUnknown) && !errors.Is(err, format.ErrDamaged) {
		p.ui.Error(s, "nothing half-done is listed or in place", code)
	} else {
		p.ui.Error(fmt.Errorf("%w: %w", s, err), judge(err).hint, code)
	}
	return code
}

// usageHint is for command lines without a command; if there is one, [program.report] names it.
const usageHint = "litestash --help and litestash COMMAND --help tell how"

// judge finds the exit code for an error, and a way out for whoever reads it.
func judge(err error) verdict {
	for _, j := range []func(error) (verdict, bool){
		judgePrune, judgeUsage, judgeKeys, judgeStatus, judgeDeletion, judgeDamage, judgeAbsent, judgeTarget, judgeSource, judgeStore, judgeDisk,
	} {
		if v, ok := j(err); ok {
			return v
		}
	}
	return verdict{exitFailed, ""}
}

// judgePrune judges what went wrong after a push: some of what was asked for is done.
func judgePrune(err error) (verdict, bool) {
	prune, ok := errors.AsType[*pruneError](err)
	switch {
	case !ok:
		return verdict{}, false
	case errors.Is(err, store.ErrDenied):
		return verdict{exitSome, "these credentials may push but not delete: leave the --keep flags out here, and let litestash prune run with others"}, true
	}
	return verdict{exitSome, judge(prune.err).hint}, true
}

func judgeUsage(err error) (verdict, bool) {
	var usage *usageError
	var storeUsage *store.UsageError
	switch {
	case errors.As(err, new(*passphraseError)):
		return verdict{exitUsage, "--passphrase asks on a terminal, --passphrase-file reads a file, and --passphrase-command what a command prints"}, true
	case errors.As(err, new(*keyError)):
		return verdict{exitUsage, "recipients are public keys (age1.., ssh-ed25519 ..), identities the secret ones, as age-keygen and ssh-keygen write them"}, true
	case errors.Is(err, retention.ErrNoPolicy):
		return verdict{exitUsage, "say what to keep, as in --keep-last 10 --keep-daily 7 --keep-weekly 5; nothing was deleted"}, true
	case errors.Is(err, errNoStore):
		return verdict{exitUsage, "name one with --store or LITESTASH_STORE: s3://bucket/prefix, or a directory on another disk"}, true
	case errors.As(err, &usage), errors.As(err, new(*snapshot.NotQueryError)):
		return verdict{exitUsage, usageHint}, true
	case errors.As(err, &storeUsage):
		return verdict{exitUsage, "a store is s3://bucket/prefix?region=..&endpoint=.. or a directory"}, true
	}
	return verdict{}, false
}

// judgeKeys judges what is about encryption.
func judgeKeys(err error) (verdict, bool) {
	switch {
	case errors.As(err, new(*upload.UnknownSourceError)):
		return verdict{exitRefused, "give the --identity that opens it, choose another --name, or take the name over with --adopt; if this is the same file on a host whose name changes, set --host"}, true
	case errors.As(err, new(*upload.PlaintextError)):
		return verdict{exitRefused, "name its recipients with --recipient or LITESTASH_RECIPIENTS_FILE; --plaintext stores it for all to read"}, true
	case errors.As(err, new(*seal.LockedError)):
		return verdict{exitLockedOut, "name the file of the identity with --identity or LITESTASH_IDENTITY_FILE, or say where the passphrase is with --passphrase-file; a damaged header looks the same"}, true
	}
	return verdict{}, false
}

// judgeStatus judges what status finds.
func judgeStatus(err error) (verdict, bool) {
	var status *statusError
	switch {
	case errors.As(err, &status) && status.loses:
		return verdict{exitDamaged, "litestash list and litestash verify --check tell more; see docs/incident.md"}, true
	case errors.As(err, &status):
		return verdict{exitStale, "litestash push takes a snapshot, and litestash verify --check proves one"}, true
	case errors.Is(err, errNoStatus):
		return verdict{exitNotFound, "litestash push stores the first one; if there were some, find out what deletes from the store"}, true
	}
	return verdict{}, false
}

// judgeDeletion judges what keeps snapshots from being deleted or held.
func judgeDeletion(err error) (verdict, bool) {
	switch {
	case errors.As(err, new(*retention.LockedError)):
		return verdict{exitRefused, "wait until then: that is what it was locked for"}, true
	case errors.As(err, new(*retention.RestError)), errors.Is(err, retention.ErrNeeded):
		return verdict{exitRefused, "delete that one as well, or neither"}, true
	case errors.As(err, new(*retention.HeldError)):
		return verdict{exitRefused, "litestash unhold lets it be deleted; --all-snapshots deletes it with --even-held"}, true
	case errors.As(err, new(*store.LockedError)):
		return verdict{exitRefused, "delete again when the lock has ended; what could go is gone"}, true
	case errors.As(err, new(*retention.LeftError)):
		return verdict{exitRefused, "stop what pushes the database, and delete again"}, true
	case errors.As(err, new(*retention.GoingError)):
		return verdict{exitRefused, "hold another one: litestash list shows those that are left"}, true
	case errors.Is(err, errNotHeld):
		return verdict{exitNotFound, "nothing keeps it but a policy of prune"}, true
	}
	return verdict{}, false
}

// judgeDamage judges what is damaged, or gone that others rest on.
func judgeDamage(err error) (verdict, bool) {
	switch {
	case errors.As(err, new(*sourceDamageError)):
		return verdict{exitDamaged, "it is stored as it is; litestash verify NAME --all-snapshots --check full tells which older snapshots are sound"}, true
	case errors.Is(err, errUnsound):
		return verdict{exitDamaged, "the bytes are those that were pushed, so the database was damaged then: restore an older snapshot, or get this one as it is with --check none"}, true
	case errors.As(err, new(*unmetError)):
		return verdict{exitDamaged, "the bytes are those that were pushed: restore the snapshot to another path and look, or correct what verify asks for"}, true
	case errors.As(err, new(*restore.RootError)):
		return verdict{exitDamaged, "either the root was noted down wrong, or the snapshot was replaced: docs/incident.md"}, true
	case errors.As(err, new(*format.VersionError)), errors.As(err, new(*chain.UnknownError)):
		return verdict{exitFailed, "a later version of litestash wrote it: install that one"}, true
	case errors.As(err, new(*staleError)):
		return verdict{exitDamaged, "a snapshot that is there can be had by its name, as litestash list NAME tells; in a versioned bucket litestash recover --dry-run tells what is gone; see docs/incident.md"}, true
	case errors.As(err, new(*upload.LostError)):
		return verdict{exitDamaged, "a full snapshot has been stored in its place; find out what deletes from the store: in a versioned bucket litestash recover --dry-run tells what is gone; see docs/incident.md"}, true
	case errors.As(err, new(*upload.DecayError)):
		return verdict{exitDamaged, "a full snapshot has been stored, and later ones rest on that; litestash verify NAME --all-snapshots tells what else is damaged"}, true
	case errors.Is(err, snapshot.ErrDamaged):
		return verdict{exitFailed, "look at the database with its application or: sqlite3 FILE 'PRAGMA integrity_check'"}, true
	case errors.As(err, new(*chain.HoleError)), errors.As(err, new(*chain.LossError)):
		return verdict{exitDamaged, "restore one that is still there with --at; in a versioned bucket litestash recover --dry-run tells what was deleted; see docs/incident.md"}, true
	case errors.Is(err, format.ErrDamaged):
		return verdict{exitDamaged, "restore an older snapshot (litestash list NAME shows them); in a versioned bucket litestash recover --dry-run tells what was deleted or overwritten; see docs/incident.md"}, true
	}
	return verdict{}, false
}

// judgeAbsent judges what was looked for and is not there.
func judgeAbsent(err error) (verdict, bool) {
	var notFound *catalog.NotFoundError
	switch {
	case errors.As(err, new(*gapError)):
		return verdict{exitNotFound, "allow a larger gap, or leave --max-gap out"}, true
	case errors.Is(err, transfer.ErrOvertaken):
		return verdict{exitFailed, "run it again"}, true
	case errors.Is(err, errNoneThen):
		return verdict{exitNotFound, "litestash list shows the databases in the store, and litestash list NAME their snapshots"}, true
	case errors.Is(err, errNoDatabases):
		return verdict{exitNotFound, "look at --store: a prefix or directory that is wrong is not an error, it is empty"}, true
	case errors.As(err, &notFound) && notFound.What == "":
		return verdict{exitNotFound, "litestash list shows the databases in the store"}, true
	case errors.As(err, &notFound):
		return verdict{exitNotFound, "litestash list " + shellQuote(notFound.Database) + " shows its snapshots"}, true
	}
	return verdict{}, false
}

// judgeTarget judges what is about the place of a restore.
func judgeTarget(err error) (verdict, bool) {
	switch {
	case errors.Is(err, restore.ErrExists):
		return verdict{exitRefused, "choose another path; --if-missing leaves what is there, and restore --replace puts the snapshot in its place and keeps the old file"}, true
	case errors.Is(err, restore.ErrInUse), errors.Is(err, snapshot.ErrInUse):
		return verdict{exitRefused, "stop the application that has it open, or restore to another path"}, true
	case errors.Is(err, restore.ErrNotFile):
		return verdict{exitRefused, "name a file"}, true
	case errors.Is(err, restore.ErrSideFile):
		return verdict{exitRefused, "choose another path"}, true
	}
	return verdict{}, false
}

// judgeSource judges what is about the database that a snapshot is taken of.
func judgeSource(err error) (verdict, bool) {
	var source *upload.SourceError
	switch {
	case errors.As(err, &source):
		return verdict{exitRefused, "choose another --name, or take the name over with --adopt; if this is the same file on a host whose name changes, set --host"}, true
	case errors.Is(err, snapshot.ErrNotDatabase):
		return verdict{exitRefused, "name an SQLite database; one that its application encrypts cannot be read page by page"}, true
	case errors.Is(err, snapshot.ErrHotJournal):
		return verdict{exitRefused, "open the database once with its application, so that SQLite rolls the transaction back"}, true
	case errors.Is(err, snapshot.ErrNetworkFS):
		return verdict{exitRefused, "run litestash on the host that the disk belongs to"}, true
	case errors.Is(err, snapshot.ErrNotFile):
		return verdict{exitFailed, "name the database file"}, true
	case errors.Is(err, snapshot.ErrBusy):
		return verdict{exitFailed, "wait longer with --busy-timeout, or end the process that keeps it locked"}, true
	case errors.Is(err, snapshot.ErrUnstable):
		return verdict{exitFailed, "try again"}, true
	}
	return verdict{}, false
}

func judgeStore(err error) (verdict, bool) {
	var skew *catalog.SkewError
	var clock *store.ClockError
	var region *store.RegionError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return verdict{exitUnreachable, "if the server has a certificate of your own authority, name that authority's in AWS_CA_BUNDLE"}, true
	case errors.Is(err, store.ErrPlainHTTP):
		return verdict{exitUnreachable, "the server speaks http: write endpoint=http://.. if it is meant to"}, true
	case errors.As(err, &region):
		return verdict{exitFailed, "say where the bucket is: --store 's3://BUCKET/PREFIX?region=..', or AWS_REGION"}, true
	case errors.As(err, &skew), errors.As(err, &clock):
		return verdict{exitRefused, "set this host's clock: snapshots are named after the time"}, true
	case errors.Is(err, errNoVersions):
		return verdict{exitRefused, "only a bucket with versions keeps what is deleted or overwritten"}, true
	case errors.Is(err, store.ErrCannotLock):
		return verdict{exitRefused, "leave --lock-for out, or use a bucket that was made with Object Lock: it cannot be added to a directory or, with most servers, to a bucket later"}, true
	case errors.Is(err, store.ErrNoBucket):
		return verdict{exitFailed, "make it, mount it, or correct --store: a bucket is s3://bucket/prefix, anything else is a directory"}, true
	case errors.Is(err, store.ErrDenied):
		return verdict{exitLockedOut, "give credentials as for the aws command: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role; litestash policy prints what rights they need"}, true
	case errors.Is(err, store.ErrUnreachable):
		return verdict{exitUnreachable, "try again; litestash doctor tries the store step by step"}, true
	case errors.Is(err, store.ErrUnknown):
		return verdict{exitUnreachable, "litestash list tells whether it arrived"}, true
	case errors.Is(err, store.ErrChanged):
		return verdict{exitDamaged, "it was replaced while it was read, and no name is used twice: find out who else writes to the store; see docs/incident.md"}, true
	}
	return verdict{}, false
}

// wrongServer reports whether something answers that is not the server that was meant.
func wrongServer(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.Is(err, store.ErrPlainHTTP)
}

// judgeDisk judges what is about the disks of this host.
func judgeDisk(err error) (verdict, bool) {
	switch {
	case errors.Is(err, snapshot.ErrNoSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return verdict{exitFailed, "make room on that disk, or use another; if it is the one for temporary files, --temp-dir names another"}, true
	case errors.As(err, new(*snapshot.SpoiltError)):
		return verdict{exitFailed, "the disk for temporary files, or the memory, of this host loses data: look at it, and name another disk with --temp-dir"}, true
	case errors.Is(err, syscall.ENOTDIR):
		return verdict{exitFailed, "choose another path: something in this one is a file"}, true
	case errors.Is(err, syscall.EROFS):
		return verdict{exitFailed, "the disk is read-only: choose a path on another"}, true
	case errors.Is(err, context.DeadlineExceeded):
		return verdict{exitFailed, "ask for less, or allow more with --assert-timeout"}, true
	case errors.Is(err, fs.ErrNotExist):
		return verdict{exitFailed, "check the path: it, or the directory that it is in, does not exist"}, true
	case errors.Is(err, fs.ErrPermission):
		return verdict{exitFailed, "run litestash as a user who may, such as the database's owner"}, true
	}
	return verdict{}, false
}
