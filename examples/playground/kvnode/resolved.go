package kvnode

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/log"
	"go.uber.org/zap"
)

// resolvedLoop ticks until ctx ends.
func (h *hub) resolvedLoop(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !h.watched() {
			continue
		}
		ts, err := h.cluster.pd.timestamp(ctx)
		if err != nil {
			if ctx.Err() == nil {
				log.Warn("skip a resolved ts tick", zap.Error(err))
			}
			continue
		}
		h.tick(ts)
	}
}

func (h *hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs) > 0
}

type regionTs struct{ region, ts uint64 }

// tick advances every initialized subscription towards now, a timestamp taken
// before the call, and queues what it reached.
func (h *hub) tick(now uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, startTs := range h.inflight {
		now = min(now, startTs)
	}
	type group struct {
		stream  *feedStream
		request uint64
	}
	groups := map[group][]regionTs{}
	for region, subs := range h.subs {
		held, silent := h.faults.holds(region)
		for s := range subs {
			if !s.initialized || silent {
				continue
			}
			if !held {
				s.resolved = max(s.resolved, h.reachedLocked(s, now))
			}
			g := group{stream: s.stream}
			if s.stream.multiplexing {
				g.request = s.requestID
			}
			groups[g] = append(groups[g], regionTs{region, s.resolved})
		}
	}
	for g, list := range groups {
		g.stream.pushResolved(g.request, list)
	}
}

// reachedLocked is now, or the start ts of the oldest lock in the range.
func (h *hub) reachedLocked(s *subscription, now uint64) uint64 {
	h.locks.AscendGreaterOrEqual(&trackedLock{key: s.start}, func(l *trackedLock) bool {
		if bytes.Compare(l.key, s.end) >= 0 {
			return false
		}
		now = min(now, l.startTs)
		return true
	})
	return now
}

// resolvedBatches sorts the regions by ts and cuts them in groups of 8, 32, 128
// and so on, each with its least ts: a slow region holds back only its group.
func resolvedBatches(request uint64, list []regionTs) []*cdcpb.ResolvedTs {
	slices.SortFunc(list, func(a, b regionTs) int { return cmp.Compare(a.ts, b.ts) })
	var out []*cdcpb.ResolvedTs
	for size := 8; len(list) > 0; size *= 4 {
		n := min(size, len(list))
		batch := &cdcpb.ResolvedTs{RequestId: request, Ts: list[0].ts, Regions: make([]uint64, 0, n)}
		for _, r := range list[:n] {
			batch.Regions = append(batch.Regions, r.region)
		}
		out = append(out, batch)
		list = list[n:]
	}
	return out
}
