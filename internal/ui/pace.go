package ui

import (
	"math"
	"time"
)

// average is the speed of the recent past: bytes and seconds, both of which count for less the
// longer they are gone. Early on it is the plain average.
type average struct{ bytes, seconds float64 }

// add counts n bytes in d. memory is how long it takes for something to count for 1/e.
func (a *average) add(n int64, d, memory time.Duration) {
	keep := math.Exp(-d.Seconds() / memory.Seconds())
	a.bytes = a.bytes*keep + float64(n)
	a.seconds = a.seconds*keep + d.Seconds()
}

func (a *average) rate() float64 {
	if a.seconds == 0 {
		return 0
	}
	return max(0, a.bytes/a.seconds)
}

// pace is how fast work goes. What it tells is renewed once a second, because figures that change
// ten times a second cannot be read; the time left is told from the second time on.
type pace struct {
	last    time.Time
	done    int64
	recent  average // over seconds: the rate
	steady  average // over much longer: the time left, which parts of 8 MB should not shake
	renewed time.Time

	rate float64       // bytes a second
	left time.Duration // 0 if it cannot be told
}

func (p *pace) observe(now time.Time, done, total int64) {
	d := now.Sub(p.last)
	p.recent.add(done-p.done, d, 3*time.Second)
	p.steady.add(done-p.done, d, 20*time.Second)
	p.last, p.done = now, done
	if p.rate > 0 && now.Sub(p.renewed) < time.Second {
		return
	}
	early := p.rate == 0
	p.renewed = now
	p.rate, p.left = p.recent.rate(), 0
	if early {
		return
	}
	const never = 100 * 24 * 3600
	if seconds := float64(total-done) / p.steady.rate(); seconds > 0 && seconds < never {
		p.left = max(time.Second, time.Duration(seconds*float64(time.Second)))
	}
}
