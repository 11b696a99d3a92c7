package kvnode

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/deadlock"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/log"
	"github.com/pingcap/tidb/pkg/util/codec"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

const (
	maxMessage = 256 << 20
	// storeHeartbeatInterval is much shorter than TiKV's, for the sake of tests;
	// every third of them comes with all regions.
	storeHeartbeatInterval = 3 * time.Second
	regionHeartbeatEvery   = 3
	heartbeatRetry         = 200 * time.Millisecond
	// heartbeatQueue bounds the region heartbeats that wait for PD. A full queue
	// loses one, and the next round repeats it.
	heartbeatQueue = 4096
)

// store is one TiKV to the outside: an address with TiKV's services, and a
// heartbeat stream to PD. Its listener can be stopped and started again.
type store struct {
	cluster *Cluster
	meta    *metapb.Store
	scans   chan struct{} // permits of incremental scans
	regions chan *pdpb.RegionHeartbeatRequest

	mu struct {
		sync.Mutex
		srv    *grpc.Server // nil while stopped
		served chan struct{}
	}
}

func newStore(c *Cluster, meta *metapb.Store) *store {
	return &store{
		cluster: c, meta: meta,
		scans:   make(chan struct{}, scanConcurrency),
		regions: make(chan *pdpb.RegionHeartbeatRequest, heartbeatQueue),
	}
}

func (s *store) id() uint64   { return s.meta.Id }
func (s *store) addr() string { return s.meta.Address }

func (s *store) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.srv != nil
}

// serve starts the services on a listener and takes it over.
func (s *store) serve(ln net.Listener) {
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(recoverUnary),
	}
	if s.cluster.tls != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(s.cluster.tls)))
	}
	srv := grpc.NewServer(opts...)
	tikvpb.RegisterTikvServer(srv, &storeService{Server: s.cluster.engine.svr, engine: s.cluster.engine, store: s})
	cdcpb.RegisterChangeDataServer(srv, &feedService{store: s, v1Only: s.cluster.cfg.EventFeedV1Only})
	deadlock.RegisterDeadlockServer(srv, s.cluster.engine.svr)
	healthpb.RegisterHealthServer(srv, health.NewServer()) // clients probe a store with it
	served := make(chan struct{})
	s.mu.Lock()
	s.mu.srv, s.mu.served = srv, served
	s.mu.Unlock()
	go func() { // ends with stop
		defer close(served)
		if err := srv.Serve(ln); err != nil {
			log.Error("serve store", zap.Uint64("store", s.id()), zap.Error(err))
		}
	}()
}

// start listens on the store's address again. It does nothing while running.
func (s *store) start() error {
	if s.running() {
		return nil
	}
	ln, err := net.Listen("tcp", s.addr())
	if err != nil {
		return fmt.Errorf("start store %d: %w", s.id(), err)
	}
	s.serve(ln)
	s.cluster.heartbeatAll()
	return nil
}

// stop closes the listener and all connections. It does nothing while stopped.
func (s *store) stop() {
	s.mu.Lock()
	srv, served := s.mu.srv, s.mu.served
	s.mu.srv = nil
	s.mu.Unlock()
	if srv != nil {
		srv.Stop()
		<-served
	}
}

// report queues a region's heartbeat, unless the store is stopped.
func (s *store) report(r *region) {
	if !s.running() {
		return
	}
	now := uint64(time.Now().Unix())
	req := &pdpb.RegionHeartbeatRequest{
		Header: s.cluster.pd.header(), Region: r.meta, Leader: r.leader, Term: 6,
		ApproximateSize: 1 << 20, ApproximateKeys: 1000,
		Interval: &pdpb.TimeInterval{StartTimestamp: now - 1, EndTimestamp: now},
	}
	select {
	case s.regions <- req:
	default:
	}
}

// heartbeatLoop keeps a heartbeat stream to PD until ctx ends.
func (s *store) heartbeatLoop(ctx context.Context) {
	for {
		err := s.heartbeats(ctx)
		if ctx.Err() != nil {
			return
		}
		log.Warn("region heartbeat stream ended", zap.Uint64("store", s.id()), zap.Error(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(heartbeatRetry):
		}
	}
}

// heartbeats sends the queued heartbeats over one stream and carries out what
// PD answers.
func (s *store) heartbeats(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cli, err := s.cluster.pd.rpc()
	if err != nil {
		return err
	}
	stream, err := cli.RegionHeartbeat(ctx)
	if err != nil {
		return fmt.Errorf("open region heartbeat stream: %w", err)
	}
	received := make(chan error, 1)
	go func() { // ends with the stream
		for {
			resp, err := stream.Recv()
			if err != nil {
				received <- err
				return
			}
			s.cluster.operate(resp)
		}
	}()
	for {
		select {
		case err := <-received:
			return fmt.Errorf("receive region heartbeat: %w", err)
		case req := <-s.regions:
			if err := stream.Send(req); err != nil {
				return fmt.Errorf("send region heartbeat: %w", err)
			}
		}
	}
}

// operate carries out an operator of PD. Peers never move and regions merge on
// demand only, so PD is told not to ask for that.
func (c *Cluster) operate(resp *pdpb.RegionHeartbeatResponse) {
	switch {
	case resp.GetTransferLeader() != nil:
		if _, err := c.Transfer(resp.RegionId, resp.GetTransferLeader().GetPeer().GetStoreId()); err != nil {
			log.Warn("carry out leader transfer of pd", zap.Error(err))
		}
	case resp.GetSplitRegion() != nil:
		if r := c.regions.get(resp.RegionId); r != nil {
			if _, err := c.split(r, decodeKeys(resp.GetSplitRegion().Keys)); err != nil {
				log.Warn("carry out split of pd", zap.Uint64("region", resp.RegionId), zap.Error(err))
			}
		}
	case resp.GetChangePeer() != nil, resp.GetChangePeerV2() != nil, resp.GetMerge() != nil:
		log.Warn("ignore operator of pd", zap.Stringer("operator", resp))
	}
}

func decodeKeys(encoded [][]byte) [][]byte {
	var raw [][]byte
	for _, k := range encoded {
		if _, key, err := codec.DecodeBytes(k, nil); err == nil {
			raw = append(raw, key)
		}
	}
	return raw
}

// heartbeat reports a region through the store of its leader.
func (c *Cluster) heartbeat(r *region) {
	if s := c.store(r.leader.StoreId); s != nil {
		s.report(r)
	}
}

func (c *Cluster) heartbeatAll() {
	for _, r := range c.regions.all() {
		c.heartbeat(r)
	}
}

// storeLoop sends the stores' heartbeats, and now and then all regions, until
// ctx ends.
func (c *Cluster) storeLoop(ctx context.Context) {
	tick := time.NewTicker(storeHeartbeatInterval)
	defer tick.Stop()
	for n := 1; ; n++ {
		for _, s := range c.stores {
			if s.running() {
				c.storeHeartbeat(ctx, s)
			}
		}
		if n%regionHeartbeatEvery == 0 {
			c.heartbeatAll()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *Cluster) storeHeartbeat(ctx context.Context, s *store) {
	ctx, cancel := context.WithTimeout(ctx, storeHeartbeatInterval)
	defer cancel()
	now := uint64(time.Now().Unix())
	err := c.pd.storeHeartbeat(ctx, &pdpb.StoreStats{
		StoreId: s.id(), Capacity: 64 << 30, Available: 60 << 30, UsedSize: 1 << 20,
		RegionCount: uint32(len(c.regions.all())), StartTime: uint32(s.meta.StartTimestamp),
		Interval: &pdpb.TimeInterval{StartTimestamp: now - uint64(storeHeartbeatInterval/time.Second), EndTimestamp: now},
	})
	if err != nil && ctx.Err() == nil {
		log.Warn("store heartbeat", zap.Uint64("store", s.id()), zap.Error(err))
	}
}
