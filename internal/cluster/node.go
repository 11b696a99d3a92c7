package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
)

// Config wires a Node. Every field without a stated default is required.
type Config struct {
	Client *clientv3.Client
	// Prefix is where the cluster's keys are, such as /tidbcdc/default.
	Prefix string
	// ID names the capture: letters, digits and dashes. Address is for people and for
	// requests to the owner; Version may be empty.
	ID, Address, Version string
	// TTL is that of the lease, in whole seconds: after so long, others take over what
	// a capture did that has died. Defaults to 10 s.
	TTL time.Duration
	// Open makes the pipeline of a processor, and what is to be closed after its Run.
	Open func(ctx context.Context, job Job) (*pipeline.Pipeline, func() error, error)
	// Lead is called while the capture is the owner, and returns when ctx ends. Its
	// context ends with ErrLeft.
	Lead func(ctx context.Context, l *Leadership) error
	// Classify gives an error a code that other captures show, and tells whether
	// trying again is of no use. Defaults to no code, and no.
	Classify func(error) (code string, permanent bool)
	// ReportInterval is the least time between two reports of mere progress of a
	// changefeed. It is stretched if there are many: etcd syncs every write to disk,
	// and PD needs it too. Defaults to 200 ms.
	ReportInterval time.Duration
	// Logger says which capture it is of.
	Logger *slog.Logger
}

// Job is what Config.Open makes a pipeline for: one that is assigned its spans.
type Job struct {
	Changefeed string
	Task       Task
	// Session is to bound all writes to the sink.
	Session *Session
	// ReadyDDL and Changed are for the pipeline's Config.
	ReadyDDL func(*event.DDL)
	Changed  func()
}

// Node is one capture of a cluster. Use NewNode.
type Node struct {
	cfg    Config
	keys   keys
	mirror *mirror
	log    *slog.Logger

	mu struct {
		sync.Mutex
		session    *Session // nil while there is none
		member     Member
		processors map[string]*processor // by changefeed
		leadership *Leadership           // nil while another one leads
	}
	// subs are coordinators, to be woken when the changefeed's processor here comes or
	// goes, or its DDLs are ready.
	subs subscribers
}

// ErrLeft ends the context of Config.Lead: the capture is not the owner any more.
var ErrLeft = errors.New("the capture has stopped to be the owner")

// NewNode returns a Node that has started nothing.
func NewNode(cfg Config) *Node {
	if cfg.TTL == 0 {
		cfg.TTL = 10 * time.Second
	}
	if cfg.ReportInterval == 0 {
		cfg.ReportInterval = 200 * time.Millisecond
	}
	if cfg.Classify == nil {
		cfg.Classify = func(error) (string, bool) { return "", false }
	}
	n := &Node{cfg: cfg, keys: keys(cfg.Prefix), log: cfg.Logger}
	n.mirror = newMirror(cfg.Client, cfg.Prefix+"/", n.log)
	n.mu.processors = map[string]*processor{}
	return n
}

// Run takes part in the cluster until ctx ends, and returns its cause. When a lease
// is lost everything stops; then it begins anew with another.
func (n *Node) Run(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.mirror.run(gctx) })
	group.Go(func() error {
		for gctx.Err() == nil {
			err := n.live(gctx)
			if gctx.Err() != nil {
				break
			}
			n.log.Warn("capture has left the cluster, will join again", "error", err)
			select {
			case <-gctx.Done():
			case <-time.After(time.Second):
			}
		}
		return context.Cause(gctx)
	})
	return group.Wait()
}

// live is the capture's life with one lease.
func (n *Node) live(ctx context.Context) error {
	openCtx, opened := context.WithTimeout(ctx, n.cfg.TTL)
	session, err := openSession(openCtx, n.cfg.Client, n.cfg.TTL, n.log)
	opened()
	if err != nil {
		return err
	}
	defer session.close()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The lease is kept while what it allows comes to its end.
	keepCtx, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	var keeper errgroup.Group
	keeper.Go(func() error {
		if err := session.keep(keepCtx); keepCtx.Err() == nil {
			cancel(err)
		}
		return nil
	})
	defer func() { stopKeeping(); _ = keeper.Wait() }()

	if err := n.register(ctx, session); err != nil {
		return err
	}
	n.setSession(session)
	defer n.setSession(nil)
	n.log.Info("capture has joined the cluster", "lease", fmt.Sprintf("%x", int64(session.Lease())))

	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.runProcessors(gctx, session) })
	group.Go(func() error { return n.campaign(gctx, session) })
	return group.Wait()
}

func (n *Node) setSession(s *Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.session, n.mu.member = s, ""
	if s != nil {
		n.mu.member = memberOf(n.cfg.ID, s.Lease())
	}
}

// register makes the capture known. One of the same id must be gone first.
func (n *Node) register(ctx context.Context, session *Session) error {
	key := n.keys.capture(n.cfg.ID)
	value, err := json.Marshal(captureInfo{ID: n.cfg.ID, Address: n.cfg.Address, Version: n.cfg.Version})
	if err != nil {
		return fmt.Errorf("encode capture: %w", err)
	}
	sub := n.mirror.subscribe(key)
	defer n.mirror.unsubscribe(sub)
	for {
		resp, err := n.cfg.Client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, string(value), clientv3.WithLease(session.Lease()))).
			Commit()
		if err != nil {
			return fmt.Errorf("register capture: %w", err)
		}
		if resp.Succeeded {
			return n.mirror.reach(ctx, resp.Header.Revision)
		}
		if err := n.mirror.reach(ctx, 1); err != nil {
			return err
		}
		if e := n.mirror.get(key); e.lease == session.Lease() {
			return nil // an answer got lost
		} else if e.created != 0 {
			n.log.Warn("another capture of this id is registered, waiting for its end")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-sub.C:
		case <-time.After(n.cfg.TTL):
		}
	}
}

// stretch makes an interval so long that n things that happen once in it are fifty a
// second at most together.
func stretch(interval time.Duration, n int) time.Duration {
	return max(interval, time.Duration(n)*20*time.Millisecond)
}

func (n *Node) reportInterval() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return stretch(n.cfg.ReportInterval, len(n.mu.processors))
}

// members are the live captures, and whether they are being drained.
func (n *Node) members() map[Member]bool {
	out := map[Member]bool{}
	for id, e := range n.mirror.under(n.keys.captures()) {
		out[memberOf(id, e.lease)] = n.mirror.get(n.keys.drainingOf(id)).lease == e.lease
	}
	return out
}

// processor returns the processor of a changefeed, nil if there is none.
func (n *Node) processor(changefeed string) *processor {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.processors[changefeed]
}

// subscribers are channels that want to be rung for a changefeed.
type subscribers struct {
	mu sync.Mutex
	by map[string]map[chan struct{}]struct{}
}

func (s *subscribers) add(changefeed string, c chan struct{}) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]map[chan struct{}]struct{}{}
	}
	if s.by[changefeed] == nil {
		s.by[changefeed] = map[chan struct{}]struct{}{}
	}
	s.by[changefeed][c] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.by[changefeed], c)
	}
}

func (s *subscribers) ring(changefeed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.by[changefeed] {
		ring(c)
	}
}
