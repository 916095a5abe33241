package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/watch"
)

// passedOn are the signals that an application under watch gets.
var passedOn = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
}

// errAppEnded is the cause of the end of a watch whose application has ended.
var errAppEnded = errors.New("the application has ended")

// watchBeside runs an application and watches until it ends. A signal does not end the watch but is the
// application's to act on: what it commits while it shuts down is in the last snapshot. It calls end when the
// application has ended.
func (p *program) watchBeside(ctx context.Context, command string, databases []watch.Database, opts watch.Options, end func()) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passedOn...)
	if ctx.Err() != nil {
		return context.Cause(ctx) // asked to end before there was anybody to pass it on to
	}
	app, err := p.startApp(command)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	ended := make(chan int, 1)
	go func() {
		ended <- p.waitApp(app, signals)
		signal.Stop(signals) // from here on a second one kills, as it does elsewhere
		end()
		stop(errAppEnded)
	}()
	err = watch.Run(watching, databases, opts)
	unfit := err != nil && watching.Err() == nil
	if unfit {
		p.log.Error("ending the application, since it cannot be backed up", "err", err)
		signals <- syscall.SIGTERM
	}
	code := <-ended
	p.log.Info("the application has ended", "code", code)
	if unfit || code == exitDone { // how it ended when it was told to says nothing
		return p.reported(watching, err)
	}
	return &reportedError{code}
}

// startApp starts an application through the shell, with the standard streams of this process. It
// leads a process group, so that signals reach all of it, and has the terminal if there is one.
func (p *program) startApp(command string) (*exec.Cmd, error) {
	app := exec.Command("/bin/sh", "-c", command)
	app.Stdin, app.Stdout, app.Stderr = p.stdin, p.stdout, p.stderr
	app.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if f, ok := p.stdin.(*os.File); ok && ui.IsTerminal(f) {
		app.SysProcAttr.Foreground, app.SysProcAttr.Ctty = true, int(f.Fd())
	}
	if err := app.Start(); err != nil {
		return nil, fmt.Errorf("start the application: %w", err)
	}
	p.log.Info("application started", "pid", app.Process.Pid)
	return app, nil
}

// waitApp passes signals on to an application until it ends, and returns its exit code as a shell would.
func (p *program) waitApp(app *exec.Cmd, signals <-chan os.Signal) int {
	ended := make(chan error, 1)
	go func() { ended <- app.Wait() }()
	for {
		select {
		case s := <-signals:
			if err := syscall.Kill(-app.Process.Pid, s.(syscall.Signal)); err != nil && !errors.Is(err, syscall.ESRCH) {
				p.log.Warn("a signal could not be passed on", "signal", s, "err", err)
			}
		case err := <-ended:
			return p.appCode(app, err)
		}
	}
}

func (p *program) appCode(app *exec.Cmd, err error) int {
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		p.log.Error("wait for the application", "err", err) // its streams could not be copied
	}
	status := app.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
