package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// ErrSessionLost tells that a capture could not renew its lease in time, so others may
// take its work over. What it does stops; nothing is lost.
var ErrSessionLost = errors.New("lease in etcd not renewed in time")

// Session is a lease in etcd, with a deadline that is certain to be earlier than
// its end there: three quarters of the TTL after the start of the last request that
// renewed it, by this process's clock. etcd counts the TTL from when it has the
// request. Until the deadline a write to a sink may begin (Check), and it is given
// up then (Bound).
//
// A process that was stopped (SIGSTOP, a stalled virtual machine) may wake up after
// its lease has ended. Check asks the clock, and no timer that has yet to fire, so
// that it does not begin a write then. What remains is a write that had passed Check
// before the process was stopped: its bytes may still leave when it wakes up, before
// the cancelled context takes effect, or be on the way in the network.
type Session struct {
	client *clientv3.Client
	inner  *concurrency.Session
	ttl    time.Duration
	log    *slog.Logger
	done   chan struct{} // closed when the deadline has passed, or by Close

	mu struct {
		sync.Mutex
		renewed time.Time // when the last successful renewal began
		ended   bool
		// bound are the contexts that end with the session.
		bound map[uint64]context.CancelCauseFunc
		next  uint64
	}
}

// openSession acquires a lease of ttl, whole seconds.
func openSession(ctx context.Context, client *clientv3.Client, ttl time.Duration, log *slog.Logger) (*Session, error) {
	begin := time.Now()
	lease, err := client.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return nil, fmt.Errorf("acquire lease in etcd: %w", err)
	}
	// The lease belongs to this object rather than to ctx.
	inner, err := concurrency.NewSession(client, concurrency.WithLease(lease.ID), concurrency.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, fmt.Errorf("keep lease in etcd: %w", err)
	}
	s := &Session{client: client, inner: inner, ttl: ttl, log: log, done: make(chan struct{})}
	s.mu.renewed = begin
	s.mu.bound = map[uint64]context.CancelCauseFunc{}
	return s, nil
}

// Lease is the lease's id.
func (s *Session) Lease() clientv3.LeaseID { return s.inner.Lease() }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// left is the time until the deadline. It asks the clock that goes on while the
// machine sleeps as well as the one that nobody sets, and believes the worse.
func (s *Session) left() time.Duration {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended {
		return 0
	}
	since := max(now.Sub(s.mu.renewed), now.Round(0).Sub(s.mu.renewed.Round(0)))
	return s.ttl*3/4 - since
}

// Check returns an error that wraps ErrSessionLost from the deadline on.
func (s *Session) Check() error {
	if left := s.left(); left <= 0 {
		return ErrSessionLost
	}
	return nil
}

// Bound returns a context that ends with the session, or an error if that has
// ended. The caller calls cancel.
func (s *Session) Bound(ctx context.Context) (_ context.Context, cancel func(), err error) {
	if err := s.Check(); err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended {
		stop(ErrSessionLost)
		return nil, nil, ErrSessionLost
	}
	s.mu.next++
	id := s.mu.next
	s.mu.bound[id] = stop
	return ctx, func() {
		s.mu.Lock()
		delete(s.mu.bound, id)
		s.mu.Unlock()
		stop(nil)
	}, nil
}

// keep renews the lease until ctx ends (its cause) or the deadline passes
// (ErrSessionLost).
func (s *Session) keep(ctx context.Context) error {
	tick := time.NewTicker(s.ttl / 4)
	defer tick.Stop()
	deadline := time.NewTimer(s.left())
	defer deadline.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
		case <-tick.C:
			s.renew(ctx)
		}
		left := s.left()
		if left <= 0 {
			s.end()
			return ErrSessionLost
		}
		deadline.Reset(left)
	}
}

func (s *Session) renew(ctx context.Context) {
	// Never beyond the deadline: it is watched by the same goroutine.
	ctx, cancel := context.WithTimeout(ctx, min(s.ttl/4, s.left()))
	defer cancel()
	begin := time.Now()
	_, err := s.client.KeepAliveOnce(ctx, s.Lease())
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.mu.renewed = begin
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		s.log.Warn("etcd does not know the lease any more")
		s.mu.ended = true
	default:
		s.log.Warn("lease in etcd not renewed, will try again", "error", err)
	}
}

func (s *Session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.ended = true
	for _, stop := range s.mu.bound {
		stop(ErrSessionLost)
	}
	select {
	case <-s.done:
	default:
		close(s.done)
	}
}

// close gives the lease back, so that others need not wait for its end. Nothing may
// rely on the session any more.
func (s *Session) close() {
	s.end()
	s.inner.Orphan()
	ctx, cancel := context.WithTimeout(context.Background(), s.ttl/4)
	defer cancel()
	if _, err := s.client.Revoke(ctx, s.Lease()); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		s.log.Warn("lease in etcd not given back: it ends by itself", "ttl", s.ttl, "error", err)
	}
}
