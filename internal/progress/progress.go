// Package progress counts work so that someone else can watch it.
//
// Workers add to a [Meter]; whoever draws it reads it on a ticker. Nothing is ever pushed,
// so work does not wait for a terminal.
package progress

import "sync/atomic"

// A Meter is a count of bytes done out of a total. The zero value is ready for use, a nil
// Meter swallows everything, and all methods may be called concurrently.
type Meter struct {
	done, total atomic.Int64
}

// Expect sets the total, in bytes. Zero means that it is not known.
func (m *Meter) Expect(total int64) {
	if m != nil {
		m.total.Store(total)
	}
}

// Add counts n more bytes as done. A negative n takes back work that has to be repeated.
func (m *Meter) Add(n int64) {
	if m != nil {
		m.done.Add(n)
	}
}

// Read returns the bytes done and the total, which is zero while it is not known.
func (m *Meter) Read() (done, total int64) {
	if m == nil {
		return 0, 0
	}
	return m.done.Load(), m.total.Load()
}
