package cdctest

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// subState only goes up.
type subState uint8

const (
	subScanning subState = iota // live rows are sent too
	subNormal                   // INITIALIZED has been sent
	subEnded
)

// unlimited is the budget of a scan that is not held back.
const unlimited = -1

// Subscription is a client's request for one region, as the store sees it. The
// fields do not change.
type Subscription struct {
	RequestID, RegionID, Store uint64
	// Span is the range of raw keys that was asked for, within the region.
	Span event.Span
	// CheckpointTs: the client has everything up to it.
	CheckpointTs event.Ts
	FilterLoop   bool

	stream  *feedStream
	cluster *Cluster

	// Guarded by Cluster.mu.
	observed event.Span // whose rows are sent
	state    subState
	scan     []*cdcpb.Event_Row // what is still to be sent
	budget   int                // rows of scan that may be sent, or unlimited
	resolved event.Ts           // the greatest that was sent
	missed   event.Ts           // of a lock whose end the store has not seen, or 0
}

func (s *Subscription) key() subKey { return subKey{s.RequestID, s.RegionID} }

// startLocked takes the snapshot for the scan. From now on live rows are sent.
func (s *Subscription) startLocked() {
	c, st := s.cluster, s.stream
	st.subs[s.key()] = s
	c.subs[s.RegionID] = append(c.subs[s.RegionID], s)
	for _, row := range c.kv.delta(s.observed, s.CheckpointTs) {
		if s.wants(row) {
			s.scan = append(s.scan, row)
		}
	}
	s.budget = unlimited
	if c.faults.holdScans {
		s.budget = 0
	}
	st.scans = append(st.scans, s)
	st.poke()
}

// wants applies the filters that a store applies for every client and for those
// that ask not to get what other changefeeds wrote.
func (s *Subscription) wants(row *cdcpb.Event_Row) bool {
	if !s.observed.Contains(row.Key) {
		return false
	}
	return row.TxnSource>>8 == 0 && (!s.FilterLoop || row.TxnSource == 0)
}

// scanLocked returns the next piece of the scan, INITIALIZED at its end, or nil
// if the test holds it back.
func (s *Subscription) scanLocked() *cdcpb.ChangeDataEvent {
	const piece = 1024
	if len(s.scan) == 0 && s.budget == unlimited {
		s.state = subNormal
		s.leaveScansLocked()
		return s.rows(&cdcpb.Event_Row{Type: cdcpb.Event_INITIALIZED})
	}
	n := min(piece, len(s.scan))
	if s.cluster.random != nil {
		n = min(1+s.cluster.random.IntN(4), n)
	}
	if s.budget != unlimited {
		n = min(n, s.budget)
		s.budget -= n
	}
	if n == 0 {
		return nil
	}
	msg := s.rows(s.scan[:n]...)
	s.scan = s.scan[n:]
	return msg
}

func (s *Subscription) leaveScansLocked() {
	scans := s.stream.scans
	switch i := slices.Index(scans, s); {
	case i == 0: // the usual case
		s.stream.scans = scans[1:]
	case i > 0:
		s.stream.scans = slices.Delete(slices.Clone(scans), i, i+1)
	}
}

func (s *Subscription) removeLocked() {
	s.state = subEnded
	s.scan = nil
	s.leaveScansLocked()
	delete(s.stream.subs, s.key())
	// A copy, because removal may happen while one goes through the old slice.
	rest := slices.DeleteFunc(slices.Clone(s.cluster.subs[s.RegionID]), func(o *Subscription) bool { return o == s })
	if s.cluster.subs[s.RegionID] = rest; len(rest) == 0 {
		delete(s.cluster.subs, s.RegionID)
	}
}

// failLocked ends the subscription; nothing of it follows the error.
func (s *Subscription) failLocked(err *cdcpb.Error) {
	if s.state != subEnded {
		s.removeLocked()
		s.pushLocked(&cdcpb.Event{Event: &cdcpb.Event_Error{Error: err}})
	}
}

func (s *Subscription) rows(rows ...*cdcpb.Event_Row) *cdcpb.ChangeDataEvent {
	return &cdcpb.ChangeDataEvent{Events: []*cdcpb.Event{{
		RegionId: s.RegionID, RequestId: s.RequestID,
		Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: rows}},
	}}}
}

func (s *Subscription) pushLocked(e *cdcpb.Event) {
	e.RegionId, e.RequestId = s.RegionID, s.RequestID
	s.stream.pushLocked(&cdcpb.ChangeDataEvent{Events: []*cdcpb.Event{e}})
}

// routeLocked sends the rows of one command to those who observe their keys. Nil
// rows are left out.
func (c *Cluster) routeLocked(rows ...*cdcpb.Event_Row) {
	byRegion := map[uint64][]*cdcpb.Event_Row{}
	for _, row := range rows {
		if row != nil {
			id := regionAt(c.regions, row.Key).id
			byRegion[id] = append(byRegion[id], row)
		}
	}
	if c.random != nil {
		for _, rows := range byRegion {
			c.random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		}
	}
	for id, rows := range byRegion {
		for _, s := range c.subs[id] {
			if s.state != subEnded {
				s.observeLocked(rows)
			}
		}
	}
}

// observeLocked queues live rows. If the stream has no room for them, the store
// gives the whole region up.
func (s *Subscription) observeLocked(rows []*cdcpb.Event_Row) {
	const eventSize = 32 << 10
	var batch []*cdcpb.Event_Row
	size := 0
	flush := func() {
		if len(batch) > 0 {
			s.stream.pushLocked(s.rows(batch...))
		}
		batch, size = nil, 0
	}
	for _, row := range rows {
		if !s.wants(row) {
			continue
		}
		if row.CommitTs != 0 && event.Ts(row.CommitTs) <= s.resolved {
			s.cluster.violate("the fake store commits key %x at ts %d, at or below resolved ts %d", row.Key, row.CommitTs, s.resolved)
		}
		if s.stream.bytes+size+rowBytes(row) > s.cluster.cfg.QueueBytes {
			s.cluster.endRegionLocked(s.RegionID, Congested(s.RegionID))
			return
		}
		batch = append(batch, row)
		if size += rowBytes(row); size >= eventSize {
			flush()
		}
	}
	flush()
}

// endRegionLocked ends all subscriptions of a region.
func (c *Cluster) endRegionLocked(id uint64, err *cdcpb.Error) {
	for _, s := range c.subs[id] {
		s.failLocked(err)
	}
}

// subscriptionsLocked returns all that have not ended, by stream, request and region.
func (c *Cluster) subscriptionsLocked() []*Subscription {
	var out []*Subscription
	for _, store := range c.stores {
		for _, st := range store.streams {
			first := len(out)
			for _, s := range st.subs {
				out = append(out, s)
			}
			slices.SortFunc(out[first:], func(a, b *Subscription) int {
				return cmp.Or(cmp.Compare(a.RequestID, b.RequestID), cmp.Compare(a.RegionID, b.RegionID))
			})
		}
	}
	return out
}

// tickLocked sends the resolved ts of all subscriptions, grouped as TiKV does:
// sorted by ts, in groups of 8, 32, 128 and so on that carry their least ts.
func (st *feedStream) tickLocked(now event.Ts) {
	const backlog = 256 // messages; a stream that does not move needs no more of them
	if len(st.queue) > backlog {
		return
	}
	byRequest := map[uint64][]*Subscription{}
	for key, s := range st.subs {
		f := &st.cluster.faults
		if s.state != subNormal || f.silent[0] || f.silent[s.RegionID] {
			continue
		}
		if !f.frozen[0] && !f.frozen[s.RegionID] {
			s.advanceLocked(now)
		}
		request := key.request
		if !st.multiplexing {
			request = 0
		}
		byRequest[request] = append(byRequest[request], s)
	}
	for request, subs := range byRequest {
		st.sendResolvedLocked(request, subs)
	}
}

func (st *feedStream) sendResolvedLocked(request uint64, subs []*Subscription) {
	if !st.batched {
		// A client that multiplexes streams and whose version is too old for
		// batches gets nothing at all.
		for _, s := range subs {
			if !st.multiplexing {
				s.pushLocked(&cdcpb.Event{Event: &cdcpb.Event_ResolvedTs{ResolvedTs: uint64(s.resolved)}})
			}
		}
		return
	}
	slices.SortFunc(subs, func(a, b *Subscription) int { return cmp.Compare(a.resolved, b.resolved) })
	for size := 8; len(subs) > 0; size *= 4 {
		group := subs[:min(size, len(subs))]
		subs = subs[len(group):]
		msg := &cdcpb.ResolvedTs{RequestId: request, Ts: uint64(group[0].resolved)}
		for _, s := range group {
			msg.Regions = append(msg.Regions, s.RegionID)
		}
		st.pushLocked(&cdcpb.ChangeDataEvent{ResolvedTs: msg})
	}
}

// advanceLocked moves the resolved ts to now, or to the oldest lock in the span:
// its transaction can only commit above its start ts.
func (s *Subscription) advanceLocked(now event.Ts) {
	for _, lock := range []event.Ts{s.cluster.kv.minLock(s.Span), s.missed} {
		if lock != 0 {
			now = min(now, lock)
		}
	}
	s.resolved = max(s.resolved, now)
}

// intersect returns the part that two spans share; an empty End is unbounded.
func intersect(a, b event.Span) event.Span {
	out := event.Span{Start: a.Start, End: a.End}
	if bytes.Compare(b.Start, out.Start) > 0 {
		out.Start = b.Start
	}
	if len(b.End) > 0 && (len(out.End) == 0 || bytes.Compare(b.End, out.End) < 0) {
		out.End = b.End
	}
	return out
}
