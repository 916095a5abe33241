package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/internal/ping"
)

const (
	pingTime     = 10 * time.Second // for a ping and its repetitions
	lastPingTime = time.Second      // for one of somebody who was told to end
	beatTime     = time.Minute      // between pings of what goes on, the least that such services tell apart
)

// pingFlag is the flag of commands that a service can watch over.
func pingFlag() cli.Flag {
	return &cli.StringFlag{Name: "ping-url-file", EnvVars: []string{"LITESTASH_PING_URL_FILE"}, Usage: "tell the service whose address is in `FILE` when it starts, and how it ends, as healthchecks.io has it"}
}

// A pinger tells a service how a command goes. That it cannot is a warning, whatever the reason: nobody wants to
// be without a backup because of that. A nil one tells nobody.
type pinger struct {
	p       *program
	service *ping.Service
	started chan struct{} // closed when the ping of the start has been sent
}

// startPings tells that the command starts, if somebody is to be told. What it does meanwhile does not wait.
func (p *program) startPings(c *cli.Context) {
	file := c.String("ping-url-file")
	if file == "" {
		return
	}
	s, err := ping.Load(file, os.Getenv("AWS_CA_BUNDLE"))
	if err != nil {
		p.log.Warn("nobody is pinged", "err", err)
		return
	}
	p.pings = &pinger{p, s, make(chan struct{})}
	go func() {
		defer close(p.pings.started)
		p.pings.send(c.Context, pingTime, s.Start)
	}()
}

// end tells how the command ended, after the ping of the start.
func (g *pinger) end(ctx context.Context, code int) {
	if g == nil {
		return
	}
	limit := pingTime
	if ctx.Err() != nil {
		limit = lastPingTime
	}
	<-g.started
	g.send(context.WithoutCancel(ctx), limit, func(ctx context.Context) error { return g.service.End(ctx, code) })
}

func (g *pinger) send(ctx context.Context, limit time.Duration, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := do(ctx); err != nil && !errors.Is(err, context.Canceled) { // or the one of the end follows
		g.p.log.Warn("the ping failed", "err", err)
	}
}

// A pulse tells a service again and again that a watch is well, as long as every database has been pushed and
// goes on being looked at. Who hears nothing raises the alarm. A nil one tells nobody. Its methods belong to the
// goroutine of the watch, and do not wait.
type pulse struct {
	unwell map[string]bool // databases whose last push failed, or that were never pushed
	codes  chan int        // to be told
	told   time.Time
	last   int
}

// startPulse returns what tells how a watch over databases is, until stop is called.
func (p *program) startPulse(ctx context.Context, sources []source) (_ *pulse, stop func()) {
	if p.pings == nil {
		return nil, func() {}
	}
	u := &pulse{unwell: map[string]bool{}, codes: make(chan int, 1)}
	for _, s := range sources {
		u.unwell[s.name] = true
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the last pushes come after a signal
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for code := range u.codes {
			p.pings.send(ctx, pingTime, func(ctx context.Context) error { return p.pings.service.End(ctx, code) })
		}
	}()
	return u, func() {
		close(u.codes)
		cancel()
		<-ended
	}
}

// looked says that the watch goes on.
func (u *pulse) looked() {
	if u != nil && len(u.unwell) == 0 {
		u.tell(exitDone)
	}
}

// pushed says that a database has been pushed, and what came of it. A store that is out of reach for a while is
// not told of: if it lasts, the silence is.
func (u *pulse) pushed(database string, err error) {
	if u == nil {
		return
	}
	if err == nil {
		delete(u.unwell, database)
		u.looked()
		return
	}
	u.unwell[database] = true
	if !unreachable(err) {
		u.tell(judge(err).code)
	}
}

// tell tells a code, unless it was told a moment ago or the one before is still on its way. A failure takes the place
// of a success that waits to be told, since it may not come again.
func (u *pulse) tell(code int) {
	if u == nil || code == u.last && time.Since(u.told) < beatTime {
		return
	}
	if code != exitDone {
		select {
		case <-u.codes:
		default:
		}
	}
	select {
	case u.codes <- code:
		u.told, u.last = time.Now(), code
	default:
	}
}
