package puller

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/semver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/pingcap/kvproto/pkg/metapb"
)

// minStoreVersion is the oldest TiKV whose behaviour this client knows.
const minStoreVersion = "5.3.0"

// store is the address of a TiKV: its connection and the streams over it.
type store struct {
	client *Client
	addr   string

	mu struct {
		sync.Mutex
		checked map[uint64]bool // ids of stores at this address whose version is known to do
		// separate says that the store has no EventFeedV2, so every subscription
		// has a stream of its own. It is forgotten with the last of them: the
		// store may be upgraded.
		separate bool
		shared   *stream
		single   map[*Subscription]*stream
		start    time.Duration // client clock: when the next stream may be opened
		conn     *grpc.ClientConn
		users    int // of conn
	}
}

func newStore(c *Client, addr string) *store {
	st := &store{client: c, addr: addr}
	st.mu.checked = make(map[uint64]bool)
	st.mu.single = make(map[*Subscription]*stream)
	return st
}

// check asks PD for the version of the store, before the first connection to it.
func (st *store) check(ctx context.Context, id uint64) error {
	st.mu.Lock()
	done := st.mu.checked[id]
	st.mu.Unlock()
	if done {
		return nil
	}
	meta, err := st.client.cfg.PD.GetStore(ctx, id)
	if err != nil {
		return fmt.Errorf("ask PD for store %d: %w", id, err)
	}
	if meta == nil || meta.GetState() == metapb.StoreState_Tombstone {
		return fmt.Errorf("store %d at %s has been removed from the cluster", id, st.addr)
	}
	v := "v" + strings.TrimPrefix(meta.GetVersion(), "v")
	if semver.IsValid(v) && semver.Compare(v, "v"+minStoreVersion) < 0 {
		return fmt.Errorf("store %d at %s has version %s, older than %s", id, st.addr, meta.GetVersion(), minStoreVersion)
	}
	st.mu.Lock()
	st.mu.checked[id] = true
	st.mu.Unlock()
	return nil
}

// register gives the region to a stream to this store, a new one if need be.
func (st *store) register(ctx context.Context, r *region) {
	for {
		s, created := st.stream(r.sub)
		if created {
			st.client.group.Go(func() error {
				s.run(ctx)
				return nil
			})
		}
		if s.register(r) {
			return
		}
		// The stream ended in between. It removes itself from the store
		// without our help, but perhaps later.
		st.forget(s)
	}
}

func (st *store) stream(sub *Subscription) (s *stream, created bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.mu.separate {
		s = st.mu.single[sub]
	} else {
		s = st.mu.shared
	}
	if s != nil {
		return s, false
	}
	if st.mu.separate {
		s = newStream(st.client, st, sub, st.mu.start)
		st.mu.single[sub] = s
	} else {
		s = newStream(st.client, st, nil, st.mu.start)
		st.mu.shared = s
	}
	return s, true
}

// forget removes a stream, if it is still the one that is known.
func (st *store) forget(s *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.mu.shared == s {
		st.mu.shared = nil
	}
	if s.only != nil && st.mu.single[s.only] == s {
		delete(st.mu.single, s.only)
		if len(st.mu.single) == 0 {
			st.mu.separate = false
		}
	}
}

// streamEnded notes the end of a stream and, if it failed, postpones the next.
func (st *store) streamEnded(s *stream, kind errorKind, failed bool) {
	st.forget(s)
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case kind == kindNoMultiplexing:
		st.mu.separate = true
	case failed:
		st.mu.start = st.client.now() + st.client.cfg.ReconnectDelay
	}
}

// streams returns those that the store has now.
func (st *store) streams() []*stream {
	st.mu.Lock()
	defer st.mu.Unlock()
	var all []*stream
	if st.mu.shared != nil {
		all = append(all, st.mu.shared)
	}
	for _, s := range st.mu.single {
		all = append(all, s)
	}
	return all
}

// acquire returns the connection, which the streams of the store share.
func (st *store) acquire() (*grpc.ClientConn, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.mu.conn == nil {
		conn, err := grpc.NewClient("passthrough:///"+st.addr, st.client.dialOptions()...)
		if err != nil {
			return nil, fmt.Errorf("prepare connection to %s: %w", st.addr, err)
		}
		st.mu.conn = conn
	}
	st.mu.users++
	return st.mu.conn, nil
}

// release closes the connection after its last user.
func (st *store) release(conn *grpc.ClientConn) {
	st.mu.Lock()
	st.mu.users--
	last := st.mu.users == 0
	if last {
		st.mu.conn = nil
	}
	st.mu.Unlock()
	if last {
		// Nothing uses the connection, so there is nothing to lose with the error.
		_ = conn.Close()
	}
}

const (
	maxMessageSize    = 256 << 20 // one row may exceed the store's usual 6 MiB
	streamWindow      = 1<<16 - 1 // per stream, so one slow subscription buffers little
	connWindow        = 8 << 20
	keepaliveTime     = 10 * time.Second
	keepaliveTimeout  = 3 * time.Second
	minConnectTimeout = 3 * time.Second
)

func (c *Client) dialOptions() []grpc.DialOption {
	creds := insecure.NewCredentials()
	if c.cfg.TLS != nil {
		creds = credentials.NewTLS(c.cfg.TLS)
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize)),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: time.Second, Multiplier: 1.1, Jitter: 0.1, MaxDelay: 3 * time.Second,
			},
			MinConnectTimeout: minConnectTimeout,
		}),
	}
}
