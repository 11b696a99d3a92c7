package sharing_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/sharing"
)

var span = event.TableSpan(1)

// store is a table whose history is pulled by subscriptions that each have come
// a way of their own.
type store struct {
	mu      sync.Mutex
	history []rawkv.Entry // in commit ts order; the ts are 10, 20, 30…
	subs    []*sub
	opened  int
}

func (s *store) commit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	ts := event.Ts(10 * (len(s.history) + 1))
	s.history = append(s.history, rawkv.New(event.OpPut, ts-1, ts, fmt.Appendf(nil, "k%dv", ts), 1, 1))
}

func (s *store) subscribe(_ event.Span, startTs event.Ts, out puller.Receiver) sharing.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	u := &sub{store: s, out: out, resolved: startTs, sent: startTs}
	s.subs = append(s.subs, u)
	return u
}

func (s *store) open() []*sub {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.subs), func(u *sub) bool { return u.closed })
}

// sub delivers out of order: sent and ahead have been given, and everything up to
// sent.
type sub struct {
	store          *store
	out            puller.Receiver
	resolved, sent event.Ts
	ahead          []event.Ts
	closed         bool
}

func (u *sub) Close() {
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	u.closed = true
}
func (u *sub) PendingBytes() int64       { return 7 }
func (u *sub) Progress() puller.Progress { return puller.Progress{Ranges: 1} }

// deliver gives the receiver up to n changes, or one from further ahead.
func (u *sub) deliver(n int, ahead bool) {
	u.store.mu.Lock()
	var kvs []rawkv.Entry
	if u.closed {
		u.store.mu.Unlock()
		return
	}
	for _, kv := range u.store.history {
		given := kv.CommitTs <= u.sent || slices.Contains(u.ahead, kv.CommitTs)
		if given || len(kvs) == n {
			continue
		}
		if ahead {
			kvs = []rawkv.Entry{kv}
			continue
		}
		kvs = append(kvs, kv)
		u.sent = kv.CommitTs
	}
	if ahead && len(kvs) > 0 {
		u.ahead = append(u.ahead, kvs[0].CommitTs)
	}
	u.store.mu.Unlock()
	u.out.Receive(kvs)
}

// resolve tells the receiver how far it has everything.
func (u *sub) resolve() {
	u.store.mu.Lock()
	closed, ts := u.closed, u.sent
	u.store.mu.Unlock()
	if !closed {
		u.out.Resolve(ts)
	}
}

// member checks what it is given against the store.
type member struct {
	t        *testing.T
	store    *store
	name     string
	start    event.Ts
	mu       sync.Mutex
	got      map[event.Ts]bool
	resolved event.Ts
	called   bool
	failed   error
	sub      *sharing.Member
}

func (m *member) Receive(kvs []rawkv.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range kvs {
		m.got[kvs[i].CommitTs] = true
		kvs[i] = rawkv.Entry{} // the slice is the receiver's
	}
}

func (m *member) Resolve(ts event.Ts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.called && ts <= m.resolved || ts < m.start {
		m.t.Errorf("%s: resolved ts %d after %d, start ts %d", m.name, ts, m.resolved, m.start)
	}
	m.called, m.resolved = true, ts
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	for _, kv := range m.store.history {
		if kv.CommitTs > m.start && kv.CommitTs <= ts && !m.got[kv.CommitTs] {
			m.t.Errorf("%s: change of %d is missing at resolved ts %d", m.name, kv.CommitTs, ts)
		}
	}
}

func (m *member) Fail(err error) { m.failed = err }

func (m *member) resolvedTs() event.Ts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resolved
}

func join(t *testing.T, s *store, src *sharing.Source, name string, start event.Ts) *member {
	m := &member{t: t, store: s, name: name, start: start, got: map[event.Ts]bool{}}
	m.sub = src.Subscribe(span, start, m)
	return m
}

// TestShared: a second member lives on a branch until the trunk can take it, and
// then the span is pulled once.
func TestShared(t *testing.T) {
	s := &store{}
	src := sharing.New(s.subscribe)
	for range 4 {
		s.commit()
	}
	a := join(t, s, src, "a", 10)
	trunk := s.open()[0]
	trunk.deliver(2, false)
	trunk.deliver(0, true) // 40, out of order
	trunk.resolve()
	b := join(t, s, src, "b", 0)
	if n := len(s.open()); n != 2 {
		t.Fatalf("%d subscriptions, want the trunk and a branch", n)
	}
	branch := s.open()[1]
	branch.deliver(1, false)
	branch.resolve()
	s.commit()
	trunk.deliver(2, false)
	trunk.resolve() // up to 50: what was received before b came is resolved
	if got := b.resolvedTs(); got != 10 {
		t.Errorf("b is resolved up to %d, but its branch has come to 10", got)
	}
	branch.deliver(4, false)
	branch.resolve()
	if got := b.resolvedTs(); got != 50 {
		t.Errorf("b is resolved up to %d, want 50", got)
	}
	if n := len(s.open()); n != 1 {
		t.Errorf("%d subscriptions, want the trunk alone", n)
	}
	s.commit()
	trunk.deliver(1, false)
	trunk.resolve()
	for _, m := range []*member{a, b} {
		if got := m.resolvedTs(); got != 60 {
			t.Errorf("%s is resolved up to %d, want 60", m.name, got)
		}
	}
	if got := b.sub.PendingBytes(); got != 7 {
		t.Errorf("pending bytes %d, want those of the trunk", got)
	}
	a.sub.Close()
	s.commit()
	trunk.deliver(1, false)
	trunk.resolve()
	if a.resolvedTs() != 60 || b.resolvedTs() != 70 {
		t.Errorf("resolved: a %d, b %d: want the closed one at 60, the other at 70", a.resolvedTs(), b.resolvedTs())
	}
	b.sub.Close()
	if n := len(s.open()); n != 0 {
		t.Errorf("%d subscriptions after the last member has left", n)
	}
	c := join(t, s, src, "c", 70)
	defer c.sub.Close()
	if s.opened != 3 {
		t.Errorf("%d subscriptions were made, want a new trunk", s.opened)
	}
}

// TestLateStart: a member may begin where the trunk has not come yet.
func TestLateStart(t *testing.T) {
	s := &store{}
	src := sharing.New(s.subscribe)
	s.commit()
	s.commit()
	a := join(t, s, src, "a", 0)
	b := join(t, s, src, "b", 20) // begins where a has not come yet
	trunk, branch := s.open()[0], s.open()[1]
	branch.resolve()
	if b.resolvedTs() != 20 {
		t.Errorf("b is resolved up to %d, want its start ts 20", b.resolvedTs())
	}
	trunk.deliver(1, false)
	trunk.resolve()
	trunk.deliver(1, false)
	s.commit()
	trunk.deliver(1, false)
	trunk.resolve()
	if a.resolvedTs() != 30 || b.resolvedTs() != 30 {
		t.Errorf("resolved: a %d, b %d; want 30", a.resolvedTs(), b.resolvedTs())
	}
	if b.got[10] || b.got[20] {
		t.Error("b got changes up to its start ts")
	}
	if n := len(s.open()); n != 1 {
		t.Errorf("%d subscriptions, want 1: b needs nothing from its branch", n)
	}
}

func TestFail(t *testing.T) {
	s := &store{}
	src := sharing.New(s.subscribe)
	a, b := join(t, s, src, "a", 0), join(t, s, src, "b", 0)
	c := join(t, s, src, "c", 0)
	trunk, ofC := s.open()[0], s.open()[2]
	broken := errors.New("broken")
	ofC.out.Fail(broken)
	if c.failed == nil || a.failed != nil || b.failed != nil {
		t.Fatalf("a branch failed: %v, %v, %v", a.failed, b.failed, c.failed)
	}
	trunk.out.Fail(broken)
	if a.failed == nil || b.failed == nil {
		t.Fatalf("the trunk failed: %v, %v", a.failed, b.failed)
	}
	before := s.opened
	join(t, s, src, "d", 0)
	if n := len(s.open()); s.opened != before+1 || n != 1 {
		t.Errorf("after a failure %d subscriptions, want a new trunk", n)
	}
}

// TestRandom: members come and go while the trunk and branches deliver in any
// order; each gets all changes, in time for each resolved ts.
func TestRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("SEED=%d", seed)
	for i := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, i))
		s := &store{}
		src := sharing.New(s.subscribe)
		var members []*member
		for step := range 300 {
			switch n := rng.IntN(20); {
			case n < 5:
				s.commit()
			case n == 5 && len(members) < 5:
				start := event.Ts(10 * rng.IntN(len(s.history)+1))
				members = append(members, join(t, s, src, fmt.Sprintf("member of step %d", step), start))
			case n == 6 && len(members) > 0 && rng.IntN(3) == 0:
				j := rng.IntN(len(members))
				members[j].sub.Close()
				members = slices.Delete(members, j, j+1)
			default:
				open := s.open()
				if len(open) == 0 {
					continue
				}
				u := open[rng.IntN(len(open))]
				if n < 14 {
					u.deliver(1+rng.IntN(4), rng.IntN(4) == 0)
				} else {
					u.resolve()
				}
			}
		}
		for range 3 {
			s.commit()
			for _, u := range s.open() {
				u.deliver(1000, false)
				u.resolve()
			}
		}
		last := event.Ts(10 * len(s.history))
		for _, m := range members {
			if m.resolvedTs() != last {
				t.Errorf("%s: resolved up to %d in the end, want %d", m.name, m.resolvedTs(), last)
			}
		}
		if n := len(s.open()); len(members) > 0 && n != 1 {
			t.Errorf("%d members have %d subscriptions in the end, want 1", len(members), n)
		}
		if t.Failed() {
			t.Fatalf("round %d", i)
		}
	}
}

// TestConcurrent runs subscriptions on goroutines of their own.
func TestConcurrent(t *testing.T) {
	s := &store{}
	src := sharing.New(s.subscribe)
	first := join(t, s, src, "first", 0)
	stop := make(chan struct{})
	var group sync.WaitGroup
	pulled := map[*sub]bool{}
	var members []*member
	for i := range 500 {
		s.commit()
		if i%100 == 50 {
			members = append(members, join(t, s, src, fmt.Sprint("member ", i), event.Ts(5*i/10*10)))
		}
		if i%100 == 70 { // one of those that the trunk goes through leaves
			join(t, s, src, fmt.Sprint("guest ", i), event.Ts(5*i/10*10)).sub.Close()
			members[0].sub.Close()
			members = members[1:]
		}
		for _, u := range s.open() {
			if pulled[u] {
				continue
			}
			pulled[u] = true
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						u.deliver(3, false)
						u.resolve()
					}
				}
			})
		}
	}
	last := event.Ts(10 * 500)
	for _, m := range append(members, first) {
		for m.resolvedTs() != last && !t.Failed() {
			runtime.Gosched()
		}
	}
	close(stop)
	group.Wait()
	if n := len(s.open()); n != 1 {
		t.Errorf("%d subscriptions, want 1", n)
	}
}
