package puller

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// clientVersion is the version of TiCDC whose protocol features this client
// has. Stores parse it as strict semver, without a leading "v", and send no
// resolved ts at all to clients whose version they cannot read.
const clientVersion = "8.5.0"

// Client follows any number of spans of one cluster. Streams to stores are
// shared by all of them.
type Client struct {
	cfg     Config
	log     *logLimiter
	tasks   *taskQueue
	locks   chan lockJob
	reading chan struct{} // capacity 1: held while regions are read ahead
	seed    maphash.Seed
	frames  framePool
	held    atomic.Int64 // bytes of memory for rows of open transactions
	spill   *spill.Store // the rest of them
	started time.Time    // zero of the client's clock
	lastID  atomic.Uint64

	// Set by Run before it starts goroutines.
	running atomic.Bool
	group   *errgroup.Group
	header  *cdcpb.Header

	mu struct {
		sync.Mutex
		stores map[string]*store // by address
	}
}

// lockQueue bounds the regions that wait to be searched for locks. What does
// not fit is dropped: the region comes again with a later heartbeat.
const lockQueue = 1024

// New returns a client that does nothing until Run is called.
func New(cfg Config) *Client {
	c := &Client{
		cfg:     cfg.withDefaults(),
		tasks:   newTaskQueue(),
		locks:   make(chan lockJob, lockQueue),
		reading: make(chan struct{}, 1),
		seed:    maphash.MakeSeed(),
		started: time.Now(),
	}
	c.spill = spill.NewStore(c.cfg.Spill)
	c.log = newLogLimiter(c.cfg.Logger)
	c.mu.stores = make(map[string]*store)
	return c
}

// now is the client's clock: the time since it was made.
func (c *Client) now() time.Duration { return time.Since(c.started) }

// Run serves the subscriptions until ctx ends, and returns the cause of that.
// It owns every goroutine and connection, and returns after they have ended; so
// receivers must then not block any more. A client runs once.
func (c *Client) Run(ctx context.Context) error {
	if c.cfg.Store == nil {
		return errors.New("run puller: Config.Store is nil")
	}
	if c.running.Swap(true) {
		return errors.New("run puller: it has been run before; make a new one")
	}
	clusterID := c.cfg.ClusterID
	if clusterID == 0 {
		clusterID = c.cfg.PD.GetClusterID(ctx)
	}
	c.header = &cdcpb.Header{ClusterId: clusterID, TicdcVersion: clientVersion}
	if err := c.spill.RemoveStale(); err != nil {
		c.cfg.Logger.Warn("rows that were spilled earlier not removed", slog.Any("error", err))
	}
	group, groupCtx := errgroup.WithContext(ctx)
	c.group = group
	start := func(f func(context.Context)) {
		group.Go(func() error {
			f(groupCtx)
			return nil
		})
	}
	start(c.tasks.run)
	start(c.inspect)
	for range c.cfg.Workers {
		start(c.work)
	}
	for range c.cfg.LockWorkers {
		start(c.resolveLocks)
	}
	<-ctx.Done()
	// The goroutines return nothing: each failure is retried or ends one subscription.
	_ = group.Wait()
	if err := c.spill.Close(); err != nil {
		c.cfg.Logger.Warn("spilled rows not removed", slog.Any("error", err))
	}
	return context.Cause(ctx)
}

// Subscribe follows a span: out receives every change with a commit ts above
// startTs. It may be called before or while Run runs, and does not block.
// The end of Run does not end subscriptions; they just receive nothing.
func (c *Client) Subscribe(span event.Span, startTs event.Ts, out Receiver, opts ...Option) *Subscription {
	s := &Subscription{
		client:  c,
		id:      c.lastID.Add(1),
		span:    span,
		keys:    keyRange{span.Start, span.End},
		startTs: startTs,
		out:     out,
		done:    make(chan struct{}),
	}
	for _, o := range opts {
		o(s)
	}
	s.ranges = newRangeLock(s.keys, startTs)
	c.tasks.push(&rangeTask{sub: s, keyRange: s.keys}, 0)
	return s
}

// drop tells all streams that a subscription has stopped.
func (c *Client) drop(s *Subscription) {
	for _, st := range c.stores() {
		for _, stream := range st.streams() {
			stream.drop(s)
		}
	}
}

func (c *Client) stores() []*store {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*store, 0, len(c.mu.stores))
	for _, st := range c.mu.stores {
		all = append(all, st)
	}
	return all
}

// store returns the store at an address. There are as many as a cluster ever
// had addresses, so none is forgotten.
func (c *Client) store(addr string) *store {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.mu.stores[addr]
	if st == nil {
		st = newStore(c, addr)
		c.mu.stores[addr] = st
	}
	return st
}

// inspect looks at all streams now and then, for what no event tells: silence.
// The time between is long enough for the work not to matter.
func (c *Client) inspect(ctx context.Context) {
	const inspections = 8 // per timeout
	every := min(c.cfg.SilentRegionTimeout, c.cfg.DeregisterTimeout, c.cfg.IdleStreamTimeout) / inspections
	ticker := time.NewTicker(max(every, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for _, st := range c.stores() {
			for _, s := range st.streams() {
				s.inspect(&c.cfg)
			}
		}
	}
}

// advance notes that regions, if any, have received everything up to ts: progress, or
// just a heartbeat.
func (c *Client) advance(sub *Subscription, regions []*region, ts event.Ts) {
	now := c.now()
	suspect := sub.ranges.advance(regions, ts, now, c.cfg.ResolveLockAfter)
	sub.resolve()
	if suspect {
		c.queueLockJobs(sub, now)
	}
}

// regionFailed is called once for a region, when it has been removed from its
// stream or never reached one. It alone decides what follows.
func (c *Client) regionFailed(r *region, err *regionError) {
	r.sub.hold(-r.accounted)
	r.accounted = 0
	if o := r.matcher.overflow; o != nil {
		o.release()
		r.sub.forget(o)
	}
	r.matcher = matcher{}
	woken := r.sub.ranges.unlock(r.segment, r)
	if r.sub.stopped() {
		return
	}
	if err.fatal() {
		r.sub.stop(fmt.Errorf("subscribe region %d of %s as request %d: %w", r.id(), r.sub.span, r.sub.id, err))
		return
	}
	// Tasks that waited for this region have the newer information; they may
	// take its range before its own task does.
	for _, t := range woken {
		c.tasks.push(t, 0)
	}
	attempt := r.attempt + 1
	if r.initAt != 0 && c.now()-r.initAt >= settled {
		attempt = 1
	}
	task := &rangeTask{sub: r.sub, keyRange: r.keyRange, attempt: attempt}
	if c.adviseCache(r, err, attempt) {
		task.again = r
	}
	delay := retryDelay(c.cfg.RetryBase, c.cfg.RetryMax, attempt)
	c.tasks.push(task, max(delay, err.backoff))
	c.log.log(err.level(attempt), kindNames[err.kind]+", region is subscribed again",
		slog.Uint64("region", r.id()), slog.String("span", r.sub.span.String()),
		slog.Int("attempt", attempt), slog.Any("error", err))
}

// patience is how often a region is tried again without asking PD about it.
const patience = 3

// adviseCache tells the region cache what an error says about the region, and
// reports whether the same region may be tried again.
func (c *Client) adviseCache(r *region, err *regionError, attempt int) (again bool) {
	switch err.kind {
	case kindBusy, kindCongested, kindUnknown, kindNoMultiplexing, kindStreamBroken:
		return true
	case kindUnreachable, kindStoreUnusable:
		c.adviseSendFail(r, err)
		return false
	}
	cache := c.cfg.Store.GetRegionCache()
	if err.kind == kindNotLeader && (err.leader != nil || attempt%patience != 0) {
		cache.UpdateLeader(r.verID, err.leader, r.rpc.AccessIdx)
		return true
	}
	// The region has changed, or its place has, or all its peers have been
	// asked for their leader. PD is asked next in any case; this is for those who
	// share the cache.
	cache.InvalidateCachedRegion(r.verID)
	return false
}
