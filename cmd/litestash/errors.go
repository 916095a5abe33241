package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
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
	{exitStale, "status: something is too old, was not proved for too long, or is said to be of a time to come"},
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
	if prune, ok := errors.AsType[*pruneError](err); ok {
		return judgePrune(prune)
	}
	for _, r := range reasons {
		if r.is(err) {
			return verdict{r.code, r.hintFor(err)}
		}
	}
	return verdict{exitFailed, ""}
}

// judgePrune judges what went wrong after a push: some of what was asked for is done.
func judgePrune(prune *pruneError) verdict {
	if errors.Is(prune, store.ErrDenied) {
		return verdict{exitSome, "these credentials may push but not delete: leave the --keep flags out here, and let litestash prune run with others"}
	}
	return verdict{exitSome, judge(prune.err).hint}
}

// A reason is something that an error can be about.
type reason struct {
	is   func(error) bool
	code int
	hint string // DATABASE stands for the one that a [catalog.NotFoundError] names
}

func (r *reason) hintFor(err error) string {
	if notFound, ok := errors.AsType[*catalog.NotFoundError](err); ok {
		return strings.ReplaceAll(r.hint, "DATABASE", shellQuote(notFound.Database))
	}
	return r.hint
}

// reasons is all that errors are known to be about. An error may be about several: the first tells what to do.
var reasons = []reason{
	// The command line, and what it names.
	{as[*passphraseError], exitUsage, "--passphrase asks on a terminal, --passphrase-file reads a file, and --passphrase-command what a command prints"},
	{anyOf(is(errProtected), is(seal.ErrPassphrase)), exitLockedOut, "say where the passphrase of these identities is, with --passphrase-file, --passphrase-command or --passphrase"},
	{as[*keyError], exitUsage, "recipients are public keys (age1.., ssh-ed25519 ..), identities the secret ones, as age-keygen and ssh-keygen write them"},
	{is(retention.ErrNoPolicy), exitUsage, "say what to keep, as in --keep-last 10 --keep-daily 7 --keep-weekly 5; nothing was deleted"},
	{is(errNoStore), exitUsage, "name one with --store or LITESTASH_STORE: s3://bucket/prefix, or a directory on another disk"},
	{anyOf(as[*usageError], as[*snapshot.NotQueryError]), exitUsage, usageHint},
	{as[*store.UsageError], exitUsage, "a store is s3://bucket/prefix?region=..&endpoint=.. or a directory"},

	// Encryption.
	{as[*upload.UnknownSourceError], exitRefused, "give the --identity that opens it, choose another --name, or take the name over with --adopt; if this is the same file on a host whose name changes, set --host"},
	{as[*upload.PlaintextError], exitRefused, "name its recipients with --recipient or LITESTASH_RECIPIENTS_FILE; --plaintext stores it for all to read"},
	{as[*seal.LockedError], exitLockedOut, "name the file of the identity with --identity or LITESTASH_IDENTITY_FILE, or say where the passphrase is with --passphrase-file; a damaged header looks the same"},

	// What status finds.
	{isLoss, exitDamaged, "litestash list NAME and litestash verify NAME --check quick tell more, and litestash push FILE --full stores a sound one; see docs/incident.md"},
	{as[*statusError], exitStale, "litestash push FILE takes a snapshot, and litestash verify NAME --check quick proves one"},
	{is(errNoStatus), exitNotFound, "litestash push stores the first one; if there were some, find out what deletes from the store"},

	// What keeps snapshots from being deleted or held.
	{as[*retention.LockedError], exitRefused, "wait until then: that is what it was locked for"},
	{anyOf(as[*retention.RestError], is(retention.ErrNeeded)), exitRefused, "delete that one as well, or neither"},
	{as[*retention.HeldError], exitRefused, "litestash unhold lets it be deleted; --all-snapshots deletes it with --even-held"},
	{as[*store.LockedError], exitRefused, "delete again when the lock has ended; what could go is gone"},
	{as[*retention.LeftError], exitRefused, "stop what pushes the database, and delete again"},
	{as[*retention.GoingError], exitRefused, "hold another one: litestash list shows those that are left"},
	{is(errNotHeld), exitNotFound, "nothing keeps it but a policy of prune"},

	// What is damaged, or gone that others rest on.
	{as[*sourceDamageError], exitDamaged, "it is stored as it is; litestash verify NAME --all-snapshots --check full tells which older snapshots are sound"},
	{is(errUnsound), exitDamaged, "the bytes are those that were pushed, so the database was damaged then: restore an older snapshot, or get this one as it is with --check none"},
	{as[*unmetError], exitDamaged, "the bytes are those that were pushed: restore the snapshot to another path and look, or correct what verify asks for"},
	{as[*restore.RootError], exitDamaged, "either the root was noted down wrong, or the snapshot was replaced: docs/incident.md"},
	{anyOf(as[*format.VersionError], as[*chain.UnknownError]), exitFailed, "a later version of litestash wrote it: install that one"},
	{as[*staleError], exitDamaged, "a snapshot that is there can be had by its name, as litestash list NAME tells; in a versioned bucket litestash recover --dry-run tells what is gone; see docs/incident.md"},
	{as[*upload.LostError], exitDamaged, "a full snapshot has been stored in its place; find out what deletes from the store: in a versioned bucket litestash recover --dry-run tells what is gone; see docs/incident.md"},
	{as[*upload.DecayError], exitDamaged, "a full snapshot has been stored, and later ones rest on that; litestash verify NAME --all-snapshots tells what else is damaged"},
	{is(snapshot.ErrDamaged), exitFailed, "look at the database with its application or: sqlite3 FILE 'PRAGMA integrity_check'"},
	{anyOf(as[*chain.HoleError], as[*chain.LossError]), exitDamaged, "restore one that is still there with --at; in a versioned bucket litestash recover --dry-run tells what was deleted; see docs/incident.md"},
	{is(format.ErrDamaged), exitDamaged, "restore an older snapshot (litestash list NAME shows them); in a versioned bucket litestash recover --dry-run tells what was deleted or overwritten; see docs/incident.md"},

	// What was looked for and is not there.
	{as[*gapError], exitNotFound, "allow a larger gap, or leave --max-gap out"},
	{is(transfer.ErrOvertaken), exitFailed, "run it again"},
	{is(errNoneThen), exitNotFound, "litestash list shows the databases in the store, and litestash list NAME their snapshots"},
	{is(errNoDatabases), exitNotFound, "look at --store: a prefix or directory that is wrong is not an error, it is empty"},
	{isNoDatabase, exitNotFound, "litestash list shows the databases in the store"},
	{as[*catalog.NotFoundError], exitNotFound, "litestash list DATABASE shows its snapshots"},

	// The place of a restore.
	{is(restore.ErrExists), exitRefused, "choose another path; --if-missing leaves what is there, and restore --replace puts the snapshot in its place and keeps the old file"},
	{anyOf(is(restore.ErrInUse), is(snapshot.ErrInUse)), exitRefused, "stop the application that has it open, or restore to another path"},
	{is(restore.ErrNotFile), exitRefused, "name a file"},
	{is(restore.ErrSideFile), exitRefused, "choose another path"},

	// The database that a snapshot is taken of.
	{as[*upload.SourceError], exitRefused, "choose another --name, or take the name over with --adopt; if this is the same file on a host whose name changes, set --host"},
	{is(snapshot.ErrNotDatabase), exitRefused, "name an SQLite database; one that its application encrypts cannot be read page by page"},
	{is(snapshot.ErrHotJournal), exitRefused, "open the database once with its application, so that SQLite rolls the transaction back"},
	{is(snapshot.ErrNetworkFS), exitRefused, "run litestash on the host that the disk belongs to"},
	{is(snapshot.ErrNotFile), exitFailed, "name the database file"},
	{is(snapshot.ErrBusy), exitFailed, "wait longer with --busy-timeout, or end the process that keeps it locked"},
	{is(snapshot.ErrUnstable), exitFailed, "try again"},

	// The store.
	{as[*tls.CertificateVerificationError], exitUnreachable, "if the server has a certificate of your own authority, name that authority's in AWS_CA_BUNDLE"},
	{is(store.ErrPlainHTTP), exitUnreachable, "the server speaks http: write endpoint=http://.. if it is meant to"},
	{as[*store.RegionError], exitFailed, "say where the bucket is: --store 's3://BUCKET/PREFIX?region=..', or AWS_REGION"},
	{clockOff, exitRefused, "set this host's clock: snapshots are named after the time"},
	{is(errNoVersions), exitRefused, "only a bucket with versions keeps what is deleted or overwritten"},
	{is(store.ErrCannotLock), exitRefused, "leave --lock-for out, or use a bucket that was made with Object Lock: it cannot be added to a directory or, with most servers, to a bucket later"},
	{is(store.ErrNoBucket), exitFailed, "make it, mount it, or correct --store: a bucket is s3://bucket/prefix, anything else is a directory"},
	{isForbiddenFile, exitLockedOut, "run litestash as a user who may read the store's directory, and write there if it is to store something"},
	{is(store.ErrDenied), exitLockedOut, "give credentials as for the aws command: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role; litestash policy prints what rights they need"},
	{is(store.ErrUnreachable), exitUnreachable, "try again; litestash doctor tries the store step by step"},
	{is(store.ErrUnknown), exitUnreachable, "litestash list tells whether it arrived"},
	{is(store.ErrChanged), exitDamaged, "it was replaced while it was read, and no name is used twice: find out who else writes to the store; see docs/incident.md"},

	// The disks of this host.
	{anyOf(is(syscall.ENOSPC), is(syscall.EDQUOT)), exitFailed, "make room on that disk, or use another; if it is the one for temporary files, --temp-dir names another; if it is the store's, see docs/incident.md"},
	{as[*snapshot.SpoiltError], exitFailed, "the disk for temporary files, or the memory, of this host loses data: look at it, and name another disk with --temp-dir"},
	{is(syscall.ENOTDIR), exitFailed, "choose another path: something in this one is a file"},
	{is(syscall.EROFS), exitFailed, "the disk is read-only: choose a path on another"},
	{is(context.DeadlineExceeded), exitFailed, "ask for less, or allow more with --assert-timeout"},
	{is(fs.ErrNotExist), exitFailed, "check the path: it, or the directory that it is in, does not exist"},
	{is(fs.ErrPermission), exitFailed, "run litestash as a user who may, such as the database's owner"},
}

// is returns what reports whether an error matches target.
func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// as reports whether an error is a T, or wraps one.
func as[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

func anyOf(list ...func(error) bool) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(list, func(is func(error) bool) bool { return is(err) })
	}
}

// isForbiddenFile reports whether the system denied access to a file, as that of a store in a directory.
func isForbiddenFile(err error) bool {
	return errors.Is(err, store.ErrDenied) && errors.Is(err, fs.ErrPermission)
}

// isLoss reports whether status has found that something is lost.
func isLoss(err error) bool {
	s, ok := errors.AsType[*statusError](err)
	return ok && s.loses
}

// isNoDatabase reports whether there is no snapshot of a database at all.
func isNoDatabase(err error) bool {
	n, ok := errors.AsType[*catalog.NotFoundError](err)
	return ok && n.What == ""
}

// wrongServer reports whether something answers that is not the server that was meant.
func wrongServer(err error) bool {
	return as[*tls.CertificateVerificationError](err) || errors.Is(err, store.ErrPlainHTTP)
}

// clockOff reports whether this host's clock and the store's are too far apart.
var clockOff = anyOf(as[*catalog.SkewError], as[*store.ClockError])

// turnedAway reports whether the store answers, but not to this.
var turnedAway = anyOf(as[*store.RegionError], clockOff, is(store.ErrCannotLock), is(store.ErrNoBucket), is(store.ErrDenied))

// unreachable reports whether nothing is wrong but that the store does not answer: later it may, without anybody's help.
func unreachable(err error) bool {
	switch {
	case errors.Is(err, format.ErrDamaged):
		return false // this is to be told, whether the store answers again or not
	case wrongServer(err):
		return true // also if it was to give credentials, so that access was denied
	case turnedAway(err):
		return false
	}
	return errors.Is(err, store.ErrUnreachable) || errors.Is(err, store.ErrUnknown)
}

// needsSomebody reports whether an error of a push is about what it was told to do, rights and keys, what the file is,
// or the clock.
var needsSomebody = anyOf(
	as[*store.UsageError], is(store.ErrNoBucket), is(store.ErrDenied), is(store.ErrCannotLock), clockOff,
	as[*upload.SourceError], as[*upload.UnknownSourceError], as[*upload.PlaintextError], as[*seal.LockedError],
	is(snapshot.ErrNotDatabase), is(snapshot.ErrHotJournal), is(snapshot.ErrNetworkFS),
)

// fatal reports whether a push fails in the same way until somebody changes something. Where the store is damaged it may
// as well, but whoever pushes goes on: snapshots are wanted more than ever then.
func fatal(err error) bool {
	if errors.Is(err, format.ErrDamaged) || unreachable(err) {
		return errors.Is(err, store.ErrNoBucket)
	}
	return needsSomebody(err)
}
