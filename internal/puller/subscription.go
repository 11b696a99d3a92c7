package puller

import (
	"sync"
	"sync/atomic"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// Subscription is a span that a [Client] follows for a [Receiver].
type Subscription struct {
	client     *Client
	id         uint64 // the request id of all its requests
	span       event.Span
	keys       keyRange // of the span
	startTs    event.Ts
	out        Receiver
	filterLoop bool

	ranges *rangeLock
	bytes  atomic.Int64 // in memory, written with memory locked

	// memory is what is held for open transactions.
	memory struct {
		sync.Mutex
		overflows map[*overflow]struct{}
		released  bool // the subscription has stopped
	}

	// resolveMu puts calls of Resolve in order.
	resolveMu struct {
		sync.Mutex
		called bool
		ts     event.Ts
	}

	mu struct {
		sync.Mutex
		stopped bool
		calls   int   // of the receiver, in progress
		failure error // to be handed to Fail by the last of them
	}
	done chan struct{}
}

// Option changes a subscription.
type Option func(*Subscription)

// FilterLoop leaves out rows that a change data capture wrote into the cluster
// itself, for replication in both directions. Stores before v6.5 ignore it.
func FilterLoop() Option { return func(s *Subscription) { s.filterLoop = true } }

// Progress is how far a [Subscription] has come.
type Progress struct {
	// Ranges is the number of parts that the span is divided into; of these,
	// Locked are assigned to a region, and of these Initialized have been scanned.
	Ranges, Locked, Initialized int
	// ResolvedTs is the least resolved ts of all parts: the start ts until
	// all are initialised.
	ResolvedTs event.Ts
	// PendingBytes is held by rows whose transactions have not ended.
	PendingBytes int64
}

// Progress may be called at any time, from any goroutine.
func (s *Subscription) Progress() Progress {
	p := Progress{PendingBytes: s.PendingBytes()}
	p.Ranges, p.Locked, p.Initialized, p.ResolvedTs = s.ranges.progress()
	return p
}

// Span returns the span it was made for.
func (s *Subscription) Span() event.Span { return s.span }

// PendingBytes returns the memory that is held by rows whose transactions have not ended.
func (s *Subscription) PendingBytes() int64 { return s.bytes.Load() }

// Close ends the subscription. No call of the receiver begins afterwards; Close
// does not wait for one that has begun, so it may be called from the receiver.
// See [Subscription.Done] to wait.
func (s *Subscription) Close() { s.stop(nil) }

// Done is closed when the subscription has been closed, or has failed, and no
// call of its receiver is in progress.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// stop ends the subscription, with a call of Fail if err is not nil.
func (s *Subscription) stop(err error) {
	s.mu.Lock()
	if s.mu.stopped {
		if err == nil {
			s.mu.failure = nil
		}
		s.mu.Unlock()
		return
	}
	s.mu.stopped, s.mu.failure = true, err
	s.mu.calls++ // this one, so that end() closes done
	s.mu.Unlock()
	s.ranges.stop()
	s.client.drop(s)
	s.releaseMemory()
	s.end()
}

// hold notes that regions hold more memory, or less.
func (s *Subscription) hold(bytes int64) {
	s.memory.Lock()
	defer s.memory.Unlock()
	s.bytes.Add(bytes)
	if !s.memory.released {
		s.client.held.Add(bytes)
	}
}

// keep notes that a region has prewrites on disk, which end with the subscription.
func (s *Subscription) keep(o *overflow) {
	s.memory.Lock()
	defer s.memory.Unlock()
	if s.memory.released {
		o.release()
		return
	}
	if s.memory.overflows == nil {
		s.memory.overflows = map[*overflow]struct{}{}
	}
	s.memory.overflows[o] = struct{}{}
}

// forget undoes keep for one that has been released.
func (s *Subscription) forget(o *overflow) {
	s.memory.Lock()
	defer s.memory.Unlock()
	delete(s.memory.overflows, o)
}

func (s *Subscription) releaseMemory() {
	s.memory.Lock()
	defer s.memory.Unlock()
	s.memory.released = true
	s.client.held.Add(-s.bytes.Load())
	for o := range s.memory.overflows {
		o.release()
	}
	s.memory.overflows = nil
}

func (s *Subscription) stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.stopped
}

// begin asks for permission to call the receiver; end must follow.
func (s *Subscription) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopped {
		return false
	}
	s.mu.calls++
	return true
}

// end makes the last call of a stopped subscription, which is Fail or none.
func (s *Subscription) end() {
	s.mu.Lock()
	s.mu.calls--
	if !s.mu.stopped || s.mu.calls > 0 {
		s.mu.Unlock()
		return
	}
	err := s.mu.failure
	s.mu.failure = nil
	if err != nil {
		s.mu.calls++
		s.mu.Unlock()
		s.out.Fail(err)
		s.mu.Lock()
		s.mu.calls--
	}
	// Nobody can begin any more, so this is reached with calls == 0 once.
	s.mu.Unlock()
	close(s.done)
}

// receive hands rows to the receiver.
func (s *Subscription) receive(rows []rawkv.Entry) {
	if len(rows) == 0 || !s.begin() {
		return
	}
	defer s.end()
	s.out.Receive(rows)
}

// resolve calls the receiver if the resolved ts of the span has moved, or is
// known for the first time.
func (s *Subscription) resolve() {
	s.resolveMu.Lock()
	defer s.resolveMu.Unlock()
	ts, covered := s.ranges.resolved()
	if !covered || (s.resolveMu.called && ts <= s.resolveMu.ts) || !s.begin() {
		return
	}
	defer s.end()
	s.resolveMu.called, s.resolveMu.ts = true, ts
	s.out.Resolve(ts)
}
