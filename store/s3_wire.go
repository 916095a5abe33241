package store

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// errStalled ends an attempt in which nothing moved. The SDK takes it for a broken connection and
// tries again.
var errStalled = errors.New("the server stalled")

// A wire sends the requests of the SDK, one call of Do for every attempt. It gives up attempts
// that stand still and keeps the time that the answers tell. There is no limit to how long a
// request may take while it moves.
type wire struct {
	inner aws.HTTPClient
	stall time.Duration
	log   *slog.Logger

	answered atomic.Bool             // there was an answer, of whatever status
	clock    atomic.Pointer[reading] // of the last answer
}

// A reading is what an answer told of the server's clock.
type reading struct {
	ahead time.Duration // of this host's
	wall  time.Time     // when that was, by this host's clock
	at    time.Time     // and by the one that nobody sets
}

// holds reports whether nobody has set this host's clock since. One that stood still while the host slept
// looks like that, too.
func (r *reading) holds(now time.Time) bool {
	const most = time.Second // what a clock that is merely adjusted loses or gains in between
	return (now.Round(0).Sub(r.wall) - now.Sub(r.at)).Abs() < most
}

func (w *wire) Do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	limit := w.stall
	if patience, ok := ctx.Value(patienceKey{}).(int); ok {
		limit *= time.Duration(patience)
	}
	dog := &watchdog{limit: limit, cancel: cancel}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Int32); ok && req.Method != http.MethodHead {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { sent.Add(1) },
		})
	}
	req = req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &sentBody{req.Body, dog}
	}
	start := time.Now()
	dog.kick()
	resp, err := w.inner.Do(req)
	dog.rest()
	if err != nil {
		err = dog.why(ctx, err)
		cancel(nil)
		w.log.DebugContext(ctx, "s3 request", "method", req.Method, "path", req.URL.Path, "elapsed", time.Since(start), "err", err)
		return nil, err
	}
	w.log.DebugContext(ctx, "s3 request", "method", req.Method, "path", req.URL.Path, "elapsed", time.Since(start), "status", resp.StatusCode)
	w.answered.Store(true)
	w.setClock(resp.Header, start)
	resp.Body = &gotBody{ReadCloser: resp.Body, ctx: ctx, dog: dog}
	return resp, nil
}

// setClock takes the time from an answer to a request sent at start. A Date is in whole seconds,
// rounded down.
func (w *wire) setClock(h http.Header, start time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	now := start.Add(time.Since(start) / 2)
	w.clock.Store(&reading{ahead: date.Add(500 * time.Millisecond).Sub(now.Round(0)), wall: now.Round(0), at: now})
}

// skew returns how far the server's clock is ahead of this host's, if an answer has told since that was last set.
func (w *wire) skew() (time.Duration, bool) {
	r := w.clock.Load()
	if r == nil || !r.holds(time.Now()) {
		return 0, false
	}
	return r.ahead, true
}

type (
	patienceKey struct{}
	sentKey     struct{}
)

// withPatience lets the requests made with the context stand still for n times as long.
func withPatience(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, patienceKey{}, n)
}

// withSent returns a context whose requests, other than HEAD, are counted when a connection carries
// one: again for each attempt.
func withSent(ctx context.Context) (context.Context, *atomic.Int32) {
	sent := new(atomic.Int32)
	return context.WithValue(ctx, sentKey{}, sent), sent
}

// A watchdog cancels an attempt when it is not kicked for the time of its limit.
type watchdog struct {
	limit  time.Duration
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	timer  *time.Timer
	asleep bool
}

// kick wakes the watchdog, or lets it wait from the beginning.
func (d *watchdog) kick() { d.kickFor(d.limit) }

// kickFor is kick with another limit for once.
func (d *watchdog) kickFor(limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asleep = false; d.timer == nil {
		d.timer = time.AfterFunc(limit, d.bite)
		return
	}
	d.timer.Reset(limit)
}

func (d *watchdog) bite() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.asleep {
		d.cancel(errStalled)
	}
}

// rest puts the watchdog to sleep until the next kick.
func (d *watchdog) rest() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asleep = true
	d.timer.Stop()
}

// why returns the stall in the place of the error that it came as.
func (d *watchdog) why(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// A sentBody is a request's body. That the transport takes more of it is what shows that the
// request moves.
type sentBody struct {
	io.ReadCloser
	dog *watchdog
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		// The transport has it all, but several megabytes may still be in the kernel's buffers,
		// where nobody sees them move.
		b.dog.kickFor(2 * b.dog.limit)
	} else {
		b.dog.kick()
	}
	return n, err
}

// A gotBody is an answer's body. Only Read is timed: a reader may take all the time it likes.
type gotBody struct {
	io.ReadCloser
	ctx context.Context
	dog *watchdog
}

func (b *gotBody) Read(p []byte) (int, error) {
	b.dog.kick()
	n, err := b.ReadCloser.Read(p)
	b.dog.rest()
	if err != nil && err != io.EOF {
		err = b.dog.why(b.ctx, err)
	}
	if err != nil {
		b.dog.cancel(nil)
	}
	return n, err
}

func (b *gotBody) Close() error {
	b.dog.cancel(nil)
	return b.ReadCloser.Close()
}
