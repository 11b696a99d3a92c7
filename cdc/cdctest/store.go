package cdctest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// store is a TiKV. All stores share one mvcc; only the one with a region's leader
// answers for it.
type store struct {
	cluster *Cluster
	id      uint64

	// Guarded by Cluster.mu.
	addr      string
	server    *grpc.Server // nil while it is stopped
	tombstone bool
	streams   []*feedStream // in the order of their opening
	paused    bool          // nothing is sent
}

// listen opens a port of loopback, any for an empty address: none that a connection
// could be given as its own while the server is stopped, as systems do from 32768 on.
func listen(addr string) (net.Listener, error) {
	if addr != "" {
		return net.Listen("tcp", addr)
	}
	const first, end, tries = 12000, 32000, 100
	var l net.Listener
	var err error
	for range tries {
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(end-first))); err == nil {
			break
		}
	}
	return l, err
}

// keepalivePolicy lets clients look often whether the connection lives, as TiKV and PD do.
var keepalivePolicy = keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}

// listen starts the store at an address, empty for a new one. The caller does not hold Cluster.mu.
func (s *store) listen(addr string) error {
	l, err := listen(addr)
	if err != nil {
		return fmt.Errorf("listen as store %d: %w", s.id, err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32), grpc.KeepaliveEnforcementPolicy(keepalivePolicy))
	tikvpb.RegisterTikvServer(server, &kvServer{store: s, cluster: s.cluster})
	cdcpb.RegisterChangeDataServer(server, &feedServer{store: s})
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	s.cluster.update(func() { s.addr, s.server = l.Addr().String(), server })
	s.cluster.wg.Go(func() {
		_ = server.Serve(l) // ends with stop
	})
	return nil
}

// stop breaks all connections and waits until the store's calls have returned.
func (s *store) stop() {
	var server *grpc.Server
	s.cluster.update(func() { server, s.server = s.server, nil })
	if server != nil {
		server.Stop()
	}
}

func (s *store) metaLocked() *metapb.Store {
	m := &metapb.Store{Id: s.id, Address: s.addr, StatusAddress: s.addr, Version: s.cluster.cfg.Old.Version, NodeState: metapb.NodeState_Serving}
	if s.tombstone {
		m.State, m.NodeState = metapb.StoreState_Tombstone, metapb.NodeState_Removed
	}
	return m
}

func (c *Cluster) mustStore(id uint64) *store {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.stores, func(s *store) bool { return s.id == id })
	if i < 0 {
		mistake("there is no store %d", id)
	}
	return c.stores[i]
}

// Stores returns the ids of all stores.
func (c *Cluster) Stores() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []uint64
	for _, s := range c.stores {
		if !s.tombstone {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// StopStore kills a store: its connections break. Leaders stay where they are.
func (c *Cluster) StopStore(id uint64) { c.mustStore(id).stop() }

// StartStore brings a stopped store back at its old address.
func (c *Cluster) StartStore(id uint64) error {
	s := c.mustStore(id)
	c.mu.Lock()
	addr := s.addr
	c.mu.Unlock()
	return s.listen(addr)
}

// RestartStoreElsewhere stops a store, and starts it at another address.
func (c *Cluster) RestartStoreElsewhere(id uint64) error {
	s := c.mustStore(id)
	s.stop()
	return s.listen("")
}

// AddStore brings up a store without regions and returns its id.
func (c *Cluster) AddStore() (uint64, error) {
	s := &store{cluster: c}
	c.update(func() { s.id = c.allocID() })
	if err := s.listen(""); err != nil {
		return 0, err
	}
	c.update(func() { c.stores = append(c.stores, s) })
	return s.id, nil
}

// RemoveStore stops a store for good. PD then calls it a tombstone.
func (c *Cluster) RemoveStore(id uint64) {
	s := c.mustStore(id)
	s.stop()
	c.update(func() { s.tombstone = true })
}

// errEndOfStream ends a stream without an error.
var errEndOfStream = errors.New("end of stream")

// BreakStreams aborts the change data streams of a store, or of all for store 0.
func (c *Cluster) BreakStreams(id uint64) {
	c.endStreams(id, status.Error(codes.Unavailable, "stream broken by the test"))
}

// CloseStreams ends the streams as if the store had nothing more to say: the
// client reads EOF.
func (c *Cluster) CloseStreams(id uint64) { c.endStreams(id, errEndOfStream) }

func (c *Cluster) endStreams(id uint64, err error) {
	c.update(func() {
		for _, s := range c.stores {
			for _, st := range s.streams {
				if id == 0 || s.id == id {
					st.endLocked(err)
				}
			}
		}
	})
}

// PauseStreams keeps a store, or all for store 0, from sending anything on change
// data streams. What it would send is queued.
func (c *Cluster) PauseStreams(id uint64) { c.setPaused(id, true) }

// ResumeStreams undoes PauseStreams.
func (c *Cluster) ResumeStreams(id uint64) { c.setPaused(id, false) }

func (c *Cluster) setPaused(id uint64, paused bool) {
	c.update(func() {
		for _, s := range c.stores {
			if id == 0 || s.id == id {
				s.paused = paused
				for _, st := range s.streams {
					st.poke()
				}
			}
		}
	})
}

// Streams returns the number of change data streams that are open.
func (c *Cluster) Streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, s := range c.stores {
		n += len(s.streams)
	}
	return n
}
