package cdctest

import (
	"slices"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Subscriptions returns what clients are subscribed to now: all, or those of
// the named regions.
func (c *Cluster) Subscriptions(regions ...uint64) []*Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(c.subscriptionsLocked(), func(s *Subscription) bool {
		return len(regions) > 0 && !slices.Contains(regions, s.RegionID)
	})
}

// Initialized reports whether the scan has ended.
func (s *Subscription) Initialized() bool { return s.is(subNormal) }

// Ended reports whether the store has told the client an error, or the client
// has gone.
func (s *Subscription) Ended() bool { return s.is(subEnded) }

func (s *Subscription) is(state subState) bool {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.state == state
}

// ResolvedTs returns the greatest resolved ts that was sent.
func (s *Subscription) ResolvedTs() event.Ts {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.resolved
}

// Scan lets n more rows of a scan that HoldScans keeps back be sent.
func (s *Subscription) Scan(n int) {
	s.cluster.update(func() {
		if s.budget != unlimited {
			s.budget += n
		}
		s.stream.poke()
	})
}

// FinishScan lets the rest of the scan be sent, and INITIALIZED.
func (s *Subscription) FinishScan() {
	s.cluster.update(func() {
		s.budget = unlimited
		s.stream.poke()
	})
}

// ScanRows returns how many rows of the scan have still to be sent.
func (s *Subscription) ScanRows() int {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return len(s.scan)
}

// Fail ends the subscription with an error.
func (s *Subscription) Fail(err *cdcpb.Error) {
	s.cluster.update(func() { s.failLocked(err) })
}

// SendRows sends rows that the store has no reason for: twins, late rows after
// the end of the subscription, rows of an old TiKV. Nothing is checked, and the
// store itself does not change.
func (s *Subscription) SendRows(rows ...*cdcpb.Event_Row) {
	s.cluster.update(func() { s.stream.pushLocked(s.rows(rows...)) })
}

// SendResolved sends a resolved ts for the named regions, or else for the
// subscription's own, whatever is true.
func (s *Subscription) SendResolved(ts event.Ts, regions ...uint64) {
	if len(regions) == 0 {
		regions = []uint64{s.RegionID}
	}
	s.cluster.update(func() {
		msg := &cdcpb.ResolvedTs{Regions: regions, Ts: uint64(ts)}
		if s.stream.multiplexing {
			msg.RequestId = s.RequestID
		}
		s.stream.pushLocked(&cdcpb.ChangeDataEvent{ResolvedTs: msg})
	})
}

// MissUnlock makes the store believe that a lock of startTs is still there, as
// TiKV does after a rollback that left no record: the resolved ts of the
// region's present subscriptions stays at or below it.
func (c *Cluster) MissUnlock(region uint64, startTs event.Ts) {
	c.update(func() {
		for _, s := range c.subs[region] {
			s.missed = startTs
		}
	})
}
