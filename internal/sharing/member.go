package sharing

import (
	"slices"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// Member is a subscription that may share a trunk with others.
type Member struct {
	source *Source
	trunk  *trunk
	key    spanKey
	out    puller.Receiver

	mu struct {
		sync.Mutex
		closed bool
		branch Subscription // nil if there is none (any more)
		// branchEnded: the branch is not needed any more, or never was.
		branchEnded bool
		// joined: the member gets what the trunk gets, and of the branch only what is
		// at or below joinedAt, which is all that the trunk lacks.
		joined   bool
		joinedAt event.Ts
		// resolved is what the receiver knows: it must get nothing at or below it.
		resolved event.Ts
		called   bool     // Resolve has been called
		trunkTs  event.Ts // the trunk's resolved ts, which counts once the branch has ended
	}
	// resolving puts calls of the receiver's Resolve in order. It is taken before mu.
	resolving sync.Mutex
}

func (m *Member) setBranch(sub Subscription) {
	m.mu.Lock()
	ended := m.mu.closed || m.mu.branchEnded
	if !ended {
		m.mu.branch = sub
	}
	m.mu.Unlock()
	if ended {
		sub.Close()
	}
}

// endBranch closes the branch, at once or as soon as it is known.
func (m *Member) endBranch() {
	m.mu.Lock()
	sub := m.mu.branch
	m.mu.branch, m.mu.branchEnded = nil, true
	m.mu.Unlock()
	if sub != nil {
		sub.Close()
	}
}

// join notes that the member gets what the trunk has above ts.
func (m *Member) join(ts event.Ts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.joined, m.mu.joinedAt = true, ts
}

// endBranchIfComplete ends the branch if the receiver has, or does not want, what
// the trunk lacks.
func (m *Member) endBranchIfComplete() bool {
	m.mu.Lock()
	complete := m.mu.joined && (m.mu.branchEnded || m.mu.resolved >= m.mu.joinedAt)
	m.mu.Unlock()
	if complete {
		m.endBranch()
	}
	return complete
}

// receive passes changes on, but for those that the receiver must have already.
func (m *Member) receive(kvs []rawkv.Entry) {
	m.mu.Lock()
	closed, resolved := m.mu.closed, m.mu.resolved
	m.mu.Unlock()
	if closed {
		return
	}
	old := func(kv rawkv.Entry) bool { return kv.CommitTs <= resolved }
	if slices.ContainsFunc(kvs, old) {
		kvs = slices.DeleteFunc(kvs, old)
	}
	if len(kvs) > 0 {
		m.out.Receive(kvs)
	}
}

// resolveTrunk takes a resolved ts of the trunk.
func (m *Member) resolveTrunk(ts event.Ts) {
	m.mu.Lock()
	m.mu.trunkTs = max(m.mu.trunkTs, ts)
	m.mu.Unlock()
	m.resolve(0)
}

// resolve passes on what is resolved now: by the branch, or, when that has
// delivered all that the trunk lacks, by the trunk. It is then the trunk's alone,
// because what the branch has above joinedAt is dropped.
func (m *Member) resolve(branchTs event.Ts) {
	m.resolving.Lock()
	defer m.resolving.Unlock()
	m.mu.Lock()
	ts := branchTs
	if m.mu.joined && (m.mu.branchEnded || branchTs >= m.mu.joinedAt) {
		m.mu.branchEnded = true
		ts = m.mu.trunkTs
	}
	due := !m.mu.closed && ts != 0 && (ts > m.mu.resolved || !m.mu.called && ts == m.mu.resolved)
	if due {
		m.mu.resolved, m.mu.called = ts, true
	}
	m.mu.Unlock()
	if due {
		m.out.Resolve(ts)
	}
}

func (m *Member) fail(err error) {
	m.mu.Lock()
	closed := m.mu.closed
	m.mu.closed = true
	m.mu.Unlock()
	if closed {
		return
	}
	m.endBranch()
	m.source.leave(m)
	m.out.Fail(err)
}

// Close ends the subscription. No call of the receiver begins afterwards; Close
// does not wait for one that has begun.
func (m *Member) Close() {
	m.mu.Lock()
	closed := m.mu.closed
	m.mu.closed = true
	m.mu.Unlock()
	if closed {
		return
	}
	m.endBranch()
	m.source.leave(m)
}

// PendingBytes returns the memory that is held by rows whose transactions have
// not ended. What is shared counts in full for each that shares it.
func (m *Member) PendingBytes() int64 {
	var n int64
	if sub := m.trunk.subscription(); sub != nil {
		n += sub.PendingBytes()
	}
	if sub := m.branchSubscription(); sub != nil {
		n += sub.PendingBytes()
	}
	return n
}

// Progress tells how much of the span has been scanned: by the branch, while the
// member needs it.
func (m *Member) Progress() puller.Progress {
	sub := m.branchSubscription()
	if sub == nil {
		sub = m.trunk.subscription()
	}
	if sub == nil {
		return puller.Progress{}
	}
	return sub.Progress()
}

func (m *Member) branchSubscription() Subscription {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.branch
}

// branch is the member as the receiver of its own subscription.
type branch Member

// Receive implements puller.Receiver.
func (b *branch) Receive(kvs []rawkv.Entry) {
	m := (*Member)(b)
	m.mu.Lock()
	joined, at, ended := m.mu.joined, m.mu.joinedAt, m.mu.branchEnded
	m.mu.Unlock()
	if ended {
		return
	}
	if joined {
		kvs = slices.DeleteFunc(kvs, func(kv rawkv.Entry) bool { return kv.CommitTs > at })
	}
	m.receive(kvs)
}

// Resolve implements puller.Receiver.
func (b *branch) Resolve(ts event.Ts) {
	m := (*Member)(b)
	m.resolve(ts)
	m.endBranchIfComplete()
}

// Fail implements puller.Receiver.
func (b *branch) Fail(err error) { (*Member)(b).fail(err) }

var _ puller.Receiver = (*branch)(nil)
