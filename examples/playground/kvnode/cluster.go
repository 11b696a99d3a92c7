package kvnode

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	pd "github.com/tikv/pd/client"

	"github.com/tidbcdc/tidbcdc/examples/playground/loopback"
)

// DefaultResolvedTsInterval is how often resolved ts are sent.
const DefaultResolvedTsInterval = 200 * time.Millisecond

// Config describes a cluster of stores.
type Config struct {
	// Version is what the stores report to PD, without a leading v.
	Version string
	// Stores is their number. Defaults to 1.
	Stores int
	// Dir holds the engine's files. It must exist.
	Dir string
	// PDAddr is the host and port of PD.
	PDAddr string
	// ResolvedTsInterval defaults to DefaultResolvedTsInterval.
	ResolvedTsInterval time.Duration
	// StreamQuota is the number of bytes of rows that may wait in one event feed
	// stream. Defaults to DefaultStreamQuota.
	StreamQuota int64
	// EventFeedV1Only makes the stores deny that they know EventFeedV2.
	EventFeedV1Only bool
	// CA, Cert and Key are PEM files. When set, PD is asked and the stores are
	// served with mutual TLS.
	CA, Cert, Key string
}

func (c Config) withDefaults() Config {
	if c.Stores <= 0 {
		c.Stores = 1
	}
	if c.ResolvedTsInterval <= 0 {
		c.ResolvedTsInterval = DefaultResolvedTsInterval
	}
	if c.StreamQuota <= 0 {
		c.StreamQuota = DefaultStreamQuota
	}
	return c
}

// Cluster is a number of stores over one engine. Its methods may be called from
// any goroutine.
type Cluster struct {
	cfg     Config
	tls     *tls.Config // nil for plain connections
	pd      *pdClient
	engine  *engine
	regions *regionMap
	hub     *hub
	stores  []*store

	cancel   context.CancelFunc
	loops    sync.WaitGroup
	closing  sync.Once
	closeErr error
}

// Start opens an empty engine, bootstraps PD with the stores and serves them.
// Close ends what it started.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg.withDefaults()}
	c.regions, c.hub = newRegionMap(c), newHub(c)
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start stores: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	var err error
	if c.tls, err = serverTLS(c.cfg.CA, c.cfg.Cert, c.cfg.Key); err != nil {
		return err
	}
	security := pd.SecurityOption{CAPath: c.cfg.CA, CertPath: c.cfg.Cert, KeyPath: c.cfg.Key}
	if c.pd, err = dialPD(ctx, c.cfg.PDAddr, security); err != nil {
		return err
	}
	now, err := c.pd.timestamp(ctx)
	if err != nil {
		return err
	}
	engine, err := openEngine(c.cfg.Dir, now)
	if err != nil {
		return err
	}
	c.engine = engine
	listeners, err := c.listen(ctx)
	if err != nil {
		return err
	}
	if err := c.bootstrap(ctx); err != nil {
		for _, ln := range listeners {
			_ = ln.Close()
		}
		return err
	}
	engine.start(c.cfg.Dir, c.pd, c.regions, c.hub)
	for i, s := range c.stores {
		s.serve(listeners[i])
	}
	loops, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	for _, s := range c.stores {
		c.loops.Go(func() { s.heartbeatLoop(loops) })
	}
	c.loops.Go(func() { c.storeLoop(loops) })
	c.loops.Go(func() { c.hub.resolvedLoop(loops, c.cfg.ResolvedTsInterval) })
	c.heartbeatAll()
	return nil
}

// serverTLS is nil without a certificate authority.
func serverTLS(ca, cert, key string) (*tls.Config, error) {
	if ca == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authority %s: no certificate in it", ca)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
		ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// listen makes the stores and opens their listeners, whose addresses PD is told.
func (c *Cluster) listen(ctx context.Context) ([]net.Listener, error) {
	var listeners []net.Listener
	for range c.cfg.Stores {
		ln, err := loopback.Listen()
		if err == nil {
			listeners = append(listeners, ln)
			var id uint64
			if id, err = c.pd.allocID(ctx); err == nil {
				c.stores = append(c.stores, newStore(c, &metapb.Store{
					Id: id, Address: ln.Addr().String(), Version: c.cfg.Version, GitHash: "playground",
					State: metapb.StoreState_Up, StartTimestamp: time.Now().Unix(),
				}))
			}
		}
		if err != nil {
			for _, ln := range listeners {
				_ = ln.Close()
			}
			return nil, fmt.Errorf("listen for stores: %w", err)
		}
	}
	return listeners, nil
}

// bootstrap gives PD the stores and one region with a peer on each.
func (c *Cluster) bootstrap(ctx context.Context) error {
	root := &metapb.Region{RegionEpoch: &metapb.RegionEpoch{ConfVer: uint64(len(c.stores)), Version: 1}}
	var err error
	if root.Id, err = c.pd.allocID(ctx); err != nil {
		return err
	}
	for _, s := range c.stores {
		id, err := c.pd.allocID(ctx)
		if err != nil {
			return err
		}
		root.Peers = append(root.Peers, &metapb.Peer{Id: id, StoreId: s.id()})
	}
	// PD wants exactly one peer here. The first heartbeat brings the others,
	// which PD accepts because it comes with a higher conf_ver.
	first := &metapb.Region{Id: root.Id, RegionEpoch: &metapb.RegionEpoch{ConfVer: 1, Version: 1}, Peers: root.Peers[:1]}
	if err := c.pd.bootstrap(ctx, c.stores[0].meta, first); err != nil {
		return err
	}
	for _, s := range c.stores {
		if err := c.pd.putStore(ctx, s.meta); err != nil {
			return err
		}
	}
	r, err := newRegion(root, root.Peers[0], c.regions.latches)
	if err != nil {
		return err
	}
	c.regions.replace(nil, []*region{r})
	return nil
}

// Close stops the stores, then the engine. It may be called twice.
func (c *Cluster) Close() error {
	c.closing.Do(func() { c.closeErr = c.close() })
	return c.closeErr
}

func (c *Cluster) close() error {
	if c.cancel != nil {
		c.cancel()
	}
	for _, s := range c.stores {
		s.stop()
	}
	c.loops.Wait()
	var err error
	if c.engine != nil {
		err = c.engine.close()
	}
	if c.pd != nil {
		c.pd.close()
	}
	return err
}

// ClusterID is the id that PD chose.
func (c *Cluster) ClusterID() uint64 { return c.pd.clusterID }

// Store is the id and the address of a store.
type Store struct {
	ID   uint64 `json:"id"`
	Addr string `json:"addr"`
}

// Stores lists the stores.
func (c *Cluster) Stores() []Store {
	var out []Store
	for _, s := range c.stores {
		out = append(out, Store{s.id(), s.addr()})
	}
	return out
}

func (c *Cluster) store(id uint64) *store {
	for _, s := range c.stores {
		if s.id() == id {
			return s
		}
	}
	return nil
}

// Region describes a region. Keys are raw; an empty end key is unbounded.
type Region struct {
	ID          uint64   `json:"id"`
	StartKey    HexBytes `json:"start_key"`
	EndKey      HexBytes `json:"end_key"`
	Version     uint64   `json:"version"`
	ConfVer     uint64   `json:"conf_ver"`
	LeaderStore uint64   `json:"leader_store"`
	Peers       []uint64 `json:"peers"` // store ids
}

// HexBytes is written as a string of hexadecimal digits.
type HexBytes []byte

// MarshalText implements encoding.TextMarshaler.
func (b HexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *HexBytes) UnmarshalText(text []byte) error {
	raw, err := hex.AppendDecode(nil, text)
	*b = raw
	return err
}

func (r *region) describe() Region {
	d := Region{
		ID: r.meta.Id, StartKey: r.start, Version: r.meta.RegionEpoch.Version, ConfVer: r.meta.RegionEpoch.ConfVer,
		LeaderStore: r.leader.StoreId,
	}
	if len(r.meta.EndKey) > 0 {
		d.EndKey = r.end
	}
	for _, p := range r.meta.Peers {
		d.Peers = append(d.Peers, p.StoreId)
	}
	return d
}

// Regions lists the regions that overlap [start, end), raw keys, in key order.
// An empty end is unbounded.
func (c *Cluster) Regions(start, end []byte) []Region {
	out := []Region{}
	for _, r := range c.regions.all() {
		if string(r.end) > string(start) && (len(end) == 0 || string(r.start) < string(end)) {
			out = append(out, r.describe())
		}
	}
	return out
}

// StopStore closes a store's listener and all its connections. With transfer the
// leaders it holds move to running stores first.
func (c *Cluster) StopStore(id uint64, transfer bool) error {
	s := c.store(id)
	if s == nil {
		return fmt.Errorf("stop store %d: %w", id, ErrNoStore)
	}
	if transfer {
		if err := c.evict(s); err != nil {
			return err
		}
	}
	s.stop()
	return nil
}

// evict spreads the leaders of a store over the other running stores.
func (c *Cluster) evict(s *store) error {
	var others []*store
	for _, o := range c.stores {
		if o != s && o.running() {
			others = append(others, o)
		}
	}
	if len(others) == 0 {
		return fmt.Errorf("move leaders from store %d: no other store is running: %w", s.id(), ErrInvalid)
	}
	for i, r := range c.regions.all() {
		if r.leader.StoreId != s.id() {
			continue
		}
		if _, err := c.Transfer(r.meta.Id, others[i%len(others)].id()); err != nil {
			return err
		}
	}
	return nil
}

// StartStore undoes StopStore, on the same address.
func (c *Cluster) StartStore(id uint64) error {
	s := c.store(id)
	if s == nil {
		return fmt.Errorf("start store %d: %w", id, ErrNoStore)
	}
	return s.start()
}

// AdvanceGCSafePoint moves the GC safe point as TiDB's GC worker does: not above
// what other services hold. It returns the safe point in force. The engine is
// told, but it never drops a version.
func (c *Cluster) AdvanceGCSafePoint(ctx context.Context, ts uint64) (uint64, error) {
	now, err := c.pd.advanceGCSafePoint(ctx, ts)
	if err != nil {
		return 0, err
	}
	c.engine.store.UpdateSafePoint(now)
	return now, nil
}
