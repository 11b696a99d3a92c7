package cdctest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Config describes a cluster. The zero value is one store that behaves like a
// recent TiKV.
type Config struct {
	// Stores is the number of stores; every region has a peer on each. Defaults to 1.
	Stores int
	// ClusterID is what PD says. Defaults to 1.
	ClusterID uint64
	// ResolvedTsInterval is how often stores send resolved ts. Defaults to 10 ms;
	// negative means only when [Cluster.Tick] is called.
	ResolvedTsInterval time.Duration
	// ClockOffset is how far PD's clock is ahead of this machine's.
	ClockOffset time.Duration
	// QueueBytes bounds what waits in one stream to be sent. Live rows that do not
	// fit end their subscription with the error "congested". Defaults to 64 MiB.
	QueueBytes int
	// Seed, unless 0, makes stores reorder what the protocol lets them: rows of
	// one command, and scanned rows among live ones. The same seed and script
	// need not give the same order, because the network takes part in it.
	Seed uint64
	// Old makes the stores behave like an old TiKV.
	Old Old
}

// Old are habits of old versions of TiKV.
type Old struct {
	// Version is what PD says about the stores. Defaults to 8.5.0.
	Version string
	// NoMultiplexing: EventFeedV2 does not exist (before 7.3).
	NoMultiplexing bool
	// SingleResolved: a resolved ts is sent for each region alone (before 4.0.8).
	SingleResolved bool
	// WholeRegion: rows outside of the requested span are sent too (before 7.0).
	WholeRegion bool
	// FakePrewrites: a lock that is rewritten is sent as a PREWRITE without a value (before 6.2).
	FakePrewrites bool
}

func (c Config) withDefaults() Config {
	if c.Stores == 0 {
		c.Stores = 1
	}
	if c.ClusterID == 0 {
		c.ClusterID = 1
	}
	if c.ResolvedTsInterval == 0 {
		c.ResolvedTsInterval = 10 * time.Millisecond
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 64 << 20
	}
	if c.Old.Version == "" {
		c.Old.Version = "8.5.0"
	}
	return c
}

// Cluster is a fake TiDB cluster: a PD and some stores. Its methods may be called
// from any goroutine.
type Cluster struct {
	cfg    Config
	oracle Oracle
	pd     *pdServer
	cancel context.CancelFunc
	wg     sync.WaitGroup // the ticker and the stores' servers

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever anything below changes
	closed  bool
	lastID  uint64 // of regions, peers and stores
	kv      *mvcc
	schemas schemas
	stores  []*store
	regions []*region // in key order, without gaps
	stale   []*region // what PD answers instead of regions, if not nil
	// regionByID has the same regions, subs their subscriptions that have not ended.
	regionByID map[uint64]*region
	subs       map[uint64][]*Subscription
	gc         map[string]safePoint // by service
	faults     faults
	errs       []error
	random     *rand.Rand // nil: nothing is reordered
}

// Start brings a cluster up. Close it after the clients that use it.
func Start(cfg Config) (*Cluster, error) {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cluster{
		cfg: cfg, cancel: cancel, changed: make(chan struct{}), kv: newMVCC(),
		gc: map[string]safePoint{}, regionByID: map[uint64]*region{}, subs: map[uint64][]*Subscription{},
	}
	c.oracle.offset = cfg.ClockOffset
	c.faults.init()
	if cfg.Seed != 0 {
		c.random = rand.New(rand.NewPCG(cfg.Seed, 0))
	}
	err := c.serve()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster: %w", err), c.Close())
	}
	c.bootstrap()
	if cfg.ResolvedTsInterval > 0 {
		c.wg.Go(func() { c.tickUntil(ctx) })
	}
	return c, nil
}

// serve opens all listeners and puts one region over all keys.
func (c *Cluster) serve() error {
	var err error
	if c.pd, err = servePD(c); err != nil {
		return err
	}
	var peers []uint64
	for range c.cfg.Stores {
		s := &store{cluster: c, id: c.allocID()}
		c.stores = append(c.stores, s)
		peers = append(peers, s.id)
		if err := s.listen(""); err != nil {
			return err
		}
	}
	c.replaceLocked(nil, c.newRegion(event.Span{}, peers))
	return nil
}

// Close stops everything and waits for it.
func (c *Cluster) Close() error {
	c.cancel()
	c.mu.Lock()
	c.closed = true
	stores := c.stores
	c.mu.Unlock()
	for _, s := range stores {
		s.stop()
	}
	if c.pd != nil {
		c.pd.stop()
	}
	c.wg.Wait()
	return nil
}

// PDAddr returns the address of PD, host:port.
func (c *Cluster) PDAddr() string { return c.pd.addr }

// ID returns the id of the cluster.
func (c *Cluster) ID() uint64 { return c.cfg.ClusterID }

// Oracle returns the source of timestamps.
func (c *Cluster) Oracle() *Oracle { return &c.oracle }

// Err returns what clients did that the protocol forbids, and what the cluster
// itself did wrong; nil if nothing. A test checks it at its end.
func (c *Cluster) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.errs...)
}

// violate notes a breach of the protocol. The first ones tell the most.
func (c *Cluster) violate(format string, args ...any) {
	const most = 20
	if len(c.errs) < most {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
	}
}

// Await waits until cond holds; it is called again whenever something happens
// in the cluster. It returns the cause if ctx ends first.
func (c *Cluster) Await(ctx context.Context, cond func() bool) error {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// touchLocked wakes those who wait for a change.
func (c *Cluster) touchLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// update runs a step of a script.
func (c *Cluster) update(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
	c.touchLocked()
}

func (c *Cluster) allocID() uint64 {
	c.lastID++
	return c.lastID
}

// mistake ends a script that asks for the impossible, see the package comment.
func mistake(format string, args ...any) {
	panic("cdctest: " + fmt.Sprintf(format, args...))
}

// tickUntil sends resolved ts until ctx ends.
func (c *Cluster) tickUntil(ctx context.Context) {
	ticker := time.NewTicker(c.cfg.ResolvedTsInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.Tick()
		case <-ctx.Done():
			return
		}
	}
}

// Tick makes every store send resolved ts now.
func (c *Cluster) Tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, _ := c.oracle.serve(1)
	for _, s := range c.stores {
		for _, st := range s.streams {
			st.tickLocked(now)
		}
	}
	c.touchLocked()
}

// safePoint is how far a service lets GC go.
type safePoint struct {
	ts      event.Ts
	expires event.Ts // 0: never
}

// AdvanceGC moves the GC safe point to ts, as TiDB's GC worker would if it
// looked at nobody else, and drops the versions that are then out of reach.
func (c *Cluster) AdvanceGC(ts event.Ts) {
	c.update(func() {
		ts = max(c.gc[gcWorker].ts, ts)
		c.gc[gcWorker] = safePoint{ts: ts}
		c.kv.gc(ts)
	})
}

// ServiceSafePoint returns the GC safe point that a service has set in PD, and
// whether there is one that has not expired.
func (c *Cluster) ServiceSafePoint(service string) (event.Ts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked()
	p, ok := c.gc[service]
	return p.ts, ok
}

// expireLocked forgets the safe points of services that have not renewed them.
func (c *Cluster) expireLocked() {
	now := c.oracle.Now()
	maps.DeleteFunc(c.gc, func(_ string, p safePoint) bool { return p.expires != 0 && p.expires <= now })
}
