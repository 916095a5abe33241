package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

func TestFaultWithoutPlan(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return storetest.Fault(storetest.OpenDir(t, t.TempDir())) })
}

func TestFaultCreate(t *testing.T) {
	for _, tt := range []struct {
		how     storetest.How
		want    error
		persist bool
	}{
		{storetest.Before, storetest.ErrFault, false},
		{storetest.After, store.ErrUnknown, true},
		{storetest.Stall, context.DeadlineExceeded, false},
		{storetest.Cut, storetest.ErrFault, false},
		{storetest.CutStall, context.DeadlineExceeded, false},
	} {
		t.Run(tt.how.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := storetest.Fault(storetest.OpenDir(t, t.TempDir()), storetest.Step{Call: 1, How: tt.how})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := s.Create(ctx, "key", bytes.NewReader(storetest.Bytes(100)), 100)
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if got := len(storetest.Keys(t, s, store.Query{})) == 1; got != tt.persist {
					t.Errorf("persisted: %v, want %v", got, tt.persist)
				}
				if s.Hit() != 1 {
					t.Errorf("%d calls hit", s.Hit())
				}
			})
		})
	}
}

func TestFaultOpen(t *testing.T) {
	for _, tt := range []struct {
		how  storetest.How
		want error
		read int
	}{
		{storetest.Before, storetest.ErrFault, 0},
		{storetest.After, storetest.ErrFault, 0},
		{storetest.Stall, context.DeadlineExceeded, 0},
		{storetest.Cut, io.ErrUnexpectedEOF, 40},
		{storetest.CutStall, context.DeadlineExceeded, 40},
	} {
		t.Run(tt.how.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := storetest.Fault(storetest.OpenDir(t, t.TempDir()), storetest.Step{Call: 1, Op: "Open", How: tt.how})
				o := storetest.Put(t, s, "key", storetest.Bytes(100))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				r, err := s.Open(ctx, o, 20, 80)
				var data []byte
				if err == nil {
					data, err = io.ReadAll(r)
					r.Close()
				}
				if !errors.Is(err, tt.want) || len(data) != tt.read {
					t.Errorf("%d bytes and %v, want %d and %v", len(data), err, tt.read, tt.want)
				}
			})
		})
	}
}

func TestFaultList(t *testing.T) {
	for _, tt := range []struct {
		how  storetest.How
		want error
		seen int
	}{
		{storetest.Before, storetest.ErrFault, 0},
		{storetest.After, storetest.ErrFault, 4},
		{storetest.Stall, context.DeadlineExceeded, 0},
		{storetest.Cut, storetest.ErrFault, 2},
		{storetest.CutStall, context.DeadlineExceeded, 2},
	} {
		t.Run(tt.how.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := storetest.Fault(storetest.OpenDir(t, t.TempDir()))
				for i := range 4 {
					storetest.Put(t, s, fmt.Sprint(i), nil)
				}
				s.Plan(storetest.Step{Call: 1, How: tt.how})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				seen, last := 0, error(nil)
				for _, err := range s.List(ctx, store.Query{}) {
					if last = err; err == nil {
						seen++
					}
				}
				if !errors.Is(last, tt.want) || seen != tt.seen {
					t.Errorf("%d objects and %v, want %d and %v", seen, last, tt.seen, tt.want)
				}
			})
		})
	}
}

func TestFaultDelete(t *testing.T) {
	for _, tt := range []struct {
		how  storetest.How
		want error
		gone bool
	}{
		{storetest.Before, storetest.ErrFault, false},
		{storetest.After, storetest.ErrFault, true},
		{storetest.Stall, context.DeadlineExceeded, false},
		{storetest.Cut, storetest.ErrFault, false},
		{storetest.CutStall, context.DeadlineExceeded, false},
	} {
		t.Run(tt.how.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := storetest.Fault(storetest.OpenDir(t, t.TempDir()), storetest.Step{Call: 2, How: tt.how})
				storetest.Put(t, s, "key", nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := s.Delete(ctx, "key"); !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if got := len(storetest.Keys(t, s, store.Query{})) == 0; got != tt.gone {
					t.Errorf("gone: %v, want %v", got, tt.gone)
				}
			})
		})
	}
}

func TestFaultCounts(t *testing.T) {
	mine := errors.New("mine")
	s := storetest.Fault(storetest.OpenDir(t, t.TempDir()), storetest.Step{Call: 3, Err: mine})
	storetest.Put(t, s, "a", nil)
	storetest.Put(t, s, "b", nil)
	if _, err := s.Skew(t.Context()); !errors.Is(err, mine) {
		t.Errorf("third call: %v, want %v", err, mine)
	}
	want := []storetest.Call{{Op: "Create", Key: "a"}, {Op: "Create", Key: "b"}, {Op: "Skew"}}
	if got := s.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	s.Plan()
	if s.Hit() != 0 || len(s.Calls()) != 0 {
		t.Error("a new plan did not start from the beginning")
	}
}

// A recorder is a test that takes note of its failures.
type recorder struct{ failed []string }

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func TestFaultPolices(t *testing.T) {
	s := storetest.Fault(storetest.OpenDir(t, t.TempDir()))
	storetest.Put(t, s, "key", nil)
	if err := s.Delete(t.Context(), "key"); err != nil {
		t.Fatal(err)
	}
	var r recorder
	if s.Check(&r); len(r.failed) != 0 {
		t.Errorf("one use: %q", r.failed)
	}
	s.Plan()
	storetest.Put(t, s, "key", nil)
	if s.Check(&r); len(r.failed) != 1 {
		t.Errorf("two uses: %q", r.failed)
	}
}
