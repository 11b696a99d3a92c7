package puller

import (
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// batch collects the rows of one subscription in one message.
type batch struct {
	rows  []event.RawKV
	dirty bool
}

// handle processes a message: rows first, in one call of Receive per
// subscription unless the message itself tells the end of a scan or of a region.
func (s *stream) handle(msg *cdcpb.ChangeDataEvent) {
	now := s.clock.now()
	for _, e := range msg.Events {
		s.handleEvent(e, now)
	}
	s.flushAll()
	if r := msg.ResolvedTs; r != nil {
		s.handleResolved(r.RequestId, r.Regions, event.Ts(r.Ts), now)
	}
}

// lookup finds the normal region an event is about. Others are none of our
// business: deregistered, failed, or never requested.
func (s *stream) lookup(subID, regionID uint64, now time.Duration) (*feedSub, *region) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fs := s.feedSubLocked(subID)
	if fs == nil {
		return nil, nil
	}
	r := fs.regions[regionID]
	if r == nil {
		return nil, nil
	}
	r.lastSeen = now
	return fs, r
}

// feedSubLocked finds the subscription of a request id. A stream with one
// subscription ignores the id: stores that cannot multiplex send none with a resolved ts.
func (s *stream) feedSubLocked(subID uint64) *feedSub {
	if s.only != nil {
		subID = s.only.id
	}
	return s.mu.subs[subID]
}

func (s *stream) handleEvent(e *cdcpb.Event, now time.Duration) {
	fs, r := s.lookup(e.RequestId, e.RegionId, now)
	if r == nil {
		return
	}
	switch ev := e.Event.(type) {
	case *cdcpb.Event_Entries_:
		if s.normal(r) {
			s.handleRows(fs, r, ev.Entries.GetEntries(), now)
		}
	case *cdcpb.Event_ResolvedTs:
		s.flush(fs)
		s.handleResolved(e.RequestId, []uint64{e.RegionId}, event.Ts(ev.ResolvedTs), now)
	case *cdcpb.Event_Error:
		s.flush(fs)
		s.handleError(r, ev.Error)
	}
}

func (s *stream) normal(r *region) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.state == regionNormal
}

// handleRows runs the matcher over the rows of a region.
func (s *stream) handleRows(fs *feedSub, r *region, rows []*cdcpb.Event_Row, now time.Duration) {
	fs.reserve(rows)
	m := &r.matcher
	var err error
	for _, row := range rows {
		if row.Type != cdcpb.Event_INITIALIZED && !r.contains(row.Key) {
			continue // TiKV before v7.0 sends the whole region
		}
		switch row.Type {
		case cdcpb.Event_PREWRITE:
			m.prewrite(row)
			m.lastPrewrite = now
		case cdcpb.Event_COMMIT:
			fs.rows, err = m.commit(fs.rows, row)
		case cdcpb.Event_COMMITTED:
			fs.rows, err = m.committed(fs.rows, row)
		case cdcpb.Event_ROLLBACK:
			m.rollback(row)
		case cdcpb.Event_INITIALIZED:
			err = s.initialize(fs, r)
		}
		if err != nil {
			break
		}
	}
	s.account(r)
	if !fs.dirty && len(fs.rows) > 0 {
		fs.dirty = true
		s.dirty = append(s.dirty, fs)
	}
	if err != nil {
		s.stop(r, &regionError{kind: kindProtocol, err: err})
	}
}

// reserve makes room for the changes that the rows can become.
func (b *batch) reserve(rows []*cdcpb.Event_Row) {
	n := 0
	for _, row := range rows {
		if row.Type == cdcpb.Event_COMMIT || row.Type == cdcpb.Event_COMMITTED {
			n++
		}
	}
	if free := cap(b.rows) - len(b.rows); n > free {
		// The slice is given away with the batch, so it is no larger than needed.
		grown := make([]event.RawKV, len(b.rows), len(b.rows)+n)
		copy(grown, b.rows)
		b.rows = grown
	}
}

// initialize ends the scan of a region. The rows that its end sets free are
// delivered before the region counts as initialised.
func (s *stream) initialize(fs *feedSub, r *region) error {
	if r.matcher.initialized {
		return nil
	}
	var err error
	fs.rows, err = r.matcher.initialize(fs.rows)
	if err != nil {
		return err
	}
	s.flush(fs)
	s.mu.Lock()
	if r.scanning {
		r.scanning = false
		s.mu.scanning--
		s.poke()
	}
	s.mu.Unlock()
	r.initAt = s.client.now()
	r.sub.ranges.initialize(r.segment, r, r.initAt)
	r.sub.resolve()
	return nil
}

// account tells the subscription how the matcher's memory has changed.
func (s *stream) account(r *region) {
	if d := r.matcher.bytes - r.accounted; d != 0 {
		r.accounted = r.matcher.bytes
		r.sub.bytes.Add(d)
	}
}

// flush delivers the rows of a subscription.
func (s *stream) flush(fs *feedSub) {
	rows := fs.rows
	fs.rows = nil
	fs.sub.receive(rows)
}

func (s *stream) flushAll() {
	for i, fs := range s.dirty {
		s.flush(fs)
		fs.dirty = false
		s.dirty[i] = nil
	}
	s.dirty = s.dirty[:0]
}

// handleError ends a region with an error event, which is the last thing that
// the store sends for it.
func (s *stream) handleError(r *region, e *cdcpb.Error) {
	s.mu.Lock()
	err := r.stopErr
	if err != nil && e.GetDuplicateRequest() != nil {
		// A store before v7.4 takes the deregistration for a registration, so
		// nothing less than the end of the stream makes it forget the region.
		s.endLocked(err)
		s.mu.Unlock()
		return
	}
	removed := s.removeLocked(r)
	s.mu.Unlock()
	if !removed {
		return
	}
	if err == nil {
		err = classify(e)
	}
	s.client.regionFailed(r, err)
}

// handleResolved moves the resolved ts of regions of a subscription.
func (s *stream) handleResolved(subID uint64, ids []uint64, ts event.Ts, now time.Duration) {
	s.heartbeat = s.heartbeat[:0]
	s.mu.Lock()
	fs := s.feedSubLocked(subID)
	if fs == nil {
		s.mu.Unlock()
		return
	}
	for _, id := range ids {
		r := fs.regions[id]
		if r == nil || r.state != regionNormal || !r.matcher.initialized {
			continue
		}
		r.lastSeen = now
		// A lower value is normal: a message carries the least of its group, and
		// zero says that the store has no timestamp from PD. It is a heartbeat.
		if ts >= r.matcher.resolvedTs {
			r.matcher.resolve(ts, now)
			s.heartbeat = append(s.heartbeat, r)
		}
	}
	s.mu.Unlock()
	s.client.advance(fs.sub, s.heartbeat, ts)
	clear(s.heartbeat)
}
