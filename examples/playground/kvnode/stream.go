package kvnode

import (
	"context"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
)

const (
	// DefaultStreamQuota bounds the rows waiting in one stream.
	DefaultStreamQuota = 64 << 20
	// TiKV drains up to messageItems queue items into messages of messageBytes.
	messageItems = 64
	messageBytes = 6 << 20
)

// queued is one item of a stream's queue: an event or a resolved ts.
type queued struct {
	event    *cdcpb.Event
	resolved *cdcpb.ResolvedTs
	size     int
	at       time.Time // not to be sent before; zero for at once
}

// feedStream is one EventFeed call: the gates its client negotiated, its
// subscriptions, and one queue, which keeps the order.
//
// The queue is bounded by what it holds: live rows that find it over the quota
// end their subscription with congested, scans wait for room, and errors and
// resolved ts are small.
type feedStream struct {
	hub          *hub
	store        *store
	quota        int64
	multiplexing bool // the client asked for resolved ts by request id
	broken       chan error

	// Set by the first request, before any subscription exists.
	versioned     bool
	batchResolved bool // client 4.0.8 or newer
	checkCluster  bool // client 5.3.0 or newer

	// Guarded by hub.mu.
	subs  map[subKey]*subscription
	ended bool

	mu struct {
		sync.Mutex
		queue []queued
		bytes int64
		room  chan struct{} // closed and replaced when the queue falls under the quota
	}
	wake chan struct{} // holds one token when the queue may have work
}

func newFeedStream(s *store, multiplexing bool) *feedStream {
	st := &feedStream{
		hub: s.cluster.hub, store: s, quota: s.cluster.cfg.StreamQuota, multiplexing: multiplexing,
		broken: make(chan error, 1), subs: map[subKey]*subscription{}, wake: make(chan struct{}, 1),
	}
	st.mu.room = make(chan struct{})
	return st
}

func (st *feedStream) push(items ...queued) {
	if len(items) == 0 {
		return
	}
	at := st.hub.delayed()
	var bytes int64
	for i := range items {
		items[i].at = at
		bytes += int64(items[i].size)
	}
	st.hub.stats.queued.Add(bytes)
	st.mu.Lock()
	st.mu.queue = append(st.mu.queue, items...)
	st.mu.bytes += bytes
	st.mu.Unlock()
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

func (st *feedStream) pushRows(region, request uint64, rows []*cdcpb.Event_Row, size int) {
	st.hub.stats.events.Add(int64(len(rows)))
	st.push(queued{size: size, event: &cdcpb.Event{
		RegionId: region, RequestId: request,
		Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: rows}},
	}})
}

func (st *feedStream) pushError(region, request uint64, e *cdcpb.Error) {
	st.hub.stats.errors.Add(1)
	st.push(queued{event: &cdcpb.Event{RegionId: region, RequestId: request, Event: &cdcpb.Event_Error{Error: e}}})
}

// pushResolved queues the resolved ts of regions of one request, or of the whole
// stream (request 0) without multiplexing. What the client gets depends on its
// version; an old one that multiplexes gets nothing, as with TiKV.
func (st *feedStream) pushResolved(request uint64, list []regionTs) {
	var items []queued
	switch {
	case st.batchResolved:
		for _, batch := range resolvedBatches(request, list) {
			items = append(items, queued{resolved: batch})
		}
	case !st.multiplexing:
		for _, r := range list {
			items = append(items, queued{event: &cdcpb.Event{RegionId: r.region, Event: &cdcpb.Event_ResolvedTs{ResolvedTs: r.ts}}})
		}
	}
	st.hub.stats.resolved.Add(int64(len(items)))
	st.push(items...)
}

func (st *feedStream) full() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.mu.bytes >= st.quota
}

// waitRoom waits until the queue is under the quota. It reports false when done
// is closed first.
func (st *feedStream) waitRoom(done <-chan struct{}) bool {
	for {
		st.mu.Lock()
		full, room := st.mu.bytes >= st.quota, st.mu.room
		st.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-room:
		case <-done:
			return false
		}
	}
}

// take removes the items that go out next: up to messageItems and messageBytes,
// none before its time. wait is how long to wait for the first, 0 if the queue
// is empty.
func (st *feedStream) take() (items []queued, wait time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var (
		n, size int
		now     time.Time
	)
	for ; n < len(st.mu.queue) && n < messageItems && size < messageBytes; n++ {
		q := &st.mu.queue[n]
		if !q.at.IsZero() {
			if now.IsZero() {
				now = time.Now()
			}
			if d := q.at.Sub(now); d > 0 {
				wait = d
				break
			}
		}
		size += q.size
	}
	if n == 0 {
		return nil, wait
	}
	items = append(items, st.mu.queue[:n]...)
	clear(st.mu.queue[:n])
	if st.mu.queue = st.mu.queue[n:]; len(st.mu.queue) == 0 {
		st.mu.queue = nil
	}
	return items, 0
}

// sent gives the room of items back.
func (st *feedStream) sent(items []queued) {
	var bytes int64
	for i := range items {
		bytes += int64(items[i].size)
	}
	st.hub.stats.queued.Add(-bytes)
	st.mu.Lock()
	defer st.mu.Unlock()
	over := st.mu.bytes >= st.quota
	st.mu.bytes -= bytes
	if over && st.mu.bytes < st.quota {
		close(st.mu.room)
		st.mu.room = make(chan struct{})
	}
}

// forget drops the queue of an ended stream from the statistics.
func (st *feedStream) forget() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range st.mu.queue {
		st.hub.stats.queued.Add(-int64(st.mu.queue[i].size))
	}
	st.mu.queue = nil
}

// sendLoop sends the queue until ctx ends or send fails.
func (st *feedStream) sendLoop(ctx context.Context, send func(*cdcpb.ChangeDataEvent) error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		items, wait := st.take()
		if len(items) == 0 {
			if wait == 0 {
				wait = time.Hour
			}
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-st.wake:
			case <-timer.C:
			}
			continue
		}
		err := sendItems(items, send)
		st.sent(items)
		if err != nil {
			return err
		}
	}
}

// sendItems packs events into messages; a resolved ts travels alone.
func sendItems(items []queued, send func(*cdcpb.ChangeDataEvent) error) error {
	msg := &cdcpb.ChangeDataEvent{}
	size := 0
	flush := func() error {
		if len(msg.Events) == 0 {
			return nil
		}
		err := send(msg)
		msg, size = &cdcpb.ChangeDataEvent{}, 0
		return err
	}
	for _, q := range items {
		if q.resolved != nil {
			if err := flush(); err != nil {
				return err
			}
			if err := send(&cdcpb.ChangeDataEvent{ResolvedTs: q.resolved}); err != nil {
				return err
			}
			continue
		}
		if size > 0 && size+q.size > messageBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		msg.Events = append(msg.Events, q.event)
		size += q.size
	}
	return flush()
}
