package kvnode

import "sync/atomic"

// Stats counts what the ChangeData services did. The first block are current
// values, the others only grow.
type Stats struct {
	Streams       int64 `json:"streams"`
	Subscriptions int64 `json:"subscriptions"`
	Scanning      int64 `json:"scanning"`      // registrations whose scan has not ended
	QueuedBytes   int64 `json:"queued_bytes"`  // rows waiting in all streams
	TrackedLocks  int64 `json:"tracked_locks"` // put and delete locks of all regions

	OpenedStreams   int64 `json:"opened_streams"`
	BrokenStreams   int64 `json:"broken_streams"`
	Registrations   int64 `json:"registrations"`
	Deregistrations int64 `json:"deregistrations"`
	Initialized     int64 `json:"initialized"`
	Events          int64 `json:"events"`   // rows queued
	Resolved        int64 `json:"resolved"` // resolved ts messages queued
	Errors          int64 `json:"errors"`   // error events queued
	Congested       int64 `json:"congested"`
}

type stats struct {
	streams, scanning, queued                        atomic.Int64
	opened, broken, registrations, deregistrations   atomic.Int64
	initialized, events, resolved, errors, congested atomic.Int64
}

// Stats reads the counters.
func (c *Cluster) Stats() Stats {
	h := c.hub
	h.mu.Lock()
	var subs int64
	for _, s := range h.subs {
		subs += int64(len(s))
	}
	locks := int64(h.locks.Len())
	h.mu.Unlock()
	s := h.stats
	return Stats{
		Streams: s.streams.Load(), Subscriptions: subs, Scanning: s.scanning.Load(), QueuedBytes: s.queued.Load(),
		TrackedLocks: locks, OpenedStreams: s.opened.Load(), BrokenStreams: s.broken.Load(),
		Registrations: s.registrations.Load(), Deregistrations: s.deregistrations.Load(),
		Initialized: s.initialized.Load(), Events: s.events.Load(), Resolved: s.resolved.Load(),
		Errors: s.errors.Load(), Congested: s.congested.Load(),
	}
}
