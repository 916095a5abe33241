package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/upload"
)

// What a watch tries again, waits for and gives up is decided by what errors are, also where there are several.
func TestFatal(t *testing.T) {
	untrusted := &tls.CertificateVerificationError{Err: errors.New("who is that?")}
	for _, c := range []struct {
		err                error
		fatal, unreachable bool
	}{
		{store.ErrUnreachable, false, true},
		{store.ErrUnknown, false, true},
		{errors.Join(store.ErrUnreachable, untrusted), false, true},
		{errors.Join(store.ErrUnreachable, store.ErrPlainHTTP), false, true},
		{fmt.Errorf("%w: get credentials: %w", store.ErrDenied, untrusted), false, true},
		{store.ErrDenied, true, false},
		{store.ErrForbidden, true, false},
		{fmt.Errorf("%w: %w", store.ErrUnknown, store.ErrDenied), true, false},
		{fmt.Errorf("%w: %w", store.ErrUnknown, &store.ClockError{}), true, false},
		{store.ErrNoBucket, true, false},
		{store.ErrCannotLock, true, false},
		{&store.UsageError{}, true, false},
		{&store.ClockError{}, true, false},
		{&store.RegionError{}, false, false},
		{&catalog.SkewError{}, true, false},
		{&upload.SourceError{}, true, false},
		{&upload.UnknownSourceError{Err: &seal.LockedError{}}, true, false},
		{&upload.PlaintextError{}, true, false},
		{&seal.LockedError{}, true, false},
		{snapshot.ErrNotDatabase, true, false},
		{snapshot.ErrHotJournal, true, false},
		{snapshot.ErrNetworkFS, true, false},
		{snapshot.ErrBusy, false, false},
		{snapshot.ErrUnstable, false, false},
		{snapshot.ErrNotFile, false, false},
		{snapshot.ErrDamaged, false, false},
		{syscall.ENOSPC, false, false},
		{fs.ErrPermission, false, false},
		{context.Canceled, false, false},
		{store.ErrChanged, false, false},

		// What is damaged is told, whatever else is wrong.
		{&upload.LostError{}, false, false},
		{errors.Join(store.ErrUnreachable, &upload.LostError{}), false, false},
		{errors.Join(store.ErrDenied, &upload.DecayError{Err: format.ErrDamaged}), false, false},
		{errors.Join(&chain.HoleError{}, store.ErrUnreachable), false, false},
		{errors.Join(store.ErrNoBucket, &upload.LostError{}), true, false},
	} {
		err := fmt.Errorf("push: %w", c.err)
		if got := fatal(err); got != c.fatal {
			t.Errorf("%T %v: fatal is %v", c.err, c.err, got)
		}
		if got := unreachable(err); got != c.unreachable {
			t.Errorf("%T %v: unreachable is %v", c.err, c.err, got)
		}
	}
}

// The hint about a snapshot that is not there names its database; of several things that are wrong the first decides.
func TestJudge(t *testing.T) {
	absent := &catalog.NotFoundError{Database: "my app.db", What: "x"}
	for _, c := range []struct {
		err  error
		code int
		hint string
	}{
		{absent, exitNotFound, "litestash list 'my app.db' shows its snapshots"},
		{&catalog.NotFoundError{Database: "my app.db"}, exitNotFound, "litestash list shows the databases in the store"},
		{errors.Join(absent, store.ErrDenied), exitNotFound, "litestash list 'my app.db' shows its snapshots"},
		{&pruneError{"app.db", absent}, exitSome, "litestash list 'my app.db' shows its snapshots"},
		{&pruneError{"app.db", store.ErrForbidden}, exitSome, "these credentials may push but not delete: leave the --keep flags out here, and let litestash prune run with others"},
		{errors.New("something else"), exitFailed, ""},
	} {
		if got := judge(c.err); got.code != c.code || got.hint != c.hint {
			t.Errorf("%v: %+v", c.err, got)
		}
	}
}
