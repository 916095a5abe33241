package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// A signalError is the cause of a context that a signal ended.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return e.signal.String() }

// Is makes the error match [context.Canceled], which it is a case of.
func (e *signalError) Is(target error) bool { return target == context.Canceled }

// ignoreBrokenPipes makes a write to a pipe that nobody reads any more an error. By default it would
// end the process on the spot, with its temporary files left behind. A handler, and not
// [signal.Ignore], so that programs which this one calls do not inherit it.
func ignoreBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// withSignals returns a context that the first interrupt or termination ends, or the end of the terminal unless
// that was to be ignored, as under nohup. It has a signalError as its cause. The second one kills, as if nobody had
// listened. It listens for as long as the process lives.
func withSignals(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	got := make(chan os.Signal, 1)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(got, syscall.SIGHUP)
	}
	go func() {
		s := <-got
		signal.Stop(got)
		cancel(&signalError{s.(syscall.Signal)})
	}()
	return ctx
}
