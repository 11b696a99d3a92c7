package puller

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"github.com/tikv/client-go/v2/kv"
	"github.com/tikv/client-go/v2/tikv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

const (
	// regionBatch is how many regions PD is asked for at once.
	regionBatch = 1024
	// aheadBatch is the same when it is asked for a range the first time, whatever the
	// range's end: where there are many subscriptions, most are each other's neighbours.
	aheadBatch = 256
	// cachePatience is how long, in milliseconds, the region cache may retry
	// inside one call to find a store.
	cachePatience = 5000
)

// work handles tasks until ctx ends.
func (c *Client) work(ctx context.Context) {
	for {
		select {
		case t := <-c.tasks.ready:
			c.handleTask(ctx, t)
		case <-ctx.Done():
			return
		}
	}
}

func (c *Client) handleTask(ctx context.Context, t *rangeTask) {
	if t.sub.stopped() {
		return
	}
	if t.sub.keys.empty() {
		t.sub.stop(fmt.Errorf("subscribe %s: no key lies in %s", t.sub.span, t.sub.keys))
		return
	}
	if old := t.again; old != nil {
		t.again = nil
		if rest := c.assign(ctx, t, old.keyRange, old.verID); len(rest) == 0 {
			return
		}
		// The region has changed meanwhile, so its range is divided anew.
	}
	if err := c.divide(ctx, t); err != nil && ctx.Err() == nil {
		c.log.log(levelOf(t.attempt), "load regions", slog.String("span", t.sub.span.String()),
			slog.Int("attempt", t.attempt), slog.Any("error", err))
	}
}

// retry queues a part of a task again.
func (c *Client) retry(t *rangeTask, r keyRange) {
	n := &rangeTask{sub: t.sub, keyRange: r, attempt: t.attempt + 1}
	c.tasks.push(n, retryDelay(c.cfg.RetryBase, c.cfg.RetryMax, n.attempt))
}

// divide assigns the regions of the task's range, as PD knows them. Parts that
// PD knows no region of, or none with a leader, are tried again later.
func (c *Client) divide(ctx context.Context, t *rangeTask) error {
	at := t.start
	for {
		regions, err := c.regionsFrom(ctx, t, at)
		if err != nil {
			c.retry(t, keyRange{at, t.end})
			return fmt.Errorf("load regions of %s: %w", keyRange{at, t.end}, err)
		}
		moved := false
		for _, r := range regions {
			served := r.keyRange
			if bytes.Compare(served.start, at) > 0 {
				c.retry(t, keyRange{at, served.start}.intersect(t.keyRange))
				at = served.start
			}
			if before(served.end, at) || before(t.end, served.start) {
				continue
			}
			for _, rest := range c.assign(ctx, t, served, r.verID) {
				c.retry(t, rest)
			}
			if len(served.end) == 0 || compareEnd(served.end, t.end) >= 0 {
				return nil
			}
			at, moved = served.end, true
		}
		if !moved {
			c.retry(t, keyRange{at, t.end})
			return fmt.Errorf("load regions of %s: PD knows none", keyRange{at, t.end})
		}
	}
}

// knownRegion is a region as PD has, or had, it.
type knownRegion struct {
	keyRange
	verID tikv.RegionVerID
}

// regionsFrom returns some regions in key order, from that of a key of the task's
// range on. At first what the cache has will do: if it is out of date, the store
// says so, and then PD is asked. It is asked once: a worker that waited for a region to
// have a leader would keep those from being served that have one.
func (c *Client) regionsFrom(ctx context.Context, t *rangeTask, key []byte) ([]knownRegion, error) {
	if t.attempt == 0 {
		if r := c.cachedRegion(key); r != nil {
			return r, nil
		}
		if r := c.readAhead(ctx, key); r != nil {
			return r, nil
		}
	}
	return c.scanRegions(ctx, keyRange{key, t.end}, regionBatch)
}

// readAhead is regionsFrom for neighbouring tasks too, so one at a time may do it. It
// gives up at once, with nil, since what is wrong may concern the neighbours only.
func (c *Client) readAhead(ctx context.Context, key []byte) []knownRegion {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return nil
	}
	if r := c.cachedRegion(key); r != nil {
		return r
	}
	regions, err := c.scanRegions(ctx, keyRange{start: key}, aheadBatch)
	if err != nil {
		return nil // scanRegions without neighbours says what is wrong
	}
	return regions
}

func (c *Client) cachedRegion(key []byte) []knownRegion {
	loc := c.cfg.Store.GetRegionCache().TryLocateKey(key)
	if loc == nil {
		return nil
	}
	return []knownRegion{{keyRange{loc.StartKey, loc.EndKey}, loc.Region}}
}

func (c *Client) scanRegions(ctx context.Context, r keyRange, limit int) ([]knownRegion, error) {
	regions, err := c.cfg.Store.GetRegionCache().BatchLoadRegionsWithKeyRange(tikv.NewNoopBackoff(ctx), r.start, r.end, limit)
	if err != nil {
		return nil, err
	}
	known := make([]knownRegion, len(regions))
	for i, r := range regions {
		known[i] = knownRegion{keyRange{r.StartKey(), r.EndKey()}, r.VerID()}
	}
	return known, nil
}

// assign locks the region's part of the span and sends the request, unless the
// part is served already. It returns the parts of the task's range which the
// region turned out not to serve, because newer regions are at work there.
func (c *Client) assign(ctx context.Context, t *rangeTask, served keyRange, verID tikv.RegionVerID) []keyRange {
	within := served.intersect(t.sub.keys)
	if within.empty() {
		return nil
	}
	r := &region{sub: t.sub, keyRange: within, verID: verID, attempt: t.attempt}
	mine := t.keyRange.intersect(within)
	got := t.sub.ranges.lock(within, r, &rangeTask{sub: t.sub, keyRange: mine, attempt: t.attempt})
	switch {
	case got.stale:
		var rest []keyRange
		for _, u := range got.uncovered {
			if u = u.intersect(mine); !u.empty() {
				rest = append(rest, u)
			}
		}
		return rest
	case got.segment == nil:
		return nil // stopped, or waiting for an older region
	}
	r.segment = got.segment
	c.place(ctx, r, got.checkpoint)
	return nil
}

// place finds the store of a region's leader and gives the region to a stream there.
func (c *Client) place(ctx context.Context, r *region, checkpoint event.Ts) {
	r.checkpoint = checkpoint
	bo := tikv.NewBackofferWithVars(ctx, cachePatience, nil)
	rpc, err := c.cfg.Store.GetRegionCache().GetTiKVRPCContext(bo, r.verID, kv.ReplicaReadLeader, 0)
	if err != nil || rpc == nil {
		c.regionFailed(r, &regionError{kind: kindNoRoute, err: err})
		return
	}
	r.rpc, r.epoch = rpc, rpc.Meta.GetRegionEpoch()
	st := c.store(rpc.Addr)
	if err := st.check(ctx, rpc.Peer.GetStoreId()); err != nil {
		c.regionFailed(r, &regionError{kind: kindStoreUnusable, err: err})
		return
	}
	st.register(ctx, r)
}

// adviseSendFail tells the region cache that the store of a region does not
// answer: it tries another peer, or asks PD.
func (c *Client) adviseSendFail(r *region, err *regionError) {
	// OnSendFail wants the context for logging only; it does not wait.
	bo := tikv.NewNoopBackoff(context.Background())
	c.cfg.Store.GetRegionCache().OnSendFail(bo, r.rpc, true, err)
}
