package sharing

import (
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// Subscription is what a puller gives for a span; see puller.Subscription.
type Subscription interface {
	Close()
	PendingBytes() int64
	Progress() puller.Progress
}

// Subscribe begins to pull a span above a ts, as puller.Client.Subscribe does.
type Subscribe func(span event.Span, startTs event.Ts, out puller.Receiver) Subscription

// Source gives subscriptions that share what is pulled. It is safe for
// concurrent use.
type Source struct {
	subscribe Subscribe

	// mu is taken before a trunk's.
	mu     sync.Mutex
	trunks map[spanKey]*trunk
}

type spanKey struct{ start, end string }

// New returns a Source that pulls by subscribe.
func New(subscribe Subscribe) *Source {
	return &Source{subscribe: subscribe, trunks: map[spanKey]*trunk{}}
}

// Subscribe gives a span's changes above startTs to out, in the way of
// puller.Client.Subscribe. The bytes of changes are shared with other receivers,
// so nobody may write to them.
func (s *Source) Subscribe(span event.Span, startTs event.Ts, out puller.Receiver) *Member {
	m := &Member{source: s, key: spanKey{string(span.Start), string(span.End)}, out: out}
	m.mu.resolved = startTs
	// A subscription may call its receiver before it is returned, so it is made
	// without a lock.
	switch {
	case !s.enter(m):
		m.trunk.setSubscription(s.subscribe(span, startTs, m.trunk))
	case !m.endBranchIfComplete():
		m.setBranch(s.subscribe(span, startTs, (*branch)(m)))
	}
	return m
}

// enter gives a member its trunk: one that exists, or a new one, which it is the
// first member of.
func (s *Source) enter(m *Member) (shared bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.trunks[m.key]; t != nil && t.enter(m) {
		m.trunk = t
		return true
	}
	m.trunk = newTrunk(m)
	s.trunks[m.key] = m.trunk
	return false
}

// leave takes a member out of its trunk, which ends with its last.
func (s *Source) leave(m *Member) {
	s.mu.Lock()
	sub, ended := m.trunk.remove(m)
	if ended && s.trunks[m.key] == m.trunk {
		delete(s.trunks, m.key)
	}
	s.mu.Unlock()
	if ended && sub != nil {
		sub.Close()
	}
}
