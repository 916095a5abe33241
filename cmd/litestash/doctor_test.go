package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/doctor"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/store"
)

// examine examines what open returns, with small parts.
func examine(t *testing.T, open func(context.Context) (store.Store, error)) (out, errs string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	p := &program{ui: ui.New(ui.Options{Out: &o, Err: &e})}
	err = p.examine(t.Context(), open, doctor.Options{PartSize: 1 << 10})
	return o.String(), e.String(), err
}

// A hoarder is a store from which nothing can be deleted.
type hoarder struct{ store.Store }

func (hoarder) Delete(context.Context, string) error { return store.ErrDenied }

// What cannot be removed is named.
func TestDoctorLeftBehind(t *testing.T) {
	out, errs, err := examine(t, func(ctx context.Context) (store.Store, error) {
		st, err := store.Open(ctx, t.TempDir(), store.Options{})
		return hoarder{st}, err
	})
	var reported *reportedError
	if !errors.As(err, &reported) || reported.code != exitLockedOut {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"small", "sub/small", "large"} {
		if !strings.Contains(errs, "/"+name+", ") && !strings.Contains(errs, "/"+name+" may be left in the store: access denied") {
			t.Errorf("%q does not name %s", errs, name)
		}
	}
	if !strings.Contains(out, "failed   delete") || !strings.Contains(out, "skipped  gone") {
		t.Errorf("printed %s", out)
	}
}

// The exit code is that of the first step that failed, and each has the hint that helps here.
func TestDoctorHints(t *testing.T) {
	unreachable := fmt.Errorf("%w: dial", store.ErrUnreachable)
	for _, c := range []struct {
		err  error
		code int
		hint string
	}{
		{unreachable, exitUnreachable, "hint: check the endpoint in the store's URL"},
		{errors.Join(unreachable, &tls.CertificateVerificationError{Err: errors.New("who is that?")}), exitUnreachable, "AWS_CA_BUNDLE"},
		{errors.Join(unreachable, store.ErrPlainHTTP), exitUnreachable, "endpoint=http://"},
		{store.ErrDenied, exitLockedOut, "litestash policy prints what rights they need\n"},
		{store.ErrForbidden, exitLockedOut, "litestash policy prints what rights they need; they need the permission s3:ListBucket\n"},
		{&catalog.SkewError{}, exitRefused, "set this host's clock"},
		{errors.New("the store is odd"), exitFailed, ""},
	} {
		out, errs, err := examine(t, func(context.Context) (store.Store, error) { return deaf{err: c.err}, nil })
		var reported *reportedError
		if !errors.As(err, &reported) || reported.code != c.code || errs != "" {
			t.Errorf("%v: %v, want code %d; %s", c.err, err, c.code, errs)
		}
		if !strings.Contains(out, "failed   reach") || !strings.Contains(out, c.hint) || strings.Contains(out, "hint:") != (c.hint != "") {
			t.Errorf("%v: want %q, printed %s", c.err, c.hint, out)
		}
	}
}

// A deaf store lists nothing but an error.
type deaf struct {
	store.Store
	err error
}

func (d deaf) List(context.Context, store.Query) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) { yield(store.Object{}, d.err) }
}
