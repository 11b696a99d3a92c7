package cdctest

import (
	"sync"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// maxLogical is where the logical part of a timestamp overflows.
const maxLogical = 1 << 18

// Oracle is PD's source of timestamps (TSO). They always grow, whatever is done
// to the clock beneath. By default the physical part follows the wall clock.
type Oracle struct {
	mu     sync.Mutex
	offset time.Duration // from the wall clock, or from the instant of Freeze
	frozen time.Time     // zero: the clock runs
	last   event.Ts
	failed bool
}

// Now returns a new timestamp, greater than all before.
func (o *Oracle) Now() event.Ts { return o.alloc(1) }

// alloc reserves n timestamps and returns the last of them.
func (o *Oracle) alloc(n int) event.Ts {
	o.mu.Lock()
	defer o.mu.Unlock()
	clock := o.frozen
	if clock.IsZero() {
		clock = time.Now()
	}
	first := max(o.last+1, event.NewTs(clock.Add(o.offset)))
	// PD hands out a batch within one millisecond.
	if first.Logical()+int64(n) >= maxLogical {
		first = event.Ts(first.Physical()+1) * maxLogical
	}
	o.last = first + event.Ts(n-1)
	return o.last
}

// Advance moves the clock, so that locks expire without waiting. A negative d
// sets it back; timestamps then grow by their logical part only until the clock
// has caught up.
func (o *Oracle) Advance(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.offset += d
}

// Freeze stops the clock: timestamps grow by their logical part only.
func (o *Oracle) Freeze() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.frozen.IsZero() {
		o.frozen = time.Now()
	}
}

// Thaw undoes Freeze; the clock goes on from where it stood.
func (o *Oracle) Thaw() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.frozen.IsZero() {
		o.offset -= time.Since(o.frozen)
		o.frozen = time.Time{}
	}
}

// Fail makes PD refuse to give timestamps, until Fail(false). Resolved ts then
// stand still, because stores have no timestamp either. Now is not affected.
func (o *Oracle) Fail(failed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = failed
}

// serve is alloc for clients and stores; false means that PD has no timestamp.
func (o *Oracle) serve(n int) (event.Ts, bool) {
	o.mu.Lock()
	failed := o.failed
	o.mu.Unlock()
	if failed {
		return 0, false
	}
	return o.alloc(n), true
}

// highest returns the greatest timestamp given so far.
func (o *Oracle) highest() event.Ts {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
