package cluster

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidbcdc/tidbcdc/internal/etcdserver"
)

func startEtcd(t *testing.T) (*etcdserver.Server, *clientv3.Client) {
	t.Helper()
	if _, err := etcdserver.Find(); err != nil {
		if etcdserver.Required() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	server, err := etcdserver.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Addr}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return server, client
}

func newSession(t *testing.T, client *clientv3.Client, ttl time.Duration) (s *Session, kept chan error) {
	t.Helper()
	s, err := openSession(t.Context(), client, ttl, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	kept = make(chan error, 1)
	go func() { kept <- s.keep(ctx); close(kept) }()
	t.Cleanup(func() {
		cancel()
		for range kept {
		}
		s.close()
	})
	return s, kept
}

// A lease is renewed, and writes go on, for longer than its TTL.
func TestSessionIsKept(t *testing.T) {
	_, client := startEtcd(t)
	s, _ := newSession(t, client, 5*time.Second)
	ctx, cancel, err := s.Bound(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	select {
	case <-time.After(6 * time.Second):
	case <-ctx.Done():
		t.Errorf("a write of 6 s was ended: %v", context.Cause(ctx))
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

// While etcd does not answer, a write ends before etcd may give the lease up.
func TestSessionEndsBeforeTheLease(t *testing.T) {
	server, client := startEtcd(t)
	const ttl = 4 * time.Second
	s, kept := newSession(t, client, ttl)
	ctx, cancel, err := s.Bound(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	resume, err := server.Pause()
	if err != nil {
		t.Fatal(err)
	}
	stopped := time.Now() // the lease ends ttl after an earlier moment at the soonest
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), ErrSessionLost) {
		t.Errorf("the write was ended with %v", context.Cause(ctx))
	}
	if took := time.Since(stopped); took >= ttl {
		t.Errorf("the write was ended after %v", took)
	}
	if err := <-kept; !errors.Is(err, ErrSessionLost) {
		t.Errorf("keep: %v", err)
	}
	if _, _, err := s.Bound(t.Context()); !errors.Is(err, ErrSessionLost) {
		t.Errorf("a write may begin: %v", err)
	}
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err == nil {
		t.Error("a session that has ended is well again")
	}
}

// A process that slept beyond the deadline begins no write, although no timer of
// its has fired yet: that nobody keeps the session stands for that here.
func TestCheckAsksTheClock(t *testing.T) {
	_, client := startEtcd(t)
	s, err := openSession(t.Context(), client, 2*time.Second, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	<-time.After(1600 * time.Millisecond)
	if err := s.Check(); !errors.Is(err, ErrSessionLost) {
		t.Errorf("after three quarters of the TTL: %v", err)
	}
	// The wall clock has gone on while the other stood still, as in a suspended machine.
	s.mu.Lock()
	s.mu.renewed = time.Now().Add(-time.Hour).Round(0)
	s.mu.Unlock()
	if err := s.Check(); !errors.Is(err, ErrSessionLost) {
		t.Errorf("after an hour by the wall clock: %v", err)
	}
}

func TestLeaseIsRevoked(t *testing.T) {
	_, client := startEtcd(t)
	s, kept := newSession(t, client, 2*time.Second)
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
	if err := <-kept; !errors.Is(err, ErrSessionLost) {
		t.Errorf("keep: %v", err)
	}
	<-s.Done()
}
